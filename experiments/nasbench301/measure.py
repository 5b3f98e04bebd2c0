"""Where a found cell stands among random cells of its size, by the surrogate."""

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from cells.errors import InputError
from cells.sampling import Choices, random_cell, random_cells_at
from experiments.nasbench301.surrogate import SPACE, Surrogate, params_table, supported

RANDOM = 20_000
"""Random cells: two inputs for each node and operations alike, `none` left out."""
WITHIN = 0.05
"""How far a neighbour's parameters may be off, as a share of the cell's."""
NEIGHBOURS = 200
"""Fewest neighbours; where there are fewer, more cells of that size are drawn."""
CHANNELS = 16
"""Width of the networks whose parameters decide who is a neighbour, 8 cells deep."""


class Standing(NamedTuple):
    """What a cell is worth beside random cells within 5 % of its parameters."""

    percentile: float
    """Share of them, in per cent, that are predicted to be less accurate; ties count half."""
    gain: float
    """Its predicted accuracy minus their median, points of per cent."""


class FrontScore(NamedTuple):
    """What the cells of λs, from the smallest to the largest, are worth."""

    standings: list[Standing | None]
    """One for each cell, None for a cell outside of what the surrogate knows."""
    params: list[int]
    """Of each cell's network."""
    different: int
    """Cells that differ from one another."""

    @property
    def known(self) -> list[Standing]:
        """Those that the surrogate knows."""
        return [each for each in self.standings if each is not None]

    @property
    def outside(self) -> int:
        """How many it does not know."""
        return len(self.standings) - len(self.known)

    @property
    def percentile(self) -> float:
        """Mean over the cells that are known; NaN if none is."""
        return float(np.mean([s.percentile for s in self.known])) if self.known else float("nan")

    @property
    def gain(self) -> float:
        """Mean over the cells that are known; NaN if none is."""
        return float(np.mean([s.gain for s in self.known])) if self.known else float("nan")

    @property
    def least(self) -> float:
        """Least percentile; NaN if no cell is known."""
        return min((s.percentile for s in self.known), default=float("nan"))

    @property
    def rises(self) -> int:
        """Steps along λ at which the parameters rise."""
        return sum(after > before for before, after in pairwise(self.params))


class Crowd:
    """Random cells with predicted accuracies, more of them where somebody asks for a rare size.

    Cells that the surrogate does not know are left out of it, as their predictions mean nothing.
    """

    def __init__(self, surrogate: Surrogate, count: int = RANDOM) -> None:
        self._surrogate = surrogate
        self._table = params_table(CHANNELS)
        self._draw = random.Random(0)
        self._sizes, self._accuracy = np.empty(0), np.empty(0)
        self._add([random_cell(SPACE, self._draw) for _ in range(count)])

    def params(self, cells: Sequence[Choices]) -> list[int]:
        """Counts the parameters of cells' networks."""
        return [int(size) for size in self._table.totals(torch.tensor(cells)).tolist()]

    def standing(self, cell: Choices) -> Standing | None:
        """Compares one cell with its neighbours, of which more are drawn if there are too few.

        Returns:
            None if the surrogate does not know such cells, or there are no neighbours that it does.
        """
        if not supported(cell):
            return None
        (size,) = self.params([cell])
        near = self._near(size)
        if len(near) < NEIGHBOURS:
            try:
                more = random_cells_at(
                    SPACE, self._table, size, 2 * NEIGHBOURS, self._draw, within=WITHIN
                )
            except InputError:
                return None
            self._add(more)
            near = self._near(size)
        if len(near) < NEIGHBOURS:
            return None
        accuracy = float(self._surrogate.predict([cell])[0])
        below, equal = (near < accuracy).mean(), (near == accuracy).mean()
        return Standing(float(100 * (below + equal / 2)), accuracy - float(np.median(near)))

    def score(self, cells: Sequence[Choices]) -> FrontScore:
        """Scores the cells of a front, in the order of λ."""
        return FrontScore(
            [self.standing(cell) for cell in cells], self.params(cells), len(set(cells))
        )

    def _near(self, size: float) -> np.ndarray:
        return self._accuracy[np.abs(self._sizes / size - 1) <= WITHIN]

    def _add(self, cells: Sequence[Choices]) -> None:
        known = [cell for cell in cells if supported(cell)]
        if known:
            self._sizes = np.append(self._sizes, self.params(known))
            self._accuracy = np.append(self._accuracy, self._surrogate.predict(known))
