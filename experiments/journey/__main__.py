"""From a folder of images to an ONNX file within a budget, by the commands that a user types.

    python -m experiments.journey --out runs/journey

makes a folder of images from CIFAR-10, searches, retrains the cell for a budget of parameters and
exports it; then trains alike the largest random cell that fits and a MobileNetV2 of that size, and
searches as long by optuna's TPE, whose cells are retrained as ours are. The same command goes on
where it was stopped. Wants `pip install 'lambda-nas[export,journey]'`.
"""

from pathlib import Path

from experiments.journey.comparison import Journey
from experiments.journey.photos import make_photos
from experiments.journey.table import tables
from nas.cell_search.config import SearchConfig
from nas.runtime.commandline import Parser
from nas.runtime.script import run_script

SIDES = ("own", "rivals")


def _command() -> None:
    parser = Parser(
        prog="python -m experiments.journey",
        description="From a folder of images to an ONNX file, beside what else fits the budget.",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/journey"), help="folder to keep")
    parser.add_argument("--data-root", type=Path, default=Path(SearchConfig().data_root))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, default=20, help="of each search (default 20)")
    parser.add_argument("--params", type=int, default=100_000, help="budget (default 100000)")
    parser.add_argument("--epochs", type=int, default=15, help="of each retraining (default 15)")
    parser.add_argument("--only", choices=SIDES, help="one side alone, for two processes at once")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    photos = make_photos(args.out / "photos", args.data_root)
    found: dict[str, list[dict[str, object]]] = {side: [] for side in SIDES}
    for seed in args.seeds:
        journey = Journey(
            photos=photos, out=args.out, seed=seed, minutes=args.minutes, bound=args.params,
            epochs=args.epochs,
        )  # fmt: skip
        for side in SIDES:
            if args.only in (None, side):
                found[side].append(getattr(journey, side)())
    if args.only is None:
        print(tables(found["own"], found["rivals"], args.params))


def main() -> None:
    """Runs the experiment from the command line."""
    run_script(_command)


if __name__ == "__main__":
    main()
