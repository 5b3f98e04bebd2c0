"""The run of a search for cells: its searches to their ends, and what they leave."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cells.chain import MLP
from cells.notation import read_genotype
from nas.cell_search.config import SearchConfig, config_from_dict, unkept_promise
from nas.cell_search.ensemble import beside, others_of
from nas.cell_search.finalist_scores import score_finalists
from nas.cell_search.folder import STATE_KEYS, check_state
from nas.cell_search.presets import PRESETS, with_method
from nas.cell_search.searcher import Searcher
from nas.data.batches import draw_part
from nas.objective.timing import ROUNDS, whole_latencies
from nas.optim.kind import SearchKind
from nas.reports.cell_graph import draw_dot
from nas.reports.chance import beside_chance, read_chance
from nas.reports.diagnostics import diagnose
from nas.reports.latency import Timer, read_calibration
from nas.reports.page import PAGE, attempt_page, write_search_page
from nas.reports.page_data import DISTRIBUTIONS, METRICS, note_distribution
from nas.reports.report import read_rows, write_report
from nas.reports.style import draw_letter
from nas.runtime import checkpoint, loop
from nas.runtime.files import CHECKPOINT
from nas.runtime.metrics import MetricsLog
from nas.runtime.processes import Processes

REHEARSAL_IMAGES, REHEARSAL_CELLS = 8, 2


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


def complete(searcher: Searcher, folder: Path, resumed: bool) -> None:
    """Runs all searches of a run to their ends and reports them.

    The run's page shows how far the first of them has come.
    """

    def epoch_ends() -> None:
        epoch = searcher.step // searcher.steps_per_epoch
        note_distribution(folder, searcher.front(), searcher.step, epoch)
        write_page(searcher, folder)

    def begin_page() -> None:
        MetricsLog(folder / DISTRIBUTIONS).keep(searcher.step)
        if searcher.step < searcher.total_steps:
            write_page(searcher, folder)

    searcher.processes.in_main(begin_page)
    with beside(searcher, folder, resumed=resumed) as begun:
        loop.run(searcher, folder, epoch_ends=epoch_ends)
    report(searcher, others_of(searcher, folder, resumed=resumed or begun), folder)


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
    complete=complete,
)
