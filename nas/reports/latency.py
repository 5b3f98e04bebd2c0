"""From latency added up over operations to that of whole networks: latency.csv of a run folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cells.errors import InputError
from cells.genotype import Genotype
from cells.input_files import MIB
from nas.runtime.sums import check_sums
from nas.runtime.tables import number, read_table

LATENCY = "latency.csv"
MAX_BYTES = 16 * MIB
"""Of latency.csv."""
NETWORKS = 5
"""Whole networks that are measured, spread over the front."""
SHORTEST, LONGEST = 1e-6, 1e9
"""Milliseconds: from a nanosecond to eleven days, no measurement beyond."""
WHOLE = "whole_latency"
"""Column of what a whole network would take, milliseconds per batch."""

Row = Mapping[str, Any]
Timer = Callable[[Sequence[Genotype]], Sequence[float]]
"""Measures whole networks of some cells, milliseconds per batch."""


class Calibration(NamedTuple):
    """From latency measured operation by operation to that of whole networks, ms per batch."""

    slope: float
    """> 0."""
    intercept: float
    error: float
    """Largest relative error of the networks that were measured."""
    networks: int
    """How many were."""

    @classmethod
    def fit(cls, added: Sequence[float], whole: Sequence[float]) -> "Calibration":
        """Fits a line by least squares.

        Where it would fall, or there are fewer than three networks, it is the median ratio.

        Args:
            added: latencies measured operation by operation, > 0, of one network at least.
            whole: what the networks took, > 0.
        """
        x, y = np.array(added), np.array(whole)
        slope, intercept = float(np.median(y / x)), 0.0
        if len(x) >= 3 and x.max() > x.min():
            centred = x - x.mean()
            line = float(centred @ y / (centred @ centred))
            if line > 0:
                slope, intercept = line, float(y.mean() - line * x.mean())
        error = float(np.abs((intercept + slope * x) / y - 1).max())
        return cls(slope, intercept, error, len(x))

    def whole(self, added: float) -> float:
        """Returns what a whole network takes, >= 0."""
        return max(0.0, self.intercept + self.slope * added)

    def added(self, whole: float) -> float:
        """Inverts `whole`."""
        return (whole - self.intercept) / self.slope

    def text(self) -> str:
        """Says it in a line."""
        sign = "+" if self.intercept >= 0 else "−"
        line = f"{self.slope:.3g} × latency {sign} {abs(self.intercept):.3g} ms"
        return (
            f"A whole network takes {line}, where latency is measured operation by operation "
            f"({self.networks} networks of the front measured, off by {100 * self.error:.0f} % at "
            "most)."
        )


def measured_rows(
    rows: Sequence[Row], genotypes: Sequence[Genotype], timer: Timer
) -> list[dict[str, Any]]:
    """Measures a few networks of a front: the fastest, the slowest, and others evenly between.

    Args:
        rows: of front.csv.
        genotypes: one for each row.

    Returns:
        The rows of latency.csv: `file`, `latency` operation by operation and `measured`, in
        milliseconds per batch.
    """
    order = sorted(range(len(rows)), key=lambda place: rows[place]["latency"])
    steps = min(NETWORKS, len(order)) - 1
    picked = [order[i * (len(order) - 1) // max(steps, 1)] for i in range(steps + 1)]
    times = timer([genotypes[place] for place in picked])
    return [
        {"file": rows[place]["file"], "latency": rows[place]["latency"], "measured": found}
        for place, found in zip(picked, times, strict=True)
    ]


def read_calibration(run: Path) -> Calibration | None:
    """Reads latency.csv; None if no network was measured, as latency had no price or a file.

    Raises:
        InputError: if the table is damaged, or not the one that was written.
    """
    path = run / LATENCY
    if not path.exists():
        return None
    check_sums(run, MAX_BYTES)
    names, lines = read_table(path, MAX_BYTES)
    added: list[float] = []
    whole: list[float] = []
    for where, line in lines:
        row = dict(zip(names, line, strict=True))
        for values, name in ((added, "latency"), (whole, "measured")):
            values.append(number(row.get(name, ""), where))
            if not SHORTEST < values[-1] < LONGEST:
                raise InputError(f"{where}: {name} must be positive milliseconds: restore a copy")
    if not added:
        raise InputError(f"{path} has no networks: write it again with --resume {run}")
    return Calibration.fit(added, whole)
