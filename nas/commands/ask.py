"""Asks a search for a cell by λ or budget, or lists its front: python -m nas ask RUN."""

from collections.abc import Sequence
from pathlib import Path

from cells.errors import InputError
from nas.runtime.commandline import Parser, called
from nas.runtime.signals import held_back


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(
        prog=called("ask"),
        description="Ask a search for the cell at a λ or within a budget; without either, list its "
        "front. The former name, front, does the same.",
    )
    parser.add_argument("run", type=Path, help="folder of a search, e.g. runs/digits")
    parser.add_argument("--lam", type=float, nargs="+", help="λ, one per cost of the search")
    parser.add_argument(
        "--at-most", nargs="+", metavar="COST=BOUND", help="budget, e.g. params=100k latency=2ms"
    )
    parser.add_argument("--json", action="store_true", help="print the genotype, and nothing else")
    parser.add_argument("--out", type=Path, help="write the genotype to this new file")
    return parser


def command(args: Sequence[str]) -> None:
    """Lists the front of a search, or tells the cell for a λ or a budget.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    given = parser().parse_args(args)
    # Here, as these take seconds, and --help needs none of them.
    with held_back():
        from nas.architecture.budgets import parse_bound
        from nas.commands.answers import at_lam, list_front, within_budget
        from nas.reports.chance import beside_chance, read_chance
        from nas.reports.latency import WHOLE, read_calibration
        from nas.reports.report import read_rows

    run: Path = given.run
    if given.lam is None and given.at_most is None:
        if given.out is not None or given.json:
            option = "--json" if given.json else "--out"
            raise InputError(f"{option} is for one cell: say which with --lam or --at-most")
        rows = read_rows(run)
        list_front(rows)
        calibration = read_calibration(run)
        if calibration is not None:
            print(f"{WHOLE}, in ms per batch: {calibration.text()}")
        for line in beside_chance(rows, read_chance(run)):
            print(line)
        return
    if given.lam is not None and given.at_most is not None:
        raise InputError("give either --lam or --at-most, not both")
    if given.out is not None and given.out.exists():
        raise InputError(f"{given.out} exists: choose another --out")
    if given.lam is not None:
        genotype, told = at_lam(run, given.lam)
    else:
        genotype, told = within_budget(run, dict(map(parse_bound, given.at_most)))
    if given.out is not None:
        genotype.save(given.out)
        told.append(f"genotype in {given.out}")
    print(genotype.to_json() if given.json else "\n".join(told) + "\n", end="")
