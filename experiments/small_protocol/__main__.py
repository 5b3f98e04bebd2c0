"""Cells of five λs, random cells and DARTS, all retrained alike, small enough for many seeds.

    python -m experiments.small_protocol cifar10 --out runs/small-cifar10 --seeds 0 1 2 --at-once 16
    python -m experiments.small_protocol fashion --share 0.1 --seeds 0
    python -m experiments.small_protocol cifar10 --published genotypes.json

The protocol is that of DARTS-CC: 3 cells of 16 channels, 50 epochs of search, 100 of retraining.
Here every network gets all 100, batches of 96 and a cutout of 16; it is tested once, after the last
epoch. What DARTS-CC reports of its own networks is put beside them (`published.py`), and
`--published` names a file of its cells, which are then retrained like all others (`protocol.py`
says what it holds). Where time is short, `--share` takes a part of all epochs, `--search-share` of
those of the search alone, and `--shrink` has the supernet see smaller images; `--at-once` has a GPU
train several networks side by side. The same command resumes where it stopped; the JSON
files right in the folder are all that another machine needs to resume after the last finished
network.
"""

from pathlib import Path

from cells.errors import InputError
from experiments.small_protocol.picture import draw_protocol
from experiments.small_protocol.protocol import SEARCH, protocol
from experiments.small_protocol.published import published_points, published_table
from experiments.small_protocol.table import table
from nas.runtime.commandline import Parser
from nas.runtime.script import run_script


def _command() -> None:
    parser = Parser(
        prog="python -m experiments.small_protocol",
        description="Cells of five λs, random cells and DARTS, all retrained alike.",
    )
    parser.add_argument("data", help="cifar10, fashion, or other data as search.py takes them")
    parser.add_argument("--out", type=Path, help="folder to keep (default runs/small-DATA)")
    parser.add_argument("--data-root", type=Path, default=Path(SEARCH.data_root))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--published",
        type=Path,
        metavar="FILE",
        help="JSON file of DARTS-CC's cells, for more rows",
    )
    parser.add_argument("--share", type=float, default=1.0, help="of all epochs (default 1)")
    parser.add_argument(
        "--search-share", type=float, help="of the epochs of the search (default as --share)"
    )
    parser.add_argument(
        "--shrink",
        type=int,
        nargs="+",
        default=[SEARCH.shrink],
        help="a search for each, whose supernet sees images that many times smaller (default 1)",
    )
    parser.add_argument(
        "--at-once",
        type=int,
        default=1,
        help="networks that a GPU trains side by side (default 1; half a GiB of its memory each)",
    )
    args = parser.parse_args()
    for name in ("share", "search_share"):
        value = getattr(args, name)
        if value is not None and not 0 < value <= 1:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} must be above 0 and at most 1, got {value}")
    if args.at_once < 1:
        raise InputError(f"--at-once must be at least 1, got {args.at_once}")
    out = args.out or Path("runs") / f"small-{Path(args.data).stem}"
    rows = protocol(
        args.data,
        args.data_root,
        out,
        args.seeds,
        args.share,
        args.published,
        search_share=args.search_share,
        shrink=args.shrink,
        at_once=args.at_once,
    )
    picture = out / "accuracy.png"
    points = published_points(args.data)
    draw_protocol(rows, picture, points)
    reported = f"{published_table(points)}\n\n" if points else ""
    print(f"{table(rows)}\n\n{reported}Picture: {picture}")


def main() -> None:
    """`python -m experiments.small_protocol`."""
    run_script(_command)


if __name__ == "__main__":
    main()
