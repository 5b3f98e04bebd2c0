"""Relaxations: logits -> weights of the candidate operations, and their temperature.

A relaxation has two parts: `noise` draws, `__call__` is deterministic, so that the several passes
of one bilevel step can share their noise. A new one is a subclass of `Relaxation` and a line in
`RELAXATIONS`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, final

import torch
from torch import Tensor

from cells.errors import InputError, unknown

SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "linear": lambda fraction, start, end: (1 - fraction) * start + fraction * end,
    "exponential": lambda fraction, start, end: start ** (1 - fraction) * end**fraction,
    "constant": lambda fraction, start, end: start,
}


def temperature(fraction: float, start: float, end: float, schedule: str = "linear") -> float:
    """Temperature at a moment of the search.

    Args:
        fraction: finished share of the search, in [0, 1].
        start: temperature at 0, > 0.
        end: temperature at 1, > 0; without effect for `"constant"`.
        schedule: a name in `SCHEDULES`.

    Raises:
        InputError: if a temperature is not positive and finite, or there is no such schedule.
    """
    assert 0 <= fraction <= 1
    if schedule not in SCHEDULES:
        raise unknown("temperature schedule", schedule, SCHEDULES)
    for value in (start, end):
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"a temperature must be positive and finite, got {value}")
    return SCHEDULES[schedule](fraction, start, end)


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard Gumbel variables, float32, on the device of the generator.

    The minus logarithm of an exponential variable; torch never draws 0 for the latter, so that
    all are finite, which −log(−log U) is not in float32 when U rounds to 0 or 1.
    """
    exponential = torch.empty(shape, device=generator.device).exponential_(generator=generator)
    return -exponential.log()


class Relaxed(NamedTuple):
    """A point on (softmax, Gumbel) or at a corner (straight-through) of the simplex."""

    weights: Tensor
    """(edges, ops) or (batch, edges, ops), >= 0, each row sums to 1."""
    active: tuple[int, ...] | None
    """The one operation per edge that has weight; None if all have."""


class Relaxation(ABC):
    """Turns logits into weights that can be differentiated."""

    @abstractmethod
    def noise(
        self, num_edges: int, num_ops: int, batch: int, generator: torch.Generator
    ) -> Tensor | None:
        """Draws what one step needs, (edges, ops) or (batch, edges, ops); None if nothing.

        Args:
            num_edges: rows of the logits.
            num_ops: columns of the logits.
            batch: examples of the step.
            generator: the source of randomness; the noise lies on its device.
        """

    @abstractmethod
    def __call__(self, logits: Tensor, noise: Tensor | None, temperature: float) -> Relaxed:
        """Weights for given noise.

        Args:
            logits: (edges, ops).
            noise: what `noise` returned.
            temperature: > 0; towards 0 the weights become one-hot.
        """


@final
class Softmax(Relaxation):
    """softmax(logits / T): DARTS (Liu, Simonyan, Yang, 2019), with T = 1."""

    def noise(
        self, num_edges: int, num_ops: int, batch: int, generator: torch.Generator
    ) -> Tensor | None:
        return None

    def __call__(self, logits: Tensor, noise: Tensor | None, temperature: float) -> Relaxed:
        return Relaxed(torch.softmax(logits / temperature, dim=-1), None)


class _Noisy(Relaxation):
    """softmax((logits + G) / T), G standard Gumbel (Maddison, Mnih, Teh, 2017; Jang et al. 2017).

    The largest weight falls on operation o with probability softmax(logits)_o at every T.
    """

    def __call__(self, logits: Tensor, noise: Tensor | None, temperature: float) -> Relaxed:
        assert noise is not None
        return Relaxed(torch.softmax((logits + noise) / temperature, dim=-1), None)


@final
class Gumbel(_Noisy):
    """Gumbel-softmax, one architecture for all examples of a step (Xie et al.: SNAS, 2019)."""

    def noise(self, num_edges: int, num_ops: int, batch: int, generator: torch.Generator) -> Tensor:
        return gumbel_noise((num_edges, num_ops), generator)


@final
class GumbelExample(_Noisy):
    """Gumbel-softmax, an architecture of its own for every example (lower variance)."""

    def noise(self, num_edges: int, num_ops: int, batch: int, generator: torch.Generator) -> Tensor:
        return gumbel_noise((batch, num_edges, num_ops), generator)


@final
class StraightThrough(Relaxation):
    """One-hot at the Gumbel argmax; its gradient is that of the Gumbel-softmax.

    Only the active operation of each edge has to be computed: GDAS (Dong, Yang, 2019),
    equations 3 to 5.
    """

    def noise(self, num_edges: int, num_ops: int, batch: int, generator: torch.Generator) -> Tensor:
        return gumbel_noise((num_edges, num_ops), generator)

    def __call__(self, logits: Tensor, noise: Tensor | None, temperature: float) -> Relaxed:
        assert noise is not None
        perturbed = logits + noise
        soft = torch.softmax(perturbed / temperature, dim=-1)
        chosen = perturbed.argmax(dim=-1)
        hard = torch.zeros_like(soft).scatter(-1, chosen[:, None], 1.0)
        # The bracket is exactly 0; (hard + soft) - soft.detach() may round 1 to 0.99999994.
        weights = hard + (soft - soft.detach())
        return Relaxed(weights, tuple(chosen.tolist()))


RELAXATIONS: dict[str, type[Relaxation]] = {
    "softmax": Softmax,
    "gumbel": Gumbel,
    "gumbel_example": GumbelExample,
    "straight_through": StraightThrough,
}


def build_relaxation(name: str) -> Relaxation:
    """Returns a relaxation by name.

    Raises:
        InputError: if there is no such relaxation.
    """
    if name not in RELAXATIONS:
        raise unknown("relaxation", name, RELAXATIONS)
    return RELAXATIONS[name]()
