"""Retrains cells along a search's front: a family of networks from one search.

python -m nas family runs/x --cells 3 --seeds 0 1 2
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cells.cost import show_cost
from cells.errors import InputError
from cells.output_files import draft_of
from nas.cell_search.folder import read_run
from nas.cell_search.fronts import load_front
from nas.data.source import located
from nas.reports.chance import read_chance
from nas.reports.front_plot import draw_front
from nas.reports.page import attempt_page, write_search_page
from nas.reports.report import read_rows
from nas.reports.retrained import MEAN, RETRAINED, STD, points, read_retrained
from nas.retraining.config import RetrainConfig, choose_preset, fine_tuning, read_retraining
from nas.retraining.job import Job
from nas.retraining.plan import fitted
from nas.retraining.run import retrain_each
from nas.runtime.commandline import called, options, parse, take
from nas.runtime.course import TimeLimit, with_course
from nas.runtime.files import read_config, write_csv
from nas.runtime.jobs import JobsConfig, Work, launch, works
from nas.runtime.settings import FREE
from nas.runtime.signals import Stopped

PICTURES = 2
"""What the picture and the page of each cell take, in drawings of the picture."""


def spread(rows: Sequence[dict[str, Any]], cost: str, count: int) -> list[dict[str, Any]]:
    """Chooses Pareto members: the most and the least expensive, and others evenly between in rank.

    Args:
        rows: of `front.csv`.
        cost: name of the cost that orders them.
        count: how many, >= 1; all of them if there are fewer.
    """
    members = sorted((row for row in rows if row["pareto"]), key=lambda row: -row[cost])
    if count >= len(members):
        return members
    last = max(count - 1, 1)
    return [members[i * (len(members) - 1) // last] for i in range(count)]


def retraining(
    run: Path, row: dict[str, Any], args: Sequence[str], *, any_length: bool = False
) -> Job | None:
    """The retraining of one cell into `retrained/`, gone on with if it has begun.

    Args:
        run: folder of the search.
        row: of its `front.csv`.
        args: options of `retrain.py`.
        any_length: whether it may have begun with any epochs.

    Returns:
        None if there is a result.

    Raises:
        InputError: for options that cannot be used, or others than those it has begun with.
    """
    path, folder = run / row["file"], retrained_folder(run, row)
    genotype = str(path)
    rest = [*args, "--genotype", genotype]
    preset = choose_preset(None, take([*args], "--data"), genotype)
    if take([*args], "--inherit") is not None:
        preset = fine_tuning(preset)
    config = parse(RetrainConfig, preset, rest, f"{called('family')} RUN")
    if not folder.exists():
        return Job(config, folder)
    former = read_retraining(folder)
    same = with_course(config, former) if any_length else config
    require_asked(located(former), located(same), folder)
    if (folder / "result.json").is_file():
        return None
    free = {name: getattr(config, name) for name in FREE}
    return Job(replace(former, **free), folder, resume=True)


def retrained_folder(run: Path, row: dict[str, Any]) -> Path:
    """Where a row of `front.csv` is retrained."""
    return run / "retrained" / Path(row["file"]).stem


def begun_configs(run: Path, rows: Sequence[dict[str, Any]]) -> list[RetrainConfig]:
    """Returns the settings of the rows' retrainings that have begun, or are done."""
    folders = [retrained_folder(run, row) for row in rows]
    return [read_retraining(folder) for folder in folders if folder.exists()]


def require_asked(former: RetrainConfig, asked: RetrainConfig, folder: Path) -> None:
    """Makes sure that a cell was retrained as asked; what is not asked for may be anything.

    Raises:
        InputError: naming the first setting that differs.
    """
    found = former.to_dict()
    for name, value in asked.to_dict().items():
        if name not in (*FREE, "genotype") and value is not None and found[name] != value:
            raise InputError(
                f"{folder} was retrained with {name} {found[name]!r}, not {value!r}: "
                "remove that folder, or leave the option out"
            )


