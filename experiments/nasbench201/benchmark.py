"""The true accuracy and costs of all 15 625 cells of NAS-Bench-201, and the score of a front.

The table scores searches and never takes part in one, except that a latency may be fitted to what
a hundred of its networks were measured at.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cells.cost import CostTable, fitted_table
from cells.notation import from_nasbench201
from cells.sampling import Choices
from cells.space import find_space
from experiments.records import read_table
from nas.runtime.streams import stream
from nas.selection.pareto import hypervolume

FILE = "nasbench201_cifar10.csv.gz"
COLUMNS = {
    "params": "params_M",
    "flops": "flops_M",
    "edgegpu": "edgegpu_latency_ms",
    "raspi4": "raspi4_latency_ms",
}
"""Cost here -> column of the file."""
LATENCIES = ("edgegpu", "raspi4")
LEAST = 80.0
"""Accuracy in per cent below which a cell counts nothing."""
MEASURED = 40
"""Networks whose latencies a search may know."""


class Benchmark:
    """NAS-Bench-201 on CIFAR-10.

    Attributes:
        cells: the 15 625 cells, operations by edge.
        accuracy: (15625,) test accuracy in per cent, mean over seeds, 200 epochs.
        costs: (15625,) of each kind, in the file's units.
    """

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: holds the file.

        Raises:
            InputError: if it does not.
        """
        rows = read_table(folder, FILE)
        self.cells: list[Choices] = [from_nasbench201(row["arch_str"]).choices() for row in rows]
        self.accuracy = np.array([float(row["cifar10_test_acc"]) for row in rows])
        self.costs = {
            name: np.array([float(row[column]) for row in rows]) for name, column in COLUMNS.items()
        }
        self._number = {cell: number for number, cell in enumerate(self.cells)}
        self._true: dict[tuple[str, ...], float] = {}

    def numbers(self, cells: Iterable[Sequence[int]]) -> list[int]:
        """Rows of the table that hold these cells."""
        return [self._number[tuple(cell)] for cell in cells]

    def position(self, cost: str) -> np.ndarray:
        """Logarithm of a cost, 0 at its minimum over all cells and 1 at its maximum."""
        logs = np.log(self.costs[cost])
        return (logs - logs.min()) / (logs.max() - logs.min())

    def volume(self, numbers: Sequence[int], costs: Sequence[str]) -> float:
        """Dominated volume of accuracy above 80 % times the positions of costs."""
        positions = np.stack([self.position(cost)[list(numbers)] for cost in costs], axis=1)
        return hypervolume(
            self.accuracy[list(numbers)].tolist(),
            positions.tolist(),
            least=LEAST,
            most=(1.0,) * len(costs),
        )

    def share(self, cells: Iterable[Sequence[int]], *costs: str) -> float:
        """Hypervolume of a front as a share of the true front's."""
        if costs not in self._true:
            self._true[costs] = self.volume(self._candidates(costs), costs)
        return self.volume(self.numbers(cells), costs) / self._true[costs]

    def _candidates(self, costs: Sequence[str]) -> list[int]:
        """Every cell that none dominates, quickly: by accuracy, then against those kept so far."""
        table = np.stack([self.costs[cost] for cost in costs], axis=1)
        kept: list[int] = []
        for number in np.lexsort((*table.T[::-1], -self.accuracy)).tolist():
            if not any((table[other] <= table[number]).all() for other in kept):
                kept.append(number)
        return kept

    def fitted(self, cost: str, seed: int) -> CostTable:
        """A latency as a user would know it: fitted to `MEASURED` networks drawn at random.

        Networks without a path from input to output are not measured.
        """
        space = find_space("nasbench201")
        order = torch.randperm(len(self.cells), generator=stream(seed, "measured", 0)).tolist()
        numbers = [n for n in order if space.connected(self.cells[n])][:MEASURED]
        return fitted_table(
            "latency",
            space,
            torch.tensor([self.cells[n] for n in numbers]),
            torch.from_numpy(self.costs[cost][numbers]),
        )

    def choices(self) -> Tensor:
        """All cells as a tensor (15625, 6)."""
        return torch.tensor(self.cells)
