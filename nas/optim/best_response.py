"""λ learned through a best response, by gradient descent of a validation loss.

Lorraine, Duvenaud: Stochastic hyperparameter optimization through hypernetworks (2018). The best
weights are a function of λ, their best response to it,

    w*(λ) = argmin_w L_train(w, λ),

and a hypernetwork w_φ approximates it by min_φ E_λ L_train(w_φ(λ), λ). Through it the validation
loss is a function of λ alone, with the hypergradient

    dL_val / dλ = (∂w_φ / ∂λ)ᵀ ∂L_val / ∂w.

Two ways: *global*, φ for the whole range of λ first, then λ̂ down the loss (`descend`); and *local*,
where every step draws λ about λ̂ (`near`), moves φ, and moves λ̂ (`Descent`). Here λ is its position
u ∈ [0, 1] on a logarithmic scale, and nothing is known of networks.
"""

import math
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from nas.optim.rates import cosine


def hypergradient(loss: Callable[[Tensor], Tensor], unit_lams: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the validation loss through the response, and its derivative in u.

    Args:
        loss: from positions (members,) to the losses (members,) of the responses there; a member's
            loss depends on its own position alone.
        unit_lams: (members,).

    Returns:
        Losses and dloss/du, (members,) each.
    """
    units = unit_lams.detach().requires_grad_()
    losses = loss(units)
    (grads,) = torch.autograd.grad(losses.sum(), units)
    return losses.detach(), grads


@final
class Descent:
    """Gradient descent (Adam) on positions of log λ̂, which never leave [0, 1].

    Attributes:
        unit_lams: (members,) float64, each moved by itself.
    """

    def __init__(self, unit_lams: Tensor) -> None:
        self.unit_lams = unit_lams.detach().double().clone()
        self._optimizer = torch.optim.Adam([self.unit_lams])

    def move(self, grads: Tensor, rate: float) -> None:
        """Takes a step against dloss/du, (members,), of about `rate` where gradients agree."""
        self.unit_lams.grad = grads.to(self.unit_lams)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self.unit_lams.clamp_(0, 1)

    def state(self) -> dict[str, Any]:
        """Returns all that its next steps depend on."""
        return {"unit_lams": self.unit_lams, "optimizer": self._optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken."""
        self.unit_lams.copy_(state["unit_lams"])
        self._optimizer.load_state_dict(state["optimizer"])


def descend(
    slope: Callable[[Tensor], tuple[Tensor, Tensor]],
    unit_lams: Tensor,
    *,
    rate: float,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Moves λ̂ down the loss through a finished response: the second half of the global way.

    Args:
        slope: from positions (members,) to losses and their derivatives, (members,) each.
        unit_lams: where to start, (members,).
        rate: of the first step, in units of u; a cosine to 0.
        steps: how many, >= 0.

    Returns:
        The best position that each member met, (members,) float64, and the loss there.
    """
    descent = Descent(unit_lams)
    best, least = descent.unit_lams.clone(), torch.full_like(descent.unit_lams, math.inf)
    for step in range(steps + 1):
        losses, grads = slope(descent.unit_lams.clone())
        better = losses.to(least) < least
        best = torch.where(better, descent.unit_lams, best)
        least = torch.where(better, losses.to(least), least)
        descent.move(grads, cosine(rate, 0.0, step / max(steps, 1)))
    return best, least


def near(unit_lam: float, width: float, count: int, generator: torch.Generator) -> Tensor:
    """Draws about λ̂ for the local way: log λ is normal about log λ̂.

    What falls outside the range is put at its end.

    Args:
        unit_lam: position of λ̂.
        width: standard deviation in units of u.

    Returns:
        Positions (count,) float64 in [0, 1].
    """
    noise = torch.randn(count, dtype=torch.float64, generator=generator, device=generator.device)
    return (unit_lam + width * noise).clamp(0, 1)
