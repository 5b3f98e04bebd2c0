"""How likelihood and costs make one loss.

A price takes the negative log-likelihood, λ (num_costs,) and the expected costs (num_costs,), and
returns the loss with the factor by which this λ's gradients exceed those of the likelihood; a
search divides by it, so that large λs do not drown small ones. A new one is a function and a line
in `PRICES`.
"""

from collections.abc import Callable

from torch import Tensor

ALPHA = 0.2
"""α of the product."""

Price = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def additive(nll: Tensor, lams: Tensor, costs: Tensor) -> tuple[Tensor, Tensor]:
    """nll + Σ_k λ_k C_k: the evidence lower bound; factor 1 + Σ_k λ_k."""
    return nll + (lams * costs).sum(), 1 + lams.sum()


def product(nll: Tensor, lams: Tensor, costs: Tensor) -> tuple[Tensor, Tensor]:
    """nll · α · Π_k log(C_k)^λ_k, FBNet's loss (Wu et al. 2019, equation 2); α = 0.2.

    λ takes the place of the paper's β, 0.6 there. Costs are in their own units and above e, which
    is what `lam_unit='raw'` gives. The factor is α Π_k log(C_k)^λ_k.
    """
    factor = ALPHA * costs.log().pow(lams).prod()
    return nll * factor, factor.detach()


PRICES: dict[str, Price] = {"additive": additive, "product": product}
