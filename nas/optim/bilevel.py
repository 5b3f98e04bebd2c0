"""Hypergradients of a bilevel problem: first order, finite differences, exact.

Weights w minimise the training loss L_t(w, φ); the upper-level parameters φ minimise the
validation loss after one more step of the weights (Liu, Simonyan, Yang: DARTS (2019), eq. 6-8):

    min_φ L_v(w'(φ), φ),    w'(φ) = w − ξ (∇_w L_t(w, φ) + weight_decay·w + momentum·v)

with v the momentum buffer of SGD. φ enters twice, directly and through w', hence

    dL_v/dφ = ∇_φ L_v(w', φ) − ξ ∇²_{φw} L_t(w, φ) g,    g = ∇_{w'} L_v(w', φ)

The first term is the direct term, ∇²_{φw} L_t g the mixed term below. Weight decay and momentum
do not depend on φ: they only move w'.

A loss is a function `(weights, arch) -> scalar` of two tuples of tensors. It must use the tensors
that it is given (`torch.func.functional_call`), give the same value in every pass (same batch,
same noise) and leave nothing behind: buffers that a forward pass moves, as the statistics of
BatchNorm do, must be copies.

In several processes each has its own part of the batch, the same w, φ and v, and `reduce`
averages tensors over the processes. With losses that are means over equal parts the result is
that of one process on the joint batch, the same everywhere.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

Tensors = tuple[Tensor, ...]
Loss = Callable[[Tensors, Tensors], Tensor]
Reduce = Callable[[Sequence[Tensor]], Tensors]


class Hypergradient(NamedTuple):
    """The derivative of the validation loss with respect to φ."""

    loss: Tensor
    """Validation loss at the weights where it was taken; scalar, detached, reduced."""
    grads: Tensors
    """One gradient for each tensor of φ, of its shape; zeros where the loss does not use it."""
    train_grads: tuple[Tensor | None, ...] | None = None
    """∇_w L_t(w, φ), with which the second orders look ahead: detached, reduced, None for a weight
    that no process uses. None in the first order."""


def first_order(
    val_loss: Loss,
    weights: Sequence[Tensor],
    arch: Sequence[Tensor],
    reduce: Reduce = tuple,
) -> Hypergradient:
    """Returns ∇_φ L_v(w, φ): the case ξ = 0.

    Args:
        val_loss: L_v; its weights come without gradient, so no graph of theirs is kept.
        weights: w.
        arch: φ.
        reduce: average over processes.
    """
    leaves = _leaves(arch)
    loss = val_loss(_detached(weights), leaves)
    return _hypergradient(loss, _vjp((loss,), leaves), reduce)


def finite_difference(
    train_loss: Loss,
    val_loss: Loss,
    weights: Sequence[Tensor],
    arch: Sequence[Tensor],
    *,
    lr: float,
    momentum: float = 0.0,
    buffers: Sequence[Tensor | None] | None = None,
    weight_decay: float = 0.0,
    epsilon: float = 0.01,
    reduce: Reduce = tuple,
) -> Hypergradient:
    """Returns the hypergradient with its mixed term from a central difference (DARTS, eq. 8).

        ∇²_{φw} L_t g ≈ ‖g‖ (∇_φ L_t(w + ε ĝ, φ) − ∇_φ L_t(w − ε ĝ, φ)) / 2ε,    ĝ = g / ‖g‖

    with an error of order ε². Four forward and backward passes, none differentiated twice.

    Args:
        train_loss: L_t.
        val_loss: L_v.
        weights: w.
        arch: φ.
        lr: ξ, the learning rate of the weights.
        momentum: coefficient of the momentum buffers in the step.
        buffers: v, one for each weight; None where SGD has none yet.
        weight_decay: coefficient of w in the step.
        epsilon: Euclidean distance by which the weights are moved to each side; DARTS takes 0.01.
        reduce: average over processes.
    """
    leaves = _leaves(weights)
    _, step_grads = _step_grads(train_loss(leaves, _detached(arch)), leaves, reduce)
    stepped = _step(weights, step_grads, lr, momentum, buffers, weight_decay)
    loss, direct, val_grads = _validate(val_loss, stepped, arch, reduce)

    norm = get_total_norm(val_grads)
    # A zero gradient has no direction: with the clamp it moves nothing and the difference is zero.
    length = norm.clamp_min(torch.finfo(norm.dtype).tiny)
    offset = [epsilon * (grad / length) for grad in val_grads]
    ahead, behind = (
        _arch_grads(train_loss, [w + sign * d for w, d in zip(weights, offset, strict=True)], arch)
        for sign in (1, -1)
    )
    mixed = [(a - b) * (norm / (2 * epsilon)) for a, b in zip(ahead, behind, strict=True)]
    return _hypergradient(loss, _total(direct, mixed, lr), reduce, step_grads)


def exact(
    train_loss: Loss,
    val_loss: Loss,
    weights: Sequence[Tensor],
    arch: Sequence[Tensor],
    *,
    lr: float,
    momentum: float = 0.0,
    buffers: Sequence[Tensor | None] | None = None,
    weight_decay: float = 0.0,
    reduce: Reduce = tuple,
) -> Hypergradient:
    """Returns the hypergradient with its mixed term by double backward.

    φ enters w' through ∇_w L_t alone, so ∇²_{φw} L_t g is the vector-Jacobian product of
    ∇_w L_t(w, φ) with the constant g; the step itself needs no graph. Over processes that product
    is linear in L_t once g is reduced: each multiplies its own ∇_w L_t by the common g.

    The graph of the training gradient is held through the validation pass, and every operation
    in it must be twice differentiable.

    Args:
        train_loss: L_t.
        val_loss: L_v.
        weights: w.
        arch: φ.
        lr: ξ, the learning rate of the weights.
        momentum: coefficient of the momentum buffers in the step.
        buffers: v, one for each weight; None where SGD has none yet.
        weight_decay: coefficient of w in the step.
        reduce: average over processes.
    """
    weight_leaves, arch_leaves = _leaves(weights), _leaves(arch)
    local_grads, step_grads = _step_grads(
        train_loss(weight_leaves, arch_leaves), weight_leaves, reduce, create_graph=True
    )
    stepped = _step(weights, step_grads, lr, momentum, buffers, weight_decay)
    loss, direct, val_grads = _validate(val_loss, stepped, arch, reduce)
    mixed = _vjp(local_grads, arch_leaves, val_grads)
    return _hypergradient(loss, _total(direct, mixed, lr), reduce, step_grads)


def _step_grads(
    loss: Tensor, leaves: Tensors, reduce: Reduce, *, create_graph: bool = False
) -> tuple[Tensors, list[Tensor | None]]:
    """Returns ∇_w of a training loss in this process, zeros where a weight is not used.

    And its average over processes, None where no process uses the weight: SGD leaves such a
    weight alone, momentum and weight decay included, and so must the step that looks ahead.
    """
    found: Sequence[Tensor | None] = [None] * len(leaves)
    if loss.requires_grad:
        found = torch.autograd.grad(loss, leaves, create_graph=create_graph, allow_unused=True)
    pairs = list(zip(found, leaves, strict=True))
    local = tuple(torch.zeros_like(leaf) if grad is None else grad for grad, leaf in pairs)
    used = loss.new_tensor([grad is not None for grad in found], dtype=loss.dtype)
    *averaged, share = reduce((*_detached(local), used))
    kept = zip(averaged, share.tolist(), strict=True)
    return local, [grad if users > 0 else None for grad, users in kept]


def _step(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor | None],
    lr: float,
    momentum: float,
    buffers: Sequence[Tensor | None] | None,
    weight_decay: float,
) -> Tensors:
    """Returns w', new tensors without a graph."""
    stepped = []
    for w, grad, buffer in zip(
        _detached(weights), grads, buffers or [None] * len(weights), strict=True
    ):
        if grad is None:
            stepped.append(w)
            continue
        update = grad + weight_decay * w
        if buffer is not None:
            update = update + momentum * buffer
        stepped.append(w - lr * update)
    return tuple(stepped)


