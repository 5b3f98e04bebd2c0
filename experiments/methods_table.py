"""The table of `experiments.methods`: means over seeds, and whether a method beats chance."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cells.errors import InputError
from nas.runtime import write_atomically

BEGIN, END = "<!-- methods -->\n", "<!-- end methods -->"
HEAD = (
    "| method | seeds | parameters | test accuracy, % | random cells, % | difference, points "
    "| beats random cells | without parameters, % | Hessian | minutes |",
    "|:--|--:|--:|--:|--:|--:|:--|--:|--:|--:|",
)
LEAST = 2.0
"""Standard errors by which a difference is told from nothing."""


class Spread(NamedTuple):
    """Mean, and what is behind the ±: None for one value."""

    mean: float
    error: float | None

    def text(self, digits: int, sign: str = "") -> str:
        """As a table has it."""
        mean = f"{self.mean:{sign},.{digits}f}"
        return mean if self.error is None else f"{mean} ± {self.error:,.{digits}f}"


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation."""
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)


def difference(pairs: Sequence[tuple[float, float]]) -> Spread:
    """Mean of the differences of pairs, and its standard error: deviation / √n."""
    mean, deviation = spread([first - second for first, second in pairs])
    return Spread(mean, None if deviation is None else deviation / len(pairs) ** 0.5)


def verdict(found: Spread) -> str:
    """Whether a difference is above 0: yes, no (below), undecided; nothing for a single seed."""
    if found.error is None:
        return ""
    if abs(found.mean) < LEAST * found.error or found.mean == 0:
        return "undecided"
    return "yes" if found.mean > 0 else "no"


def _rows(records: Sequence[dict[str, Any]]) -> Iterator[str]:
    for method in dict.fromkeys(record["method"] for record in records):
        runs = [record for record in records if record["method"] == method]
        minutes = spread([run["minutes"] for run in runs]).text(1)
        known = [run["hessian"] for run in runs if run["hessian"] is not None]
        hessian = spread(known).text(3) if known else ""
        for cells in zip(*(run["cells"] for run in runs), strict=True):
            lam = cells[0]["lam"]
            name = method if lam is None else f"{method}, λ = {lam:.2g}"
            pairs = [(100 * cell["accuracy"], 100 * cell["random_accuracy"]) for cell in cells]
            ahead = difference(pairs)
            columns = (
                name,
                str(len(cells)),
                spread([cell["params"] for cell in cells]).text(0),
                spread([first for first, _ in pairs]).text(2),
                spread([second for _, second in pairs]).text(2),
                ahead.text(2, "+"),
                verdict(ahead),
                spread([100 * cell["collapse"] for cell in cells]).text(0),
                hessian,
                minutes,
            )
            yield f"| {' | '.join(columns)} |"


def table(records: Sequence[dict[str, Any]]) -> str:
    """One line for each cell of a method, in Markdown, with the machine below.

    Args:
        records: at least one; see `experiments.methods.Bench.measured`.
    """
    machines = dict.fromkeys(
        f"{m['device']}, torch {m['torch']}, threads: {m['threads']}"
        for m in (record["machine"] for record in records)
    )
    return "\n".join([*HEAD, *_rows(records), "", f"Machine: {'; '.join(machines)}."])


def place(page: Path, text: str) -> None:
    """Puts a text between the page's marks.

    Raises:
        InputError: if there is no such page, or it has no marks.
    """
    try:
        before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    except OSError:
        raise InputError(f"cannot read the page {page}: name another with --page") from None
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{page} has no place for the table: add {BEGIN.strip()} and {END}")
    write_atomically(page, f"{before}{begin}\n{text}\n\n{end}{after}".encode())
