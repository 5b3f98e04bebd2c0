"""What is known of cells that were trained by themselves: retrained.csv of a run folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cells.errors import InputError
from nas.runtime.tables import number, read_table

RETRAINED = "retrained.csv"
MEAN, STD = "test_accuracy", "test_accuracy_std"
FORMER = {"mean": MEAN, "std": STD}
"""Names of columns before."""


class Retrained(NamedTuple):
    """Test accuracy of networks of one cell, in [0, 1]."""

    mean: float
    std: float | None
    """None where there is but one network."""


def read_retrained(run: Path) -> dict[str, Retrained]:
    """Reads accuracies by the cell's `file` in front.csv; none if nothing was retrained.

    Raises:
        InputError: if the table is damaged.
    """
    path, found = run / RETRAINED, {}
    if path.exists():
        names, lines = read_table(path)
        names = [FORMER.get(name, name) for name in names]
        if not {"file", MEAN, STD} <= {*names}:
            raise InputError(f"{path} has no columns file, {MEAN}, {STD}: retrain the family again")
        for where, line in lines:
            row = dict(zip(names, line, strict=True))
            std = number(row[STD], where) if row[STD] else None
            found[row["file"]] = Retrained(number(row[MEAN], where), std)
    return found


def points(
    rows: Sequence[Mapping[str, Any]], found: Mapping[str, Retrained], costs: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns what `draw_front` draws of retrained cells: their costs, `mean` and `std`.

    Args:
        rows: of front.csv; what was retrained and is not among them any more is left out.
    """
    return [
        {**{cost: row[cost] for cost in costs}, **found[row["file"]]._asdict()}
        for row in rows
        if row["file"] in found
    ]
