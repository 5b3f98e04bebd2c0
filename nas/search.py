"""The run of a search: from its settings to the folder it leaves."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas import checkpoint
from nas.diagnostics import diagnose, unkept_promise
from nas.generated import Generated, read_task
from nas.report import write_report
from nas.runs import CHECKPOINT, CONFIG, make_folder, read_run, refuse_existing, write_json
from nas.runtime import Processes, StopSignal, start_processes, stop_processes
from nas.searcher import Searcher
from nas.shortlist import shortlist
from nas.tune import describe, tuned_rows, write_rows
from nas.variational import WeightSearcher
from nas.weight_config import AnyConfig, WeightConfig
from nas.weight_report import write_weight_report


def search(
    config: AnyConfig, folder: Path, *, exact: bool = True, state: dict[str, Any] | None = None
) -> None:
    """Runs a search, or the rest of it, and writes its folder.

    Args:
        folder: where; made here unless `state` is given.
        exact: whether a folder that exists is refused, or another name is chosen.
        state: checkpoint to continue from.

    Raises:
        InputError: if the folder exists, data cannot be read or do not fit.
    """
    processes = start_processes(config.device)

    def begin() -> Path:
        made = make_folder(folder, exact=exact)
        write_json(made / CONFIG, config.to_dict())
        return made

    try:
        if state is None and exact:
            processes.in_main(lambda: refuse_existing(folder))  # before any work is done
        searcher: Searcher | WeightSearcher
        if isinstance(config, WeightConfig):
            searcher = _weights(config, processes, state)
        else:
            searcher = Searcher(config, processes, state=state)
            if processes.is_main and (warning := unkept_promise(config)) is not None:
                print(f"warning: {warning}", file=sys.stderr)
        path = folder
        if state is None:
            path = processes.in_main(begin) or folder  # only the main process writes to it
        if isinstance(searcher, WeightSearcher):
            _run(searcher, path, path)
            processes.in_main(lambda: _report_weights(searcher, path))
        else:
            resumed = state is not None
            with _beside(searcher, path, resumed=resumed) as begun:
                _run(searcher, path, path)
            _report_cells(searcher, _others(searcher, path, resumed=resumed or begun), path)
    finally:
        stop_processes()


def _run(searcher: Searcher | WeightSearcher, folder: Path, run: Path) -> None:
    """Searches to the end; leaves the program where a signal stops it.

    Args:
        folder: of this search.
        run: of the whole run, which goes on.
    """
    stopped = searcher.run(folder)
    if stopped is not None:
        if searcher.processes.is_main:
            which = "" if folder == run else f" of {folder}"
            print(f"stopped at step {searcher.step}{which}; go on with --resume {run}")
        sys.exit(128 + stopped)


def _other(first: Searcher, run: Path, number: int, *, resumed: bool) -> tuple[Searcher, Path]:
    """One of the other searches of a run, as far as it has come, and its folder.

    Args:
        run: where; in a new run only the main process knows.
        resumed: whether there may be a checkpoint of it.
    """
    folder, config = run / "searches" / str(number), first.config.search_config(number)
    state = None
    if resumed and checkpoint.exists(folder / CHECKPOINT):
        state = read_run(folder)[1]
    data, tables = first.problem.data, first.problem.tables
    other = Searcher(config, first.processes, data=data, tables=tables, state=state)

    def begin() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, config.to_dict())
        checkpoint.save(folder / CHECKPOINT, other.state())
        print(f"another search, in {folder}")

    if state is None:
        first.processes.in_main(begin)
    return other, folder


def _others(first: Searcher, run: Path, *, resumed: bool) -> list[Searcher]:
    """The other searches of a run, finished one after the other, as far as they are not."""
    others = []
    for number in range(1, first.config.searches):
        other, folder = _other(first, run, number, resumed=resumed)
        _run(other, folder, run)
        others.append(other)
    return others


@contextmanager
def _beside(first: Searcher, run: Path, *, resumed: bool) -> Iterator[bool]:
    """Meanwhile the other searches of a run go on, each in a process of its own, to their ends.

    They do if the settings say how many threads each has, and `first` is not itself spread over
    several processes. Whatever one of them leaves undone is done by `_others`.

    Yields:
        Whether they do.
    """
    config = first.config
    begins = config.searches > 1 and config.threads > 0 and first.processes.world == 1
    started = []
    try:
        for number in range(1, config.searches) if begins else ():
            _, folder = _other(first, run, number, resumed=resumed)
            # It stops when its standard input closes, be it because this process has died.
            command = [sys.executable, "-c", _MEMBER, *sys.path, str(folder)]
            quiet = subprocess.DEVNULL
            pipe = subprocess.PIPE
            started.append(subprocess.Popen(command, stdin=pipe, stdout=quiet, stderr=quiet))
        yield begins
        with StopSignal() as stop:
            while stop.received is None and any(process.poll() is None for process in started):
                time.sleep(0.1)
        if stop.received is not None:
            print(f"stopped at step {first.step}; go on with --resume {run}")
            sys.exit(128 + stop.received)
    finally:
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


_MEMBER = """
import sys
sys.path[:], folder = sys.argv[1:-1], sys.argv[-1]
from nas.search import finish
finish(folder)
"""


def finish(folder: str) -> None:
    """Goes on with a search to its end, or until standard input closes; writes no report.

    Args:
        folder: of a search for cells that has a checkpoint.
    """

    def watch() -> None:
        os.read(0, 1)  # nothing is ever written to it; unlike sys.stdin it holds no lock meanwhile
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    config, state = read_run(Path(folder))
    try:
        Searcher(config, start_processes(config.device), state=state).run(Path(folder), show=False)
    finally:
        stop_processes()


def _weights(
    config: WeightConfig, processes: Processes, state: dict[str, Any] | None
) -> WeightSearcher:
    task = processes.main_first(lambda: read_task(config))
    start = None
    if config.start is not None and state is None:
        start = Generated.load(config.start).starts(config)
    return WeightSearcher(config, processes, task, start=start, state=state)


def _report_weights(searcher: WeightSearcher, path: Path) -> None:
    problem = searcher.problem
    generated = Generated(searcher.config, problem.chain, problem.hypernet, problem.tuned_lams)
    if generated.tuned is not None:
        rows = tuned_rows(generated, generated.tuned, problem.task)
        write_rows(path / "front.csv", rows)
        print("\n".join(describe(rows, generated)))
        print(f"table in {path / 'front.csv'}; the networks: python -m nas.tune {path}")
        return
    rows = write_weight_report(path, generated, problem.task)
    for row in (rows[0], rows[-1]) if len(rows) > 1 else rows:
        print(f"λ = {row['lam']:g}: evidence {row['evidence']:,.0f} nats, KL {row['kl']:,.0f} nats")
    print(f"{len(rows)} λs in {path / 'front.csv'}, picture in {path / 'front.svg'}")


def _report_cells(searcher: Searcher, others: list[Searcher], path: Path) -> None:
    config, processes = searcher.config, searcher.processes
    if searcher.finalists is None and config.finalists:
        searcher.finalists = shortlist([searcher, *others])
        processes.in_main(lambda: checkpoint.save(path / CHECKPOINT, searcher.state()))
    front = searcher.front()
    rows = processes.in_main(
        lambda: write_report(
            path,
            front,
            [search.supernet for search in (searcher, *others)],
            searcher.problem.val,
            searcher.problem.data.mean,
            searcher.problem.data.std,
        )
    )
    if rows is not None:
        print(diagnose(front, front.lam_range.grid(config.grid)).text())
        members = sum(row["pareto"] for row in rows)
        print(f"{len(rows)} cells, {members} of them Pareto members, in {path / 'front.csv'}")
        print(f"genotypes in {path / 'genotypes'}, pictures in {path / 'cells'}")
