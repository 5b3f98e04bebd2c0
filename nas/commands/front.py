"""Asks a finished search for a cell, or lists its front: python -m nas front RUN."""

from collections.abc import Sequence
from pathlib import Path

from cells.errors import InputError
from cells.genotype import Genotype
from cells.notation import read_genotype
from nas.architecture.budgets import parse_bound
from nas.cell_search.fronts import load_front
from nas.reports.answer import Row, answer, in_words, known_cells
from nas.reports.report import FRONT, read_rows
from nas.runtime.commandline import Parser


def command(args: Sequence[str]) -> None:
    """Lists the front of a search, or tells the cell for a λ or a budget.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    parser = Parser(
        prog="python -m nas front", description="Ask a search for a cell, or list its front."
    )
    parser.add_argument("run", type=Path, help="folder of a search, e.g. runs/digits")
    parser.add_argument("--lam", type=float, nargs="+", help="λ, one per cost of the search")
    parser.add_argument(
        "--at-most", nargs="+", metavar="COST=BOUND", help="budget, e.g. params=100k latency=2ms"
    )
    parser.add_argument("--json", action="store_true", help="print the genotype, and nothing else")
    parser.add_argument("--out", type=Path, help="write the genotype to this new file")
    given = parser.parse_args(args)
    run: Path = given.run
    if given.lam is None and given.at_most is None:
        if given.out is not None or given.json:
            option = "--json" if given.json else "--out"
            raise InputError(f"{option} is for one cell: say which with --lam or --at-most")
        _list(read_rows(run))
        return
    if given.lam is not None and given.at_most is not None:
        raise InputError("give either --lam or --at-most, not both")
    if given.out is not None and given.out.exists():
        raise InputError(f"{given.out} exists: choose another --out")
    if given.lam is not None:
        genotype, told = _at(run, given.lam)
    else:
        genotype, told = _within(run, dict(map(parse_bound, given.at_most)))
    if given.out is not None:
        genotype.save(given.out)
        told.append(f"genotype in {given.out}")
    print(genotype.to_json() if given.json else "\n".join(told) + "\n", end="")


def _list(rows: Sequence[Row]) -> None:
    kept_back = ("expected_", "lam_last", "lams", "rises_", "floor_", "ceiling_")
    names = [k for k in rows[0] if not k.startswith(kept_back)]
    print("  ".join(f"{name:>12}" for name in names))
    for row in rows:
        cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
        pairs = dict(zip(row, cells, strict=True))
        print("  ".join(f"{pairs[name]:>12}" for name in names))


def _at(run: Path, lam: Sequence[float]) -> tuple[Genotype, list[str]]:
    """The cell that the hypernetwork gives for a λ, and what is known of it."""
    genotype = load_front(run).at(*lam)
    rows = known_cells(run) if (run / FRONT).is_file() else []
    row = next((row for row in rows if row["genotype"] == genotype.id), None)
    return genotype, [_unseen(genotype) if row is None else _seen(row, run)]


def _within(run: Path, bounds: dict[str, float]) -> tuple[Genotype, list[str]]:
    """The best known cell within a budget, or else what the hypernetwork gives for it."""
    if not (run / FRONT).is_file():
        genotype = load_front(run).within(**bounds)
        unfinished = f"the search is unfinished: nothing is known of its cells; --resume {run}"
        return genotype, [_unseen(genotype), unfinished]
    found = answer(known_cells(run), bounds)
    if found is None:
        genotype = load_front(run).within(**bounds)
        return genotype, [_unseen(genotype)]
    told = [_seen(found.best, run)]
    for name, row in (("next step down", found.down), ("next step up", found.up)):
        told.append(f"{name}: " + ("none" if row is None else f"{row['file']}, {in_words(row)}"))
    return read_genotype(run / found.best["file"]), told


def _seen(row: Row, run: Path) -> str:
    return f"{run / row['file']}: {in_words(row)}"


def _unseen(genotype: Genotype) -> str:
    """What can be said of a cell that is not in the table: it was never scored."""
    row = {"accuracy": None, "retrained": None, **genotype.costs}
    lam = ", ".join(f"{name} {value:.4g}" for name, value in (genotype.lam or {}).items())
    return (
        f"genotype {genotype.id}, λ {lam}: {in_words(row)}; its accuracy is not known, "
        "write it with --out FILE and retrain it"
    )