def family_jobs(
    run: Path, count: int, args: Sequence[str], *, any_length: bool = False
) -> list[Job]:
    """Lists the retrainings of cells of a front that are not done; see `retrain_family`.

    Args:
        any_length: whether those that have begun may have any epochs.
    """
    rows, cost = read_rows(run), read_run(run)[0].costs[0]
    chosen = spread(rows, cost, count)
    jobs = []
    for number, row in enumerate(chosen, start=1):
        print(f"cell {number} of {len(chosen)}: {run / row['file']}, {cost} {show_cost(row[cost])}")
        job = retraining(run, row, args, any_length=any_length)
        jobs += [job] if job else []
    return jobs


def retrain_family(
    run: Path,
    count: int,
    args: Sequence[str],
    *,
    at_once: int = 1,
    jobs: JobsConfig | None = None,
    limit: TimeLimit | None = None,
) -> list[dict[str, Any]]:
    """Retrains cells of a front; writes `retrained.csv`, draws them into its picture and page.

    What has been interrupted is gone on with, what is done is kept. Table, picture and page are
    written anew whenever a cell is done.

    Args:
        count: how many cells, >= 1.
        args: options of `retrain.py`.
        at_once: networks that a GPU trains side by side, >= 1.
        jobs: how they run as jobs, if they do.
        limit: the time for all cells, to which the epochs are fitted, alike for all; where one has
            begun already, the others have its epochs.

    Returns:
        The rows of `retrained.csv`.

    Raises:
        InputError: as `retrain` or `launch`, or if a cell was retrained with other options.
        Stopped: as `retrain`.
    """
    rows = read_rows(run)
    config = read_run(run)[0]
    costs, cells = config.costs, read_chance(run)
    cost = costs[0]
    chosen = spread(rows, cost, count)
    limited = limit is not None and limit.seconds is not None
    left = family_jobs(run, count, args, any_length=limited)
    began = time.monotonic()
    with draft_of(run / "rehearsal") as scratch:
        draw_front(rows, scratch / "front.svg", costs, chance=cells)
    drawn = time.monotonic() - began
    if limit is not None and limit.seconds is not None:
        drawing = PICTURES * drawn * (len(left) + 1)
        former = begun_configs(run, chosen)
        left = fitted(left, limit.seconds, limit.begun - drawing, former)

    def report() -> list[dict[str, Any]]:
        results = finished(run, chosen)
        write_csv(run / RETRAINED, results)
        trained = points(rows, read_retrained(run), costs)
        draw_front(rows, run / "front.svg", costs, trained, cells)
        attempt_page(run, lambda: write_search_page(run, load_front(run), config.to_dict()))
        return results

    if jobs is not None and jobs.launcher is not None:
        logs = run / "jobs"
        all_works = [work for job in left for work in job_works(job, at_once, logs)]
        for work in launch(all_works, jobs, logs):
            if (Path(work.folder) / "result.json").is_file():
                report()
        return report()
    try:
        for _ in retrain_each(left, at_once=at_once):
            report()
    except Stopped as stop:
        raise Stopped(stop.received, stop.at, "the same command") from None
    return report()


def job_works(job: Job, at_once: int, logs: Path) -> list[Work]:
    """Returns the jobs of a retraining: one for each seed, and one that tests all.

    Seeds that a GPU trains side by side are one job.

    Args:
        at_once: networks that a GPU trains side by side, >= 1.
        logs: folder of `launch`.
    """
    assert job.folder is not None
    folder, config = str(job.folder), job.config
    changed = {
        name: value
        for name, value in vars(config).items()
        if value != getattr(RetrainConfig(), name) or name in FREE
    }
    free = options({name: changed[name] for name in FREE})
    alone = at_once > 1 or len(config.seeds) == 1
    side_by_side = ("--at-once", str(at_once)) if at_once > 1 else ()
    return works(
        job.folder,
        ("retrain", "default", *options(changed), *side_by_side, "--out", folder),
        ("retrain", *free, *side_by_side, "--resume", folder),
        logs,
        None if alone else {str(seed): job.folder for seed in config.seeds},
    )


def finished(run: Path, chosen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns what is known of the cells that have been retrained, rows of `retrained.csv`."""
    results = []
    for row in chosen:
        path = retrained_folder(run, row) / "result.json"
        if path.is_file():
            result = read_config(path)
            results.append(
                {
                    "file": row["file"],
                    MEAN: result["mean"],
                    STD: result["std"],
                    **result["costs"],
                    "seconds": sum(result["seconds"]),
                }
            )
    return results
