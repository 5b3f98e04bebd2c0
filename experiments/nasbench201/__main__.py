"""Fronts of NAS-Bench-201 against the known truth, and what they must beat.

    python -m experiments.nasbench201 --out runs/nasbench201

searches CIFAR-10's training images, looks the cells of twenty λs up in the benchmark's table, and
prints the shares of the true fronts' hypervolume. The same command resumes where it stopped;
finished parts are only read.
"""

from pathlib import Path

from experiments.nasbench201.benchmark import COLUMNS
from experiments.nasbench201.picture import draw_fronts
from experiments.nasbench201.searches import RANKED, Laboratory, ours, ranking
from experiments.nasbench201.table import METHODS, spread, surface, table
from nas.cell_search.config import SearchConfig
from nas.runtime.commandline import Parser
from nas.runtime.script import run_script


def _command() -> None:
    parser = Parser(prog="python -m experiments.nasbench201", description="NAS-Bench-201 fronts.")
    parser.add_argument("--out", type=Path, default=Path("runs/nasbench201"), help="folder to keep")
    parser.add_argument(
        "--data-root", type=Path, default=Path(SearchConfig().data_root),
        help="folder with CIFAR-10 and the benchmark's table",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--costs", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument(
        "--methods", type=int, nargs="+", choices=range(len(METHODS)), default=range(len(METHODS)),
        help="numbers: " + ", ".join(f"{n} {name}" for n, name in enumerate(METHODS)),
    )  # fmt: skip
    parser.add_argument(
        "--surface", nargs=2, choices=COLUMNS, help="search for two costs at once instead"
    )
    args = parser.parse_args()
    lab = Laboratory(args.out, args.data_root)
    if args.surface is not None:
        print(surface(lab, args.seeds, tuple(args.surface)))
        return
    print(table(lab, [list(METHODS)[n] for n in args.methods], args.seeds, args.costs))
    if 0 in args.methods:
        found = {
            cost: {seed: ours(lab, seed, (cost,))["cells"] for seed in args.seeds}
            for cost in args.costs
        }
        draw_fronts(lab.benchmark, found, args.out / "fronts.png")
        print(f"\nPicture: {args.out / 'fronts.png'}")
        taus = [ranking(lab, seed) for seed in args.seeds]
        print(f"\nKendall's τ with the true accuracies, on {RANKED} random cells, and above 90 %:")
        for name in taus[0]:
            every, good = zip(*(tau[name] for tau in taus), strict=True)
            print(f"  {name}: {spread(every, 3)}, {spread(good, 3)}")


def main() -> None:
    """`python -m experiments.nasbench201`."""
    run_script(_command)


if __name__ == "__main__":
    main()
