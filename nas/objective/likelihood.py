"""A supernet's likelihood and its gradient on a GPU, each as one launch.

A supernet's pass is thousands of kernels of a few microseconds; a GPU waits for Python to start
them. A recording (`nas.runtime.cuda_graph`) starts them all at once. Its kernels are always the
same, so where a single operation per edge is computed, a recorded pass computes all of them and
multiplies the others by zero: the result is the same, and with few operations it is ready sooner
(docs/records/speed-2026-11.md, section 6).
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from cells.supernet import Supernet
from nas.runtime.cuda_graph import CudaGraphStep

EAGER_PASSES = 2
"""Passes of one kind kernel by kernel before it is recorded: what is done once is not worth it."""
MOST_OPERATIONS = 5
"""Operations of a space, `none` among them, up to which all are computed where one per edge would
do: with 5 it is faster, with the 8 of DARTS slower."""
MOST_ACTIVATIONS = 2**24
"""Images × pixels × channels of the first cells × cells up to which all are computed where one per
edge would do: with more a GPU has enough to do."""

Likelihood = Callable[
    [Tensor, Tensor, Tensor, Sequence[int] | None, Tensor | None], tuple[Tensor, Tensor]
]
"""(images, labels, weights of the operations, the one operation per edge, shares of edges) -> mean
negative log-likelihood and accuracy, scalars."""


class RecordedLikelihood:
    """The likelihood of a supernet at its own weights, kept as recordings of each kind of pass."""

    def __init__(
        self,
        supernet: Supernet,
        likelihood: Likelihood,
        record: Callable[..., Any] = CudaGraphStep,
    ) -> None:
        """
        Args:
            likelihood: with the supernet; nothing in it may be random.
            record: maps a function of tensors and its inputs to what replays it with `run`.
        """
        self.supernet = supernet
        self.likelihood = likelihood
        self._record = record
        self._seen: Counter[Hashable] = Counter()
        self._passes: dict[Hashable, _Pass] = {}
        self._used: dict[tuple[int, ...], list[bool]] = {}

    def __call__(
        self,
        parameters: Sequence[Tensor],
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        active: Sequence[int] | None,
        shares: Tensor | None,
    ) -> tuple[Tensor, Tensor] | None:
        """What `likelihood` returns, to be differentiated once; None if that is not recorded yet.

        Args:
            parameters: the supernet's, or the same without gradient.
        """
        record = torch.is_grad_enabled()
        moves = record and weights.requires_grad
        if active is not None and (moves or not self._computes_all(x, active)):
            return None
        needs = (
            moves,
            record and shares is not None and shares.requires_grad,
            record and any(parameter.requires_grad for parameter in parameters),
        )
        columns = tuple(tuple(row) for row in self.supernet.columns)
        key = (x.shape, weights.shape, shares is None, needs, columns)
        self._seen[key] += 1
        if self._seen[key] <= EAGER_PASSES:
            return None
        used = [True] * len(parameters)
        if active is not None:
            active = tuple(active)
            one_hot = F.one_hot(torch.tensor(active), weights.shape[-1])
            weights = weights * one_hot.to(weights)
            if needs[2]:
                if active not in self._used:
                    self._used[active] = self.supernet.used(active)
                used = self._used[active]
        inputs = [x, y, weights] + ([] if shares is None else [shares])
        if key not in self._passes:
            detached = [tensor.detach() for tensor in inputs]
            self._passes[key] = _Pass(self, detached, needs)
        if not any(needs):
            nll, accuracy = self._passes[key].run(inputs)[:2].unbind()
            return nll, accuracy
        nll, accuracy = _Replay.apply(self._passes[key], used, x, y, weights, shares, *parameters)
        return nll, accuracy

    def _computes_all(self, x: Tensor, active: Sequence[int]) -> bool:
        """Whether a pass of one operation per edge is recorded as one of all."""
        skeleton = self.supernet.skeleton
        size = len(x) * x.shape[2] * x.shape[3] * skeleton.channels * skeleton.num_cells
        return (
            size <= MOST_ACTIVATIONS
            and len(skeleton.space.ops) <= MOST_OPERATIONS
            and self.supernet.partial == 1
            and skeleton.space.connected(active)
        )


class _Pass:
    """One kind of pass: likelihood, accuracy and gradients as one flat tensor."""

    def __init__(
        self, recorded: RecordedLikelihood, inputs: Sequence[Tensor], needs: tuple[bool, bool, bool]
    ) -> None:
        """
        Args:
            inputs: images, labels, weights of the operations, shares of edges if there are any.
            needs: whether gradients with respect to weights, shares, parameters are wanted.
        """
        self.needs = needs
        own = tuple(recorded.supernet.parameters()) if needs[2] else ()

        def gradients(x: Tensor, y: Tensor, *rest: Tensor) -> tuple[Any, ...]:
            leaves = [t.detach().requires_grad_(n) for t, n in zip(rest, needs[:2], strict=False)]
            shares = leaves[1] if len(leaves) > 1 else None
            with torch.set_grad_enabled(any(needs)):
                nll, accuracy = recorded.likelihood(x, y, leaves[0], None, shares)
            wanted = [leaf for leaf in leaves if leaf.requires_grad] + list(own)
            found = torch.autograd.grad(nll, wanted, allow_unused=True) if wanted else ()
            return nll.detach(), accuracy, *found

        def flat(*tensors: Tensor) -> Tensor:
            return torch.cat(
                [
                    _like(tensor, like).as_strided((tensor.numel(),), (1,))
                    for tensor, like in zip(gradients(*tensors), likes, strict=True)
                    if tensor is not None
                ]
            )

        with _aside(inputs[0].device):
            found = gradients(*inputs)
            leaves = [t for t, need in zip(inputs[2:], needs[:2], strict=False) if need]
            likes = [*found[:2], *leaves, *own]
            flat(*inputs)
            self.run = recorded._record(flat, inputs).run
        self.layout: list[tuple[torch.Size, tuple[int, ...], int] | None] = []
        """Of each gradient its size, strides and place; None where there is none."""
        place = 2
        for tensor, like in zip(found[2:], likes[2:], strict=True):
            self.layout.append(None if tensor is None else (like.shape, like.stride(), place))
            place += 0 if tensor is None else tensor.numel()


class _Replay(torch.autograd.Function):
    """Likelihood and accuracy from a recorded pass, and what it has found their gradients to be."""

    @staticmethod
    def forward(ctx: Any, kept: _Pass, used: list[bool], *tensors: Tensor | None) -> Any:
        x, y, weights, shares = tensors[:4]
        ctx.kept, ctx.used = kept, used
        ctx.flat = kept.run([t for t in (x, y, weights, shares) if t is not None])
        nll, accuracy = ctx.flat[0].clone(), ctx.flat[1].clone()
        ctx.mark_non_differentiable(accuracy)
        return nll, accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> Any:
        needs = ctx.kept.needs
        flat = ctx.flat * grad
        grads = [None if at is None else flat.as_strided(*at) for at in ctx.kept.layout]
        first = [grads.pop(0) if need else None for need in needs[:2]]
        own = zip(grads, ctx.used, strict=True) if needs[2] else ()
        parameters = [grad if used else None for grad, used in own] or [None] * len(ctx.used)
        return None, None, None, None, *first, *parameters


def _like(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor in the memory format of another."""
    if tensor.stride() == like.stride():
        return tensor
    return torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)


@contextmanager
def _aside(device: torch.device) -> Iterator[None]:
    """On a GPU, work on a stream of its own, as recordings are made on one."""
    if device.type != "cuda":
        yield
        return
    stream, present = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(present)
    with torch.cuda.stream(stream):
        yield
    present.wait_stream(stream)
