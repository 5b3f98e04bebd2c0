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
    """nll + Σ_k λ_k C_k: the evidence lower bound; its pull is 1 + Σ_k λ_k."""
    return Priced(nll + (lams * costs).sum(), nll.new_ones(()), 1 + lams.sum())


def product(nll: Tensor, lams: Tensor, costs: Tensor) -> Priced:
    """nll · α · Π_k log(C_k)^λ_k, FBNet's loss (Wu et al. 2019, equation 2); α = 0.2.

    λ takes the place of the paper's β, 0.6 there. Costs are in their own units and above e, which
    is what `lam_unit='raw'` gives.
    """
    factor = ALPHA * costs.log().pow(lams).prod()
    return Priced(nll * factor, factor.detach(), factor.detach())


PRICES: dict[str, Price] = {"additive": additive, "product": product}
