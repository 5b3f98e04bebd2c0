"""Perturbations of the operations' weights while the supernet is trained: SDARTS.

Chen, Hsieh: Stabilizing differentiable architecture search via perturbation-based regularization
(2020). Weights w that do well in a whole ball about the architecture make the validation loss
flat in it, and a flat loss survives the step to a discrete cell.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nas.optim.bilevel import Reduce

KINDS = ("none", "random", "adversarial")
PGD_STEPS = 7
"""Steps of the attack, as in the authors' code."""


def random_in_ball(shape: tuple[int, ...], radius: float, generator: torch.Generator) -> Tensor:
    """Draws a point of the ball ‖δ‖_∞ <= radius, uniform, on the generator's device."""
    uniform = torch.rand(shape, generator=generator, device=generator.device)
    return radius * (2 * uniform - 1)


def adversarial(
    loss: Callable[[Tensor], Tensor],
    landed: Callable[[Tensor], Tensor],
    start: Tensor,
    radius: float,
    reduce: Reduce = tuple,
) -> Tensor:
    """Returns a point of the ball ‖δ‖_∞ <= radius at which the loss is high, or 0.

    Projected gradient ascent along the gradient's signs (Madry et al. 2018): `PGD_STEPS` steps that
    are twice the radius long together, each from where the weights have landed. If the loss is then
    lower than without a perturbation, there is none.

    Args:
        loss: δ -> scalar; the same in every call for the same δ.
        landed: δ -> by how much the weights really move (`perturbed`), of the same shape.
        start: a point of the ball, of any shape.
        radius: >= 0.
        reduce: average over processes.
    """
    delta = start
    for _ in range(PGD_STEPS):
        leaf = delta.detach().requires_grad_()
        (grad,) = reduce(torch.autograd.grad(loss(leaf), (leaf,)))
        delta = (landed(delta) + 2 * radius / PGD_STEPS * grad.sign()).clamp(-radius, radius)
    nothing = torch.zeros_like(delta)
    with torch.no_grad():
        before, after = reduce((loss(nothing), loss(delta)))
    return nothing if before > after else delta
