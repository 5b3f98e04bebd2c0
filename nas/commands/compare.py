"""Compares finished searches on one page: python -m nas compare RUN RUN --out PAGE."""

from collections.abc import Sequence
from pathlib import Path

from cells.errors import InputError
from nas.runtime.commandline import Parser, called
from nas.runtime.signals import held_back

MOST = 30
"""Runs on a page."""


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(
        prog=called("compare"),
        description="Compare finished searches on one page: fronts, what they dominate, settings.",
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", help="folders of finished searches, e.g. runs/a runs/b"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("compare.html"),
        help="write the page to this new file (default compare.html)",
    )  # fmt: skip
    return parser


def command(args: Sequence[str]) -> None:
    """Writes a page about several searches.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    given = parser().parse_args(args)
    runs: list[Path] = given.runs
    if len({run.resolve() for run in runs}) < len(runs):
        raise InputError(f"{_twice(runs)} is named twice: name each run once")
    if not 2 <= len(runs) <= MOST:
        raise InputError(f"compare takes 2 to {MOST} runs, got {len(runs)}")
    if given.out.exists():
        raise InputError(f"{given.out} exists: choose another --out")
    # Here, as these take seconds, and --help needs none of them.
    with held_back():
        from nas.cell_search.folder import read_run
        from nas.reports.compare import write_comparison

    write_comparison({run: read_run(run)[0].to_dict() for run in runs}, given.out)
    print(given.out)


def _twice(runs: Sequence[Path]) -> Path:
    whole = [run.resolve() for run in runs]
    return next(run for i, run in enumerate(runs) if whole[i] in whole[:i])
