"""The best cell that a search knows for a budget, and the next ones down and up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cells.cost import show_cost
from cells.errors import InputError, unknown
from cells.genotype import Genotype
from cells.notation import read_genotype
from nas.reports.latency import WHOLE
from nas.reports.report import read_rows
from nas.reports.retrained import read_retrained

UNITS = {"params": "parameters", "flops": "multiply–adds", "latency": "ms", "kl": "nats"}
"""Of costs, behind the number."""

Row = Mapping[str, Any]
"""Of front.csv, with `retrained` and `retrained_std` of cells that were trained by themselves."""


@dataclass(frozen=True)
class Answer:
    """The best known cell within a budget."""

    best: Row
    down: Row | None
    """The best that costs less, if there is one."""
    up: Row | None
    """The least expensive that is better, if there is one."""


def known_cells(run: Path) -> list[dict[str, Any]]:
    """Reads the cells of a finished search with what is known of each.

    Returns:
        The rows of front.csv; `retrained`, mean test accuracy of networks trained by themselves,
        and `retrained_std` are None where there are none.

    Raises:
        InputError: if the search is unfinished, or a table is damaged.
    """
    rows, trained = read_rows(run), read_retrained(run)
    for row in rows:
        row["retrained"], row["retrained_std"] = trained.get(row.get("file", ""), (None, None))
    return rows


def costs_of(row: Row) -> dict[str, float]:
    """Returns the costs of a cell by name, in their own units."""
    return {name: row[name] for name in UNITS if name in row}


def spent(row: Row, cost: str) -> float:
    """Returns what a budget counts: of latency that of the whole network, where it is known."""
    value: float = row[WHOLE] if cost == "latency" and WHOLE in row else row[cost]
    return value


def answer(rows: Sequence[Row], bounds: Mapping[str, float]) -> Answer | None:
    """Returns the best of some cells within a budget, None if none is within it.

    Cells that were retrained are compared by that accuracy, and go before all others, which are
    compared by their accuracy with shared weights.

    Args:
        rows: see `known_cells`.
        bounds: largest cost by name, at least one; the first orders the steps down and up.

    Raises:
        InputError: for an unknown cost.
    """
    names = costs_of(rows[0])
    for name in bounds:
        if name not in names:
            raise unknown("cost", name, names)
    inside = [row for row in rows if all(spent(row, name) <= b for name, b in bounds.items())]
    if not inside:
        return None
    cost = next(iter(bounds))
    best = max(inside, key=_quality)
    cheaper = [row for row in rows if row[cost] < best[cost]]
    better = [row for row in rows if row[cost] > best[cost] and _quality(row) > _quality(best)]
    return Answer(
        best,
        max(cheaper, key=_quality, default=None),
        min(better, key=lambda row: row[cost], default=None),
    )


def best_within(run: Path, bounds: Mapping[str, float]) -> Genotype:
    """Returns the genotype of the best known cell within a budget.

    Raises:
        InputError: as `known_cells` and `answer`, or if no cell is within it.
    """
    rows = known_cells(run)
    found = answer(rows, bounds)
    if found is None:
        least = ", ".join(
            f"{name} {show_cost(min(spent(row, name) for row in rows))}" for name in bounds
        )
        raise InputError(f"no cell of {run} is within the budget: the least are {least}")
    return read_genotype(run / found.best["file"])


def _quality(row: Row) -> tuple[bool, float, float]:
    trained = row["retrained"]
    return trained is not None, trained if trained is not None else 0.0, row["val_accuracy"]


def in_words(row: Row) -> str:
    """Returns costs with units and accuracies of a cell, in one line."""
    parts = [f"{show_cost(value)} {UNITS[name]}" for name, value in costs_of(row).items()]
    if WHOLE in row:
        place = list(costs_of(row)).index("latency")
        parts[place] = (
            f"{row[WHOLE]:,.3g} ms (measured operation by operation {row['latency']:,.3g} ms)"
        )
    if row["retrained"] is not None:
        spread = "" if row["retrained_std"] is None else f" ± {100 * row['retrained_std']:.2f}"
        parts.append(f"{100 * row['retrained']:.2f}{spread} % test accuracy, retrained")
    if row["val_accuracy"] is not None:
        parts.append(f"{100 * row['val_accuracy']:.2f} % validation accuracy, shared weights")
    return ", ".join(parts)
