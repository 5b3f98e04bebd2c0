"""The run of a search for cells: its searches to their ends, and what they leave."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cells.chain import MLP
from cells.genotype import Genotype
from cells.notation import read_genotype
from nas.cell_search.config import SearchConfig, config_from_dict, unkept_promise
from nas.cell_search.ensemble import begin_others, beside, others_of, runs_beside
from nas.cell_search.finalist_scores import (
    finalist_seconds,
    finalists_within,
    score_finalists,
    searches_at_once,
)
from nas.cell_search.folder import STATE_KEYS, check_state
from nas.cell_search.presets import PRESETS, with_method
from nas.cell_search.searcher import Searcher
from nas.data.batches import draw_part
from nas.objective.timing import ROUNDS, whole_latencies
from nas.optim.kind import SearchKind
from nas.reports.cell_graph import draw_dot, draw_genotype
from nas.reports.chance import beside_chance, read_chance
from nas.reports.diagnostics import diagnose
from nas.reports.latency import Timer, read_calibration
from nas.reports.page import PAGE, attempt_page, write_search_page
from nas.reports.page_data import DISTRIBUTIONS, METRICS, note_distribution
from nas.reports.report import read_rows, supernet_accuracy, write_report
from nas.reports.style import draw_letter
from nas.runtime import checkpoint, loop
from nas.runtime.files import CHECKPOINT
from nas.runtime.metrics import MetricsLog
from nas.runtime.processes import Processes

REHEARSAL_IMAGES, REHEARSAL_CELLS = 8, 2
SHARE = 0.4
"""Share of the λs of a front's grid that have a cell of their own, about as on digits."""


def begin(config: SearchConfig, processes: Processes, state: dict[str, Any] | None) -> Searcher:
    """Builds a search; says what its settings do not promise."""
    searcher = Searcher(config, processes, state=state)
    warning = unkept_promise(config)
    if warning is not None and processes.is_main:
        print(f"warning: {warning}", file=sys.stderr)
    return searcher


def rehearse(searcher: Searcher, folder: Path) -> None:
    """Reports one cell on few images, as `report` does all of them, and reads it back."""
    config, problem, front = searcher.config, searcher.problem, searcher.front()
    write_report(
        folder,
        front,
        [searcher.supernet],
        draw_part(problem.val, min(REHEARSAL_IMAGES, config.eval_images), config.split_seed),
        problem.task.data,
        grid=1,
        shrunk=config.shrink,
        chance=min(config.chance, REHEARSAL_CELLS),
        timer=_timer(searcher, rounds=1),
        metric=config.metric,
        pictures=False,
    )
    draw_dot(folder / "dot")
    draw_letter(folder / "letter.svg")
    (row,) = rows = read_rows(folder)
    beside_chance(rows, read_chance(folder))
    read_genotype(folder / row["file"])
    lams = front.lam_range.grid(config.grid)
    diagnose(front, lams).text()
    if config.finalists:
        problem.likelihoods(front.likely(lams[:1]), REHEARSAL_IMAGES)
    MetricsLog(folder / METRICS).append({"step": 0, **searcher.ends()})
    note_distribution(folder, front, 0, 0)
    write_search_page(folder, front, config.to_dict())


def describe(searcher: Searcher) -> str:
    """Says in a line what the images are; see `SearchKind`."""
    problem, data = searcher.problem, searcher.problem.task.data
    return (
        f"{len(data.train) - len(problem.val):,} images train weights, {len(problem.val):,} the "
        f"architecture, {len(data.test):,} test; {data.channels}×{data.height}×{data.width}, "
        f"{data.num_classes} classes"
    )


def rough_bytes(searcher: Searcher) -> int:
    """Bytes that a step does not exceed; see `SearchKind`."""
    config, skeleton = searcher.config, searcher.problem.skeleton
    rough = skeleton.rough_bytes(config.batch_size) * config.lams_per_step
    return rough // config.shrink**2 // searcher.processes.world


def trial(searcher: Searcher, batch_size: int) -> Searcher:
    """Builds a search like another one, on its data; see `SearchKind`."""
    config, problem = replace(searcher.config, batch_size=batch_size), searcher.problem
    return Searcher(config, searcher.processes, data=problem.task.data, tables=problem.tables)


def after(searcher: Searcher, folder: Path) -> dict[str, float]:
    """Tells what finalists and report will take, from samples of them; see `SearchKind`.

    How many cells the front will have is not known yet: `SHARE` of its λs, or as many as now.
    """
    config, problem, front = searcher.config, searcher.problem, searcher.front()
    found = {"finalists": finalist_seconds(searcher)} if config.finalists else {}
    images = draw_part(problem.val, config.eval_images, config.split_seed)
    parts = (folder, front, [searcher.supernet], images, problem.task.data)
    begun = time.perf_counter()
    choices = front.choices(front.lam_range.grid(config.grid)).tolist()
    diagnose(front, front.lam_range.grid(config.grid)).text()
    cells = max(len({tuple(each) for each in choices}), round(SHARE * config.grid))
    looked = time.perf_counter() - begun
    begun = time.perf_counter()
    some = min(config.chance, REHEARSAL_CELLS)
    rows = write_report(*parts, grid=1, shrunk=config.shrink, chance=some)
    beside_chance(rows, read_chance(folder))
    write_page(searcher, folder)
    one = time.perf_counter() - begun
    data = problem.task.data
    begun = time.perf_counter()
    supernet_accuracy(
        searcher.supernet, choices[-1], images, data.mean, data.std, shrunk=config.shrink
    )
    scored = time.perf_counter() - begun
    draw_genotype(
        front.genotype(front.lam_range.grid(1)[0].tolist(), choices[-1]),
        folder / "cells" / "another",
    )
    drawn = time.perf_counter() - begun - scored
    others = (config.chance - some) * len(config.costs)
    scores = (cells - 1 + others) * scored * searches_at_once(replace(config, threads=0))
    return found | {"report": 2 * looked + one + (cells - 1) * drawn + scores}


