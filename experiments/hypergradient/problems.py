"""Bilevel problems with a known hypergradient, and errors of finite differences on them."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from nas.optim.bilevel import Hypergradient, Loss, exact, finite_difference
from nas.runtime.streams import stream

EPSILONS = tuple(m * 10.0**-k for k in range(8) for m in (1.0, 0.3))
"""Distances ε, descending: 1, 0.3, 0.1, …, 3e-8."""
FIT_RANGE = (1e-3, 1e-1)
"""ε between which the slope is fitted: small enough for the ε² term to lead, far above rounding."""
SMOOTH = (torch.tanh, F.softplus)
KINKED = (torch.relu, F.leaky_relu)


class Problem(NamedTuple):
    """A bilevel problem at one point."""

    train_loss: Loss
    val_loss: Loss
    weights: tuple[Tensor, ...]
    arch: tuple[Tensor, ...]
    buffers: tuple[Tensor, ...]

    def to(self, dtype: torch.dtype) -> "Problem":
        """Returns the same point in another precision."""
        weights, arch, buffers = (tuple(x.to(dtype) for x in xs) for xs in self[2:])
        return Problem(self.train_loss, self.val_loss, weights, arch, buffers)


class Step(NamedTuple):
    """Settings of the weights' step; by default those of DARTS's search on CIFAR-10."""

    lr: float = 0.025
    momentum: float = 0.9
    weight_decay: float = 3e-4


STEP = Step()


def quadratic(seed: int) -> tuple[Problem, Callable[[Step], np.ndarray]]:
    """Returns a quadratic problem and its hypergradient, solved by hand.

        L_t = ½ wᵀA w − wᵀB φ,    L_v = ½ ‖C w − d‖² + wᵀE φ + ½ ‖φ‖²

    so that w' = w − ξ (A w − B φ + weight_decay·w + momentum·v) has dw'/dφ = ξ B, and

        dL_v/dφ = Eᵀw' + φ + ξ Bᵀ (Cᵀ(C w' − d) + E φ)

    Args:
        seed: of the matrices, with 5 weights and 3 upper-level parameters.
    """
    rng = np.random.default_rng(seed)
    root, b, c, e = (rng.normal(size=size) for size in ((5, 5), (5, 3), (4, 5), (5, 3)))
    a, d = root @ root.T / 5, rng.normal(size=4)
    w, phi, v = (rng.normal(size=size) for size in (5, 3, 5))

    def solution(step: Step) -> np.ndarray:
        w_next = w - step.lr * (a @ w - b @ phi + step.weight_decay * w + step.momentum * v)
        val_grad = c.T @ (c @ w_next - d) + e @ phi
        return e.T @ w_next + phi + step.lr * b.T @ val_grad

    ta, tb, tc, td, te = (torch.from_numpy(x) for x in (a, b, c, d, e))

    def train_loss(weights: tuple[Tensor, ...], arch: tuple[Tensor, ...]) -> Tensor:
        (x,), (y,) = weights, arch
        return x @ ta @ x / 2 - x @ tb @ y

    def val_loss(weights: tuple[Tensor, ...], arch: tuple[Tensor, ...]) -> Tensor:
        (x,), (y,) = weights, arch
        return (tc @ x - td).square().sum() / 2 + x @ te @ y + y @ y / 2

    tensors = ((torch.from_numpy(x),) for x in (w, phi, v))
    return Problem(train_loss, val_loss, *tensors), solution


def network_loss(
    images: Tensor, labels: Tensor, activations: Sequence[Callable[[Tensor], Tensor]]
) -> Loss:
    """Returns the mean cross-entropy of a network with two edges of mixed operations.

    An edge adds to its input a mixture, by the softmax of its row of φ, of zero, the input, and
    one dense layer under each activation.

    Args:
        images: (batch, 64).
        labels: (batch,).
        activations: one for each dense candidate.
    """

    def loss(weights: tuple[Tensor, ...], arch: tuple[Tensor, ...]) -> Tensor:
        stem, head, *dense = weights
        hidden = images.to(stem.dtype) @ stem  # (batch, 16)
        candidates = iter(dense)
        for row in arch[0].softmax(-1):  # the row of each edge, (ops,)
            outputs = [torch.zeros_like(hidden), hidden]
            outputs += [f(hidden @ next(candidates)) for f in activations]
            hidden = hidden + sum(p * x for p, x in zip(row, outputs, strict=True))
        return F.cross_entropy(hidden @ head, labels)

    return loss


def digits_problem(
    activations: Sequence[Callable[[Tensor], Tensor]],
    batch: int = 64,
    width: int = 16,
    warmup: int = 20,
) -> Problem:
    """Returns the network on two disjoint batches of digits, after a few steps of its weights.

    Args:
        activations: one for each dense candidate of an edge.
        batch: images in the training and in the validation batch.
        width: hidden units.
        warmup: steps of SGD, all on the training batch, that fill the momentum buffers.
    """
    digits = load_digits()
    images = torch.from_numpy(digits.data / 16)[: 2 * batch]
    labels = torch.from_numpy(digits.target)[: 2 * batch]
    train_loss = network_loss(images[:batch], labels[:batch], activations)
    val_loss = network_loss(images[batch:], labels[batch:], activations)

    generator = stream(0, "hypergradient", 0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    shapes = [(64, width), (width, 10)] + [(width, width)] * (2 * len(activations))
    weights = [(normal(*shape) / math.sqrt(shape[0])).requires_grad_() for shape in shapes]
    arch = (normal(2, 2 + len(activations)),)
    optimiser = torch.optim.SGD(weights, STEP.lr, STEP.momentum, weight_decay=STEP.weight_decay)
    for _ in range(warmup):
        optimiser.zero_grad()
        torch.autograd.backward(train_loss(tuple(weights), arch))
        optimiser.step()
    buffers = tuple(optimiser.state[w]["momentum_buffer"] for w in weights)
    return Problem(train_loss, val_loss, tuple(w.detach() for w in weights), arch, buffers)


def flat(result: Hypergradient) -> Tensor:
    """Returns the gradients as one float64 vector."""
    return torch.cat([grad.flatten().double() for grad in result.grads])


def mixed_term_errors(
    problem: Problem, epsilons: Sequence[float], dtype: torch.dtype = torch.float64
) -> list[float]:
    """Returns the relative error of the mixed term by finite differences for each ε.

    The validation loss is cut off from φ. That leaves g as it is and makes the direct term zero,
    so that what remains of a hypergradient is the mixed term, with nothing to subtract.

    Args:
        problem: in float64.
        epsilons: distances.
        dtype: precision of the finite differences; the exact form stays in float64.
    """

    def val_loss(weights: tuple[Tensor, ...], arch: tuple[Tensor, ...]) -> Tensor:
        return problem.val_loss(weights, tuple(x.detach() for x in arch))

    def mixed(form: Callable[..., Hypergradient], dtype: torch.dtype, **settings: float) -> Tensor:
        train_loss, _, weights, arch, buffers = problem.to(dtype)
        settings |= STEP._asdict()
        return flat(form(train_loss, val_loss, weights, arch, buffers=buffers, **settings))

    reference = mixed(exact, torch.float64)
    estimates = (mixed(finite_difference, dtype, epsilon=e) for e in epsilons)
    return [float((x - reference).norm() / reference.norm()) for x in estimates]


def slope(epsilons: Sequence[float], errors: Sequence[float]) -> float:
    """Returns the least-squares slope of log error against log ε within `FIT_RANGE`."""
    low, high = FIT_RANGE
    # 1 % of room for the rounding of 10^-k.
    kept = [(e, x) for e, x in zip(epsilons, errors, strict=True) if 0.99 * low <= e <= 1.01 * high]
    log_epsilons, log_errors = np.log(kept).T
    return float(np.polyfit(log_epsilons, log_errors, deg=1)[0])
