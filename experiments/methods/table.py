"""The table of `experiments.methods`: means over seeds, and whether a method beats chance."""

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cells.errors import InputError
from cells.output_files import write_atomically
from experiments.chance import Chance, verdict

BEGIN, END = "<!-- methods -->\n", "<!-- end methods -->"
HEAD = (
    "| method | seeds | parameters | test accuracy, % | random cells, % | difference, points "
    "| beats random cells | without parameters, % | Hessian | minutes |",
    "|:--|--:|--:|--:|--:|--:|:--|--:|--:|--:|",
)
CHANCE = "random"
"""Method by name of the records of random cells."""


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± sample standard deviation, without the latter for a single value."""
    mean = f"{statistics.mean(values):,.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):,.{digits}f}"


def chances(records: Sequence[dict[str, Any]]) -> dict[str, Chance]:
    """What random cells reach, by space, in per cent; nothing where none were measured."""
    points: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        if record["method"] == CHANCE:
            for cell in record["cells"]:
                point = cell["params"], 100 * cell["accuracy"]
                points.setdefault(cell["space"], []).append(point)
    return {space: Chance(found) for space, found in points.items()}


def _rows(records: Sequence[dict[str, Any]], known: dict[str, Chance]) -> Iterator[str]:
    methods = dict.fromkeys(record["method"] for record in records)
    for method in methods:
        if method == CHANCE:
            continue
        runs = [record for record in records if record["method"] == method]
        minutes = spread([run["minutes"] for run in runs], 1)
        eigenvalues = [run["hessian"] for run in runs if run["hessian"] is not None]
        hessian = spread(eigenvalues, 3) if eigenvalues else ""
        for cells in zip(*(run["cells"] for run in runs), strict=True):
            lam = cells[0]["lam"]
            points = [(cell["params"], 100 * cell["accuracy"]) for cell in cells]
            expected = difference = beats = ""
            if (chance := known.get(runs[0]["space"])) is not None:
                ahead, error = chance.ahead(points), chance.error([size for size, _ in points])
                expected = f"{statistics.mean(chance.accuracy(size) for size, _ in points):.2f}"
                difference = f"{ahead:+.2f}" + ("" if error is None else f" ± {error:.2f}")
                beats = verdict(ahead, error)
            columns = (
                method if lam is None else f"{method}, λ = {lam:.2g}",
                str(len(cells)),
                spread([size for size, _ in points], 0),
                spread([accuracy for _, accuracy in points], 2),
                expected,
                difference,
                beats,
                spread([100 * cell["collapse"] for cell in cells], 0),
                hessian,
                minutes,
            )
            yield f"| {' | '.join(columns)} |"


def _of_chance(space: str, chance: Chance) -> str:
    """A line on the random cells of a space."""
    scatter = "" if chance.deviation is None else f", ± {chance.deviation:.2f} points each"
    reach = ", ".join(
        f"{chance.accuracy(size):.2f} % at {size:,.0f}" for size in (chance.low, chance.high)
    )
    return f"Random cells of {space}: {reach} parameters{scatter}, {chance.count} cells."


def table(records: Sequence[dict[str, Any]]) -> str:
    """One line for each cell of a method, in Markdown; random cells and the machine below.

    Args:
        records: at least one; see `experiments.methods.bench.Bench`.
    """
    known = chances(records)
    machines = dict.fromkeys(
        f"{m['device']}, torch {m['torch']}, threads: {m['threads']}"
        for m in (record["machine"] for record in records)
    )
    below = [_of_chance(space, chance) for space, chance in known.items()]
    below.append(f"Machine: {'; '.join(machines)}.")
    return "\n".join([*HEAD, *_rows(records, known), "", *below])


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