def _validate(
    val_loss: Loss, stepped: Tensors, arch: Sequence[Tensor], reduce: Reduce
) -> tuple[Tensor, Tensors, Tensors]:
    """Returns L_v(w', φ) and its direct term, both of this process, and the reduced g."""
    weight_leaves, arch_leaves = _leaves(stepped), _leaves(arch)
    loss = val_loss(weight_leaves, arch_leaves)
    grads = _vjp((loss,), (*arch_leaves, *weight_leaves))
    return loss, grads[: len(arch)], reduce(grads[len(arch) :])


def _arch_grads(loss: Loss, weights: Sequence[Tensor], arch: Sequence[Tensor]) -> Tensors:
    """Returns the gradient of a loss with respect to φ alone."""
    leaves = _leaves(arch)
    return _vjp((loss(_detached(weights), leaves),), leaves)


def _total(direct: Sequence[Tensor], mixed: Sequence[Tensor], lr: float) -> Tensors:
    return tuple(d - lr * m for d, m in zip(direct, mixed, strict=True))


def _hypergradient(
    loss: Tensor,
    grads: Tensors,
    reduce: Reduce,
    train_grads: Sequence[Tensor | None] | None = None,
) -> Hypergradient:
    # Both terms are linear in the losses of the processes: one reduction of their sum is enough.
    value, *reduced = reduce((loss.detach(), *grads))
    return Hypergradient(value, tuple(reduced), None if train_grads is None else tuple(train_grads))


def _vjp(
    outputs: Sequence[Tensor], inputs: Tensors, vectors: Sequence[Tensor] | None = None
) -> Tensors:
    """Returns Σ_i (∂outputs_i/∂inputs)ᵀ vectors_i, zeros for inputs that no output depends on.

    Args:
        outputs: scalars if there are no vectors.
        inputs: leaves.
        vectors: one of the shape of each output; None stands for ones.
    """
    # autograd refuses an output without a graph, though its derivative is well known.
    connected = [i for i, output in enumerate(outputs) if output.requires_grad]
    if not connected:
        return tuple(torch.zeros_like(x) for x in inputs)
    return torch.autograd.grad(
        [outputs[i] for i in connected],
        inputs,
        None if vectors is None else [vectors[i] for i in connected],
        materialize_grads=True,
    )


def _detached(tensors: Sequence[Tensor]) -> Tensors:
    return tuple(x.detach() for x in tensors)


def _leaves(tensors: Sequence[Tensor]) -> Tensors:
    """Returns new leaves on the same memory, so that nothing reaches the caller's own graph."""
    return tuple(x.detach().requires_grad_() for x in tensors)
