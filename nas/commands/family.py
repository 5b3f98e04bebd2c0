"""Retrains several cells along a front: python -m nas family RUN."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from cells.errors import InputError
from nas.runtime.commandline import (
    BEGUN,
    Parser,
    add_settings,
    called,
    print_plan,
    take_time,
)
from nas.runtime.course import TimeLimit
from nas.runtime.jobs import JobsConfig
from nas.runtime.owner import owning
from nas.runtime.progress import quietable
from nas.runtime.signals import held_back


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(
        prog=called("family"),
        description="Retrain cells along a search's front; other options are those of retrain.",
    )
    parser.add_argument("run", type=Path, help="folder of a finished search")
    parser.add_argument("--cells", type=int, default=3, help="how many cells (default 3)")
    parser.add_argument(
        "--at-once", type=int, default=1, help="networks that a GPU trains side by side (default 1)"
    )
    add_settings(parser, JobsConfig())
    parser.add_argument("--time", help="end in it, e.g. 30m: sets the epochs, alike for all cells")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what it would take, and write nothing"
    )
    parser.add_argument("--quiet", action="store_true", help="print warnings and errors alone")
    return parser


@quietable
def command(args: Sequence[str]) -> None:
    """Retrains cells along the front of a search.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    known, rest = parser().parse_known_args(args)
    seconds = None
    if known.time is not None:
        seconds = take_time([*rest, "--time", known.time])
        if known.at_once > 1:
            raise InputError("--time is for networks one after the other: leave --at-once out")
    for name in ("cells", "at_once"):
        if getattr(known, name) < 1:
            option = name.replace("_", "-")
            raise InputError(f"{option} must be at least 1, got {getattr(known, name)}")
    if seconds is not None and known.launcher is not None:
        raise InputError("--time is for cells one after the other: leave --launcher out")
    jobs = JobsConfig(**{f.name: vars(known)[f.name] for f in fields(JobsConfig)})
    # Here, as these take seconds, and --help needs none of them.
    with held_back():
        from nas.reports.retrained import MEAN, STD
        from nas.retraining.family import family_jobs, retrain_family
        from nas.retraining.plan import lines, plan
        from nas.runtime.run_folder import read_run_config
    read_run_config(known.run)  # nothing is written where no run lies
    if known.dry_run:
        print_plan(lines(plan(family_jobs(known.run, known.cells, rest))))
        return
    limit = TimeLimit(seconds, BEGUN)
    with owning(known.run):
        results = retrain_family(
            known.run, known.cells, rest, at_once=known.at_once, jobs=jobs, limit=limit
        )
    for result in results:
        std = "" if result[STD] is None else f" ± {100 * result[STD]:.2f}"
        print(
            f"test accuracy {100 * result[MEAN]:.2f}{std} %  "
            f"params {result['params']:,}  flops {result['flops']:,}  {result['file']}"
        )
    print(f"networks in {known.run / 'retrained'}, table in {known.run / 'retrained.csv'}")
    print(f"front in {known.run / 'front.svg'} and {known.run / 'report.html'}")
