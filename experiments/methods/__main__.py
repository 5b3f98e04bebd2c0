"""Every method (`METHODS`) beside random cells of equal cost: same data, seeds and steps.

    python -m experiments.methods --out runs/methods --seeds 0 1 2
    python -m experiments.methods --out runs/methods --methods darts gdas --seeds 0
    python -m experiments.methods --out runs/methods --table

searches Fashion-MNIST with each method as in its paper, retrains every cell it finds, and random
cells of all sizes, by one recipe, and writes the table of docs/results/methods.md. The same
command resumes where it stopped; finished parts are only read. `--table` writes the table of what
is on record and runs nothing.
"""

from pathlib import Path
from typing import Any

from cells.errors import InputError
from experiments.methods.bench import ORDER, SEARCH, Bench, run
from experiments.methods.table import place, table
from nas.runtime.commandline import Parser
from nas.runtime.script import run_script

PAGE = Path(__file__).parents[2] / "docs" / "results" / "methods.md"


def _command() -> None:
    parser = Parser(
        prog="python -m experiments.methods",
        description="Every method beside random cells of equal cost.",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/methods"), help="folder to keep")
    parser.add_argument("--data", default=SEARCH.data, help="data as search.py takes them")
    parser.add_argument("--data-root", type=Path, default=Path(SEARCH.data_root))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=ORDER, default=list(ORDER))
    parser.add_argument("--share", type=float, default=1.0, help="of all epochs (default 1)")
    parser.add_argument("--page", type=Path, default=PAGE, help="page that has the table")
    parser.add_argument("--table", action="store_true", help="write it, run nothing")
    args = parser.parse_args()
    if not 0 < args.share <= 1:
        raise InputError(f"--share must be above 0 and at most 1, got {args.share}")
    bench = Bench(args.out, args.data, args.data_root, args.share)

    def tell(records: list[dict[str, Any]]) -> None:
        place(args.page, table(records))

    if not args.table:
        run(bench, args.methods, args.seeds, tell)
    elif not bench.records():
        raise InputError(f"nothing is on record in {args.out}: leave --table out to measure")
    tell(bench.records())
    print(table(bench.records()))


def main() -> None:
    """`python -m experiments.methods`."""
    run_script(_command)


if __name__ == "__main__":
    main()
