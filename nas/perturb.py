"""Perturbations of the operations' weights while the supernet is trained: SDARTS.

Chen, Hsieh: Stabilizing differentiable architecture search via perturbation-based regularization
(2020). Weights w that do well in a whole ball about the architecture make the validation loss
flat in it, and a flat loss survives the step to a discrete cell.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from nas.bilevel import Reduce

KINDS = ("none", "random", "adversarial")
PGD_STEPS = 7
"""Steps of the attack, as in the paper."""
OVERSHOOT = 2.5
"""All steps together are so many radii long: a corner of the ball can be reached from any other."""


def random_in_ball(shape: tuple[int, ...], radius: float, generator: torch.Generator) -> Tensor:
    """A point of the ball ‖δ‖_∞ <= radius, uniform, on the generator's device."""
    uniform = torch.rand(shape, generator=generator, device=generator.device)
    return radius * (2 * uniform - 1)


def adversarial(
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    radius: float,
    steps: int = PGD_STEPS,
    reduce: Reduce = tuple,
) -> Tensor:
    """A point of the ball ‖δ‖_∞ <= radius at which the loss is high.

    Projected gradient ascent along the gradient's signs (Madry et al. 2018).

    Args:
        loss: δ -> scalar; the same in every call for the same δ.
        start: a point of the ball, of any shape.
        radius: >= 0.
        steps: ascents, >= 1.
        reduce: average over processes.
    """
    delta = start
    for _ in range(steps):
        leaf = delta.detach().requires_grad_()
        (grad,) = reduce(torch.autograd.grad(loss(leaf), (leaf,)))
        delta = (delta + OVERSHOOT * radius / steps * grad.sign()).clamp(-radius, radius)
    return delta


def top_eigenvalue(
    loss: Callable[[Tensor], Tensor],
    point: Tensor,
    generator: torch.Generator,
    iterations: int = 10,
) -> float:
    """The eigenvalue of largest modulus of a loss's Hessian, by power iteration.

    Its growth tells that the discrete cell will be worse than the mixture (Zela et al.:
    Understanding and robustifying differentiable architecture search, 2020).

    Args:
        loss: twice differentiable function of a tensor like `point`.
        point: where.
        generator: source of the first direction.
        iterations: products of the Hessian with a vector, >= 1.

    Returns:
        The Rayleigh quotient of the last direction; 0 where the gradient is constant.
    """
    leaf = point.detach().requires_grad_()
    (grad,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    direction = torch.randn(point.shape, generator=generator, device=generator.device)
    direction = direction.to(point)
    value = 0.0
    for _ in range(iterations):
        direction = direction / direction.norm().clamp_min(torch.finfo(direction.dtype).tiny)
        if not grad.requires_grad:
            return 0.0
        (product,) = torch.autograd.grad(
            grad, leaf, direction, retain_graph=True, materialize_grads=True
        )
        value = float((direction * product).sum())
        direction = product
    return value
