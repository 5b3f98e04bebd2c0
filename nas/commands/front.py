"""Asks a finished search for a cell, or lists its front: python -m nas front RUN."""

import sys
from collections.abc import Sequence
from pathlib import Path

from cells.errors import InputError
from cells.genotype import Genotype
from nas.architecture.budgets import parse_bound
from nas.cell_search.fronts import load_front
from nas.reports.report import read_rows
from nas.runtime.commandline import Parser


def _summary(genotype: Genotype) -> str:
    lam = ", ".join(f"{name} {value:.4g}" for name, value in (genotype.lam or {}).items())
    costs = ", ".join(f"{name} {value:,.6g}" for name, value in genotype.costs.items())
    return f"genotype {genotype.id}   λ: {lam}   {costs}"


def command(args: Sequence[str]) -> None:
    """Lists the front of a search, or prints the cell for a λ or a budget.

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
    parser.add_argument("--out", type=Path, help="write the genotype to this new file")
    given = parser.parse_args(args)
    if given.lam is None and given.at_most is None:
        if given.out is not None:
            raise InputError("--out is for one cell: say which with --lam or --at-most")
        rows = read_rows(given.run)
        kept_back = ("expected_", "lam_last", "lams", "rises_", "floor_", "ceiling_")
        names = [k for k in rows[0] if not k.startswith(kept_back)]
        print("  ".join(f"{name:>12}" for name in names))
        for row in rows:
            cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
            pairs = dict(zip(row, cells, strict=True))
            print("  ".join(f"{pairs[name]:>12}" for name in names))
        return
    if given.lam is not None and given.at_most is not None:
        raise InputError("give either --lam or --at-most, not both")
    if given.out is not None and given.out.exists():
        raise InputError(f"{given.out} exists: choose another --out")
    front = load_front(given.run)
    if given.lam is not None:
        genotype = front.at(*given.lam)
    else:
        genotype = front.within(**dict(parse_bound(text) for text in given.at_most))
    if given.out is None:
        print(genotype.to_json(), end="")
    else:
        genotype.save(given.out)
    print(_summary(genotype), file=sys.stderr)
