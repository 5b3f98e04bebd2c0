"""A front beside random cells of equal cost: chance.csv of a run folder, and what it says."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cells.errors import InputError
from cells.genotype import Genotype
from cells.input_files import MIB
from cells.sampling import Choices
from cells.strict_json import show
from nas.runtime.sums import check_sums
from nas.runtime.tables import number, read_table
from nas.selection.chance import draw_chance, positive
from nas.selection.front import Front

CHANCE = "chance.csv"
MAX_BYTES = 16 * MIB
"""Of chance.csv."""
COST_NAMES = {
    "params": "parameters",
    "flops": "multiply–adds",
    "latency": "latency",
    "kl": "KL divergence",
}
NEAREST = 5
"""What random cells reach at a cost is told by one in so many of them, the nearest in log cost, and
by no fewer."""
QUANTILES = (0.1, 0.5, 0.9)
FEWEST, RESAMPLES = 10, 1000
"""Random cells that tell anything; resamples of the bootstrap."""

Row = Mapping[str, Any]


class Band(NamedTuple):
    """Accuracy of random cells along a cost."""

    costs: np.ndarray
    """(n,), evenly in log cost."""
    low: np.ndarray
    """(n,), what a tenth of them are below."""
    median: np.ndarray
    high: np.ndarray
    """(n,), what a tenth of them are above."""


def chance_rows(
    front: Front, rows: Sequence[Row], score: Callable[[Choices], float], count: int
) -> list[dict[str, Any]]:
    """Draws random cells and scores them as those of the front.

    Args:
        rows: of front.csv.
        score: validation accuracy in [0, 1] of a cell with the shared weights.
        count: how many, >= 0.

    Returns:
        The rows of chance.csv: costs by name, `val_accuracy`, `genotype`, and over which cost the
        cell was drawn, `over`.
    """
    return [
        {cost: table.total(cell) for cost, table in front.tables.items()}
        | {
            "val_accuracy": score(cell),
            "genotype": Genotype.from_choices(front.space, cell).id,
            "over": over,
        }
        for over, cell in draw_chance(front, rows, count)
    ]


def read_chance(run: Path) -> list[dict[str, Any]]:
    """Reads the rows of chance.csv; none if the search left random cells out.

    Raises:
        InputError: if the table is damaged, or not the one that was written.
    """
    path = run / CHANCE
    if not path.exists():
        return []
    check_sums(run, MAX_BYTES)
    names, lines = read_table(path, MAX_BYTES)
    costs = [name for name in names if name in COST_NAMES]
    if not costs or {*names} != {*costs, "val_accuracy", "genotype", "over"}:
        raise InputError(
            f"{path} must have costs, val_accuracy, genotype and over, and nothing else: write it "
            f"again with --resume {run}"
        )
    rows = []
    for where, line in lines:
        row: dict[str, Any] = dict(zip(names, line, strict=True))
        if row["over"] not in costs or not re.fullmatch("[0-9a-f]{10}", row["genotype"]):
            raise InputError(
                f"{where}: {show(row['over'])} is no cost, or {show(row['genotype'])} no "
                "genotype's id: restore a copy"
            )
        rows.append(row | {n: number(row[n], where) for n in (*costs, "val_accuracy")})
    return rows


def band(chance: Sequence[Row], cost: str, points: int = 60) -> Band | None:
    """Returns median and 10–90 % of random cells along a cost, None if there are none."""
    logs, accuracies = _drawn_over(chance, cost)
    if len(logs) == 0:
        return None
    grid = np.linspace(logs.min(), logs.max(), points if logs.min() < logs.max() else 1)
    low, median, high = np.quantile(accuracies[_nearest(logs, grid)], QUANTILES, axis=1)
    return Band(np.exp(grid), low, median, high)


def beside_chance(rows: Sequence[Row], chance: Sequence[Row]) -> list[str]:
    """Says for each cost whether a front's cells are above random cells of equal cost.

    The lead is the mean over all cells of the front, not over the Pareto members alone, which are
    chosen for their accuracy, of what they have above the median of the random cells nearest in
    cost. Its interval is the bootstrap's (Efron 1979): the front's cells and the random cells are
    drawn again with replacement, `RESAMPLES` times, and 95 % of the leads lie in it. It speaks of
    these weights and these images: what another seed would find is no part of it, and where
    finalists were chosen on the same images, their luck is part of the lead.

    Args:
        rows: of front.csv.
        chance: of chance.csv.
    """
    told = []
    for cost in dict.fromkeys(row["over"] for row in chance):
        logs, accuracies = _drawn_over(chance, cost)
        if len(logs) < FEWEST:
            told.append(f"{len(logs)} random cells are too few to compare the front's cells with.")
            continue
        lead, low, high = _lead(
            np.array([row["val_accuracy"] for row in rows]),
            np.log(positive([row[cost] for row in rows])),
            accuracies,
            logs,
        )
        other = f"the median random cell of equal {COST_NAMES[cost]}"
        sure = f"(95 % interval {low:.1f} to {high:.1f}; {len(logs)} random cells)"
        if low > 0 or high < 0:
            side = "above" if low > 0 else "below"
            told.append(f"The front's cells are {abs(lead):.1f} points {side} {other} {sure}.")
        else:
            told.append(
                f"The front's cells are not shown to be above {other}: {lead:.1f} points {sure}."
            )
    return told


def _drawn_over(chance: Sequence[Row], cost: str) -> tuple[np.ndarray, np.ndarray]:
    """Log costs and accuracies of the random cells that were drawn evenly over a cost."""
    cells = [row for row in chance if row["over"] == cost]
    logs = np.log(positive([row[cost] for row in cells])) if cells else np.zeros(0)
    return logs, np.array([row["val_accuracy"] for row in cells])


def _nearest(logs: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Numbers (m, k) of the random cells nearest to each of m log costs."""
    count = max(NEAREST, len(logs) // NEAREST)
    return np.abs(at[:, None] - logs).argsort(axis=1, kind="stable")[:, :count]


def _lead(
    front: np.ndarray, front_logs: np.ndarray, accuracies: np.ndarray, logs: np.ndarray
) -> tuple[float, float, float]:
    """Lead over the medians in points, and its interval; see `beside_chance`.

    Args:
        front: (m,) accuracies of the front's cells, with their log costs.
        accuracies: (n,) of the random cells, with their log costs.
    """
    near = _nearest(logs, front_logs)  # (m, k)
    near = np.take_along_axis(near, accuracies[near].argsort(axis=1, kind="stable"), axis=1)
    draw = np.random.default_rng(0)
    each = draw.multinomial(len(front), np.full(len(front), 1 / len(front)), RESAMPLES)
    often = draw.multinomial(len(logs), np.full(len(logs), 1 / len(logs)), RESAMPLES)
    leads = []
    # First the cells as they are.
    for weights, times in zip([1, *each], [0, *often], strict=True):
        drawn = np.broadcast_to(times, len(logs))[near]
        drawn = np.where(drawn.any(axis=1, keepdims=True), drawn, 1)
        below = drawn.cumsum(axis=1)
        middle = (2 * below >= below[:, -1:]).argmax(axis=1)  # the lower median
        leads.append(np.sum(weights * (front - accuracies[near[range(len(near)), middle]])))
    lead, *others = 100 * np.array(leads) / len(front)
    low, high = np.quantile(others, (0.025, 0.975))
    return float(lead), float(low), float(high)
