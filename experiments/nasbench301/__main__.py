"""Fronts in the space of DARTS beside random cells of their size, by a surrogate of the truth.

    python -m experiments.nasbench301 --out runs/nasbench301 --seeds 0 1 2
    python -m experiments.nasbench301 --score docs/results/nasbench301/*.json

The first searches CIFAR-10's training images, or goes on where it stopped, records the cells of
twenty λs and scores them; finished parts are only read. The second scores records alone: JSON
files with `genotypes`, a list of cells in the order of λ. `measure.py` says what a score is.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from cells.errors import InputError
from cells.notation import read_genotype
from experiments.nasbench301.measure import Crowd, FrontScore
from experiments.nasbench301.searches import BASE, RANKED, cells_on_record, ranking, search
from experiments.nasbench301.surrogate import Surrogate
from experiments.nasbench301.table import table
from experiments.records import recorded
from nas.cell_search.config import SearchConfig
from nas.runtime.commandline import Parser
from nas.runtime.script import run_script

PUBLISHED = ("DARTS_V1", "DARTS_V2", "PC_DARTS_cifar")


def _command() -> None:
    parser = Parser(
        prog="python -m experiments.nasbench301",
        description="Fronts in the space of DARTS beside random cells of their size.",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/nasbench301"), help="folder to keep")
    parser.add_argument("--data-root", type=Path, default=Path(SearchConfig().data_root))
    parser.add_argument("--data", default="cifar10", help="what is searched (default cifar10)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--score", type=Path, nargs="+", metavar="FILE", help="records to score")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the epochs of a search (default 1)"
    )
    args = parser.parse_args()
    if not 0 < args.share <= 1:
        raise InputError(f"--share must be above 0 and at most 1, got {args.share}")
    surrogate = Surrogate(args.data_root)
    quality = surrogate.quality()
    print(
        f"The surrogate explains R² {quality.r2:.2f} of the variance of labels, τ "
        f"{quality.tau:.2f}, RMSE {quality.rmse:.2f} points, in cross-validation.\n"
    )
    crowd = Crowd(surrogate)
    rows: dict[str, list[FrontScore]] = {
        name: [crowd.score([read_genotype(name).choices()])] for name in PUBLISHED
    }
    if args.score:
        rows |= {
            f"{path.parent.name}/{path.stem}": [crowd.score(cells_on_record(path))]
            for path in args.score
        }
        print(table(rows))
        return
    found: dict[str, list[FrontScore]] = {}
    taus: dict[str, list[list[float]]] = {}
    for seed in args.seeds:
        config = replace(BASE, data=args.data, data_root=str(args.data_root), seed=seed)
        if args.share < 1:
            config = replace(
                config,
                epochs=max(1, round(args.share * config.epochs)),
                warmup_epochs=round(args.share * config.warmup_epochs),
                finalists=max(2, round(args.share * config.finalists)),
            )
        name = f"{args.data}-seed{seed}"
        for kind, path in search(config, args.out, name).items():
            found.setdefault(f"{kind} cells", []).append(crowd.score(cells_on_record(path)))
        each = recorded(
            args.out / f"{name}-taus.json", partial(ranking, args.out / name, surrogate)
        )
        for score, values in each.items():
            taus.setdefault(score, []).append(values)
    print(table(rows | found))
    print(
        f"\n| order of {RANKED} random cells by | τ | τ within 5 % of parameters |\n|:--|--:|--:|"
    )
    for score, values in taus.items():
        by_seed = [" ".join(f"{v[k]:.2f}" for v in values) for k in (0, 1)]
        print(f"| {score} | {by_seed[0]} | {by_seed[1]} |")


def main() -> None:
    """Runs the experiment from the command line."""
    run_script(_command)


if __name__ == "__main__":
    main()