def middle(searcher: Searcher) -> Genotype:
    """The cell of the middle of the λs; see `SearchKind`."""
    front = searcher.front()
    lams = front.lam_range.grid(3)
    return front.at(*lams[len(lams) // 2].tolist())


def within(searcher: Searcher, after: dict[str, float], seconds: float) -> dict[str, float]:
    """Leaves finalists out where their scores would take too much of a time; see `SearchKind`."""
    config = searcher.config
    if not config.finalists:
        return after
    found = finalists_within(config, after["finalists"], seconds)
    searcher.change_course(found)
    if found.finalists < config.finalists:
        print(f"{found.finalists} finalists, not {config.finalists}, are scored in that time")
    return after | {"finalists": after["finalists"] * found.finalists / config.finalists}


def side_by_side(searcher: Searcher) -> tuple[float, int]:
    """Tells how all searches of a run go; see `SearchKind`."""
    config = searcher.config
    if not runs_beside(searcher):
        return config.searches, 1
    return searches_at_once(config), config.searches


def epoch_ends(searcher: Searcher, folder: Path) -> None:
    """Notes how far the hypernetwork has come, and shows it on the run's page."""
    epoch = searcher.step // searcher.steps_per_epoch
    note_distribution(folder, searcher.front(), searcher.step, epoch)
    write_page(searcher, folder)


def complete(searcher: Searcher, folder: Path, resumed: bool) -> None:
    """Runs all searches of a run to their ends and reports them.

    The run's page shows how far the first of them has come.
    """
    with beside(searcher, folder, resumed=resumed) as begun:
        _search(searcher, folder)
    report(searcher, others_of(searcher, folder, resumed=resumed or begun), folder)


def complete_first(searcher: Searcher, folder: Path) -> None:
    """Runs the first search of a run to its end; begins the others, and leaves them to others."""
    begin_others(searcher, folder)
    _search(searcher, folder)


def _search(searcher: Searcher, folder: Path) -> None:
    """Runs a search to its end, and shows on the run's page how far it has come."""

    def begin_page() -> None:
        MetricsLog(folder / DISTRIBUTIONS).keep(searcher.step)
        if searcher.step < searcher.total_steps:
            write_page(searcher, folder)

    searcher.processes.in_main(begin_page)
    loop.run(searcher, folder, epoch_ends=partial(epoch_ends, searcher, folder))


def write_page(searcher: Searcher, folder: Path) -> None:
    """Writes the page of a run as far as it has come; if that fails it is told, no more."""
    attempt_page(
        folder, lambda: write_search_page(folder, searcher.front(), searcher.config.to_dict())
    )


def report(searcher: Searcher, others: Sequence[Searcher], path: Path) -> None:
    """Finds the finalists, if any are wanted, and writes the front, its cells, pictures and page.

    Args:
        others: further searches of the run, finished.
    """
    config, processes, problem = searcher.config, searcher.processes, searcher.problem
    if searcher.finalists is None and config.finalists:
        searcher.finalists = score_finalists([searcher, *others])
        processes.in_main(lambda: checkpoint.save(path / CHECKPOINT, searcher.state()))
    front = searcher.front()
    rows = processes.in_main(
        lambda: write_report(
            path,
            front,
            [search.supernet for search in (searcher, *others)],
            draw_part(problem.val, config.eval_images, config.split_seed),
            problem.task.data,
            grid=config.grid,
            shrunk=config.shrink,
            chance=config.chance,
            timer=_timer(searcher, ROUNDS),
            metric=config.metric,
        )
    )
    if rows is not None:
        write_page(searcher, path)
        print(diagnose(front, front.lam_range.grid(config.grid)).text())
        members = sum(row["pareto"] for row in rows)
        print(f"{len(rows)} cells, {members} of them Pareto members, in {path / 'front.csv'}")
        print(f"genotypes in {path / 'genotypes'}, pictures in {path / 'cells'}")
        for line in beside_chance(rows, read_chance(path)):
            print(line)
        calibration = read_calibration(path)
        if calibration is not None:
            print(calibration.text())
        print(f"page: {path / PAGE}")


def _timer(searcher: Searcher, rounds: int) -> Timer | None:
    """Returns what measures whole networks here, if latency was priced and measured here."""
    config, skeleton = searcher.config, searcher.problem.skeleton
    if "latency" not in config.costs or config.latency_file is not None:
        return None
    device, batch = searcher.processes.device, config.latency_batch
    return lambda genotypes: whole_latencies(genotypes, skeleton, device, batch, rounds)


KIND = SearchKind(
    config=SearchConfig,
    presets=PRESETS,
    with_method=with_method,
    recognises=lambda values: values.get("space") != MLP,
    read_config=config_from_dict,
    state_keys=STATE_KEYS,
    check_state=check_state,
    begin=begin,
    rehearse=rehearse,
    describe=describe,
    rough_bytes=rough_bytes,
    trial=trial,
    after=after,
    within=within,
    middle=middle,
    side_by_side=side_by_side,
    epoch_ends=epoch_ends,
    complete=complete,
    complete_first=complete_first,
)
