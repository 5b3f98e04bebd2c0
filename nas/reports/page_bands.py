"""Random cells on a page: the band of their accuracies along a cost."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import quantiles

from cells.errors import InputError
from nas.reports.front_plot import COSTS
from nas.runtime.tables import number, read_table

CHANCE = "chance.csv"
"""Random cells of the space, scored as those of the front: their costs and `accuracy`."""
BANDS = 8
LEAST_IN_A_BAND = 10
"""Random cells; fewer make one band, of fewer than two there is none."""


def read_chance(path: Path) -> list[dict[str, float]]:
    """Reads costs and accuracies of random cells; none if nothing was scored.

    Raises:
        InputError: if the table is damaged.
    """
    if not path.exists():
        return []
    names, lines = read_table(path)
    if "accuracy" not in names:
        raise InputError(f"{path} has no column accuracy: remove it, or score random cells again")
    wanted = {"accuracy", *COSTS}
    return [
        {
            name: number(text, where)
            for name, text in zip(names, line, strict=True)
            if name in wanted
        }
        for where, line in lines
    ]


def bands(
    cells: Sequence[Mapping[str, float]], costs: Sequence[str]
) -> dict[str, list[list[float]]]:
    """For each cost the middle 80 % of random cells along it: cost, 10 %, 50 % and 90 %."""
    found = {}
    for cost in costs:
        ordered = sorted((cell[cost], cell["accuracy"]) for cell in cells if cost in cell)
        if len(ordered) < 2:
            continue
        number = max(1, min(BANDS, len(ordered) // LEAST_IN_A_BAND))
        ends = [i * len(ordered) // number for i in range(number + 1)]
        drawn = []
        for start, end in pairwise(ends):
            part = ordered[start:end]
            cuts = quantiles((accuracy for _, accuracy in part), n=10, method="inclusive")
            drawn.append([part[len(part) // 2][0], cuts[0], cuts[4], cuts[8]])
        first, last = [ordered[0][0], *drawn[0][1:]], [ordered[-1][0], *drawn[-1][1:]]
        found[cost] = [[float(f"{v:.5g}") for v in band] for band in [first, *drawn, last]]
    return found
