"""The complexity parameter λ: the range that is searched, draws from it, positions in it.

λ is handled in float64 throughout: in float32 λ = 1e-46 would be 0 and its logarithm −∞.
Hypernetworks see only `unit_lam`, the position of log λ in its range, which is in [0, 1].
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from cells.errors import InputError

LEAST_WIDTH = 1e-6
"""Of a range, as a share of λ: in a narrower one the λs of a grid may be equal."""


def _even(count: int) -> Tensor:
    """Evenly spaced positions in [0, 1], both ends exact; position 0 alone when `count` is 1."""
    # arange / (count - 1) is correctly rounded, linspace is not: these must hit knots exactly.
    return torch.arange(count, dtype=torch.float64) / max(count - 1, 1)


@final
@dataclass(frozen=True)
class LambdaRange:
    """A box of λs, one axis per cost; an axis with `low == high` holds a single λ.

    Raises:
        InputError: if a bound is not positive and finite, if a low bound lies above its high
            bound or next to it, or if the numbers of bounds are different or zero.
    """

    low: tuple[float, ...]
    """Smallest λ of each cost, nats per example, > 0."""
    high: tuple[float, ...]
    """Largest λ of each cost, nats per example, >= `low`."""

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high):
            raise InputError(
                f"λ needs one low and one high bound per cost, "
                f"got {len(self.low)} low and {len(self.high)} high"
            )
        if not self.low:
            raise InputError("λ needs one low and one high bound per cost, got none")
        for value in self.low + self.high:
            if not (value > 0 and math.isfinite(value)):
                raise InputError(f"λ must be positive and finite, got {value}")
        for low, high in zip(self.low, self.high, strict=True):
            if low > high:
                raise InputError(f"empty range of λ: low {low} is above high {high}; swap them")
            if low < high < low * (1 + LEAST_WIDTH):
                raise InputError(
                    f"the range of λ from {low} to {high} is too narrow: widen it, or give one λ "
                    "with --lam"
                )

    @property
    def num_costs(self) -> int:
        """Counts the axes of the range."""
        return len(self.low)

    def check(self, lam: Sequence[float]) -> None:
        """Makes sure that a λ someone asks for has been searched.

        Args:
            lam: one λ per cost.

        Raises:
            InputError: if it lies outside the range or has another number of costs.
        """
        if len(lam) != self.num_costs:
            raise InputError(
                f"this search has {self.num_costs} costs with a λ each, got {len(lam)}"
            )
        for value, low, high in zip(lam, self.low, self.high, strict=True):
            if not low <= value <= high:
                raise InputError(
                    f"λ = {value} is outside the searched range {low} … {high}: "
                    f"choose one inside or search a wider range"
                )

    def unit(self, lams: Tensor) -> Tensor:
        """Returns the position of log λ in its range.

        Args:
            lams: float64 (n, num_costs), inside the range (see `check`).

        Returns:
            float64 (n, num_costs) in [0, 1]; exactly 0 at `low`, 1 at `high`, 0 where they agree.
        """
        low, high = self._bounds(lams)
        assert bool(((lams >= low) & (lams <= high)).all()), "λ outside its range"
        width = high.log() - low.log()
        unit_lams = (lams.log() - low.log()) / torch.where(width > 0, width, 1)
        return unit_lams.clamp(0, 1)

    def lam(self, unit_lams: Tensor) -> Tensor:
        """Inverts `unit`.

        Args:
            unit_lams: float64 (n, num_costs) in [0, 1].

        Returns:
            λs, float64 (n, num_costs); exactly `low` at 0 and `high` at 1.
        """
        low, high = self._bounds(unit_lams)
        lams = ((1 - unit_lams) * low.log() + unit_lams * high.log()).exp()
        # exp(log(x)) is not x in floating point.
        lams = torch.where(unit_lams <= 0, low, torch.where(unit_lams >= 1, high, lams))
        return lams.clamp(low, high)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws λs, log-uniform, independent over draws and costs.

        Args:
            count: number of draws.
            generator: the source of randomness; the λs lie on its device.

        Returns:
            λs, float64 (count, num_costs).
        """
        shape = (count, self.num_costs)
        unit_lams = torch.rand(
            shape, dtype=torch.float64, generator=generator, device=generator.device
        )
        return self.lam(unit_lams)

    def spread(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws λs, log-uniform, one in each of `count` equal parts of every cost's range.

        A Latin hypercube (McKay, Beckman, Conover, 1979): with several costs the parts are paired
        at random.

        Args:
            count: number of draws.
            generator: the source of randomness; the λs lie on its device.

        Returns:
            λs, float64 (count, num_costs); those of the first cost ascend.
        """
        device = generator.device
        columns = []
        for k in range(self.num_costs):
            part = torch.arange(count, device=device)
            if k:
                part = torch.randperm(count, generator=generator, device=device)
            inside = torch.rand(count, dtype=torch.float64, generator=generator, device=device)
            columns.append((part + inside) / count)
        return self.lam(torch.stack(columns, dim=1))

    def grid(self, count: int) -> Tensor:
        """Lists λs evenly spaced in log λ, both ends included.

        With k costs whose λ is free it is the product of k axes of ⌈count^(1/k)⌉ λs; a λ that is
        fixed adds no points.

        Args:
            count: least number of λs wanted, >= 1; 1 gives `low` alone.

        Returns:
            Different λs, float64 (m, num_costs), in ascending (lexicographic) order.
        """
        free = [low < high for low, high in zip(self.low, self.high, strict=True)]
        side = 1
        # In integers, since for instance 64 ** (1 / 3) is not 4.
        while any(free) and side ** sum(free) < count:
            side += 1
        axes = [_even(side if is_free else 1) for is_free in free]
        unit_lams = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        return self.lam(unit_lams.reshape(-1, self.num_costs))

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """`low` and `high` as float64 (num_costs,) on the device of `like`."""
        assert like.dtype == torch.float64 and like.shape[1:] == (self.num_costs,)
        return like.new_tensor(self.low), like.new_tensor(self.high)
