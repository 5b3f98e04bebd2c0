"""How likelihood and costs make one loss.

A price takes the negative log-likelihood, λ (num_costs,) and the expected costs (num_costs,). A
new one is a function and a line in `PRICES`.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

ALPHA = 0.2
"""α of the product."""


class Priced(NamedTuple):
    """A loss of one λ, and how large it is; scalars."""

    loss: Tensor
    """Of likelihood and costs."""
    scale: Tensor
    """What the likelihood's gradient is multiplied by: the weights' steps are divided by it."""
    pull: Tensor
    """By what the architecture's loss is divided, so that large λs do not drown small ones."""


Price = Callable[[Tensor, Tensor, Tensor], Priced]


def additive(nll: Tensor, lams: Tensor, costs: Tensor) -> Priced:
    """Adds: nll + Σ_k λ_k C_k, the evidence lower bound; its pull is 1 + Σ_k λ_k."""
    return Priced(nll + (lams * costs).sum(), nll.new_ones(()), 1 + lams.sum())


def product(nll: Tensor, lams: Tensor, costs: Tensor) -> Priced:
    """Multiplies: nll · α · Π_k log(C_k)^λ_k, α = 0.2: FBNet's loss (Wu et al. 2019, eq. 2).

    λ takes the place of the paper's β, 0.6 there. Costs are in their own units and above e, which
    is what `lam_unit='raw'` gives.
    """
    factor = ALPHA * costs.log().pow(lams).prod()
    return Priced(nll * factor, factor.detach(), factor.detach())


PRICES: dict[str, Price] = {"additive": additive, "product": product}


STIFFNESS = 10.0
"""ρ of the augmented Lagrangian, nats per squared unit of cost."""


def priced(excess: Tensor, multipliers: Tensor) -> Tensor:
    """Returns the augmented Lagrangian's term, a scalar, nats per example.

    Σ_k (max(0, μ_k + ρ e_k)² − μ_k²) / 2ρ for bounds e_k <= 0 (Rockafellar 1973).

    Args:
        excess: e, (num_bounds,), expected costs as multiples of their bounds, less 1.
        multipliers: μ, (num_bounds,), >= 0.
    """
    lifted = (multipliers + STIFFNESS * excess).clamp(min=0)
    return ((lifted.square() - multipliers.square()) / (2 * STIFFNESS)).sum()


def none(probs: Tensor) -> Tensor:
    """Returns 0."""
    return probs.new_zeros(())


def zero_one(probs: Tensor) -> Tensor:
    """Returns −mean (p − ½)², which drives weights to 0 and 1 (Chu et al.: FairDARTS, 2020).

    Args:
        probs: (edges, ops) in [0, 1].

    Returns:
        A scalar in [−¼, 0].
    """
    return -(probs - 0.5).square().mean()


REGULARISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": none,
    "zero_one": zero_one,
}
