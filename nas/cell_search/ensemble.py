"""The other searches of a run with `--searches`: side by side, or one after the other."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.cell_search.folder import read_run
from nas.cell_search.searcher import Searcher
from nas.runtime import checkpoint, loop
from nas.runtime.course import with_course
from nas.runtime.files import CHECKPOINT, CONFIG, write_json
from nas.runtime.owner import owning
from nas.runtime.signals import Stopped, StopSignal

MEMBER = (sys.executable, "-m", "nas.cell_search.member")
"""Command that finishes the search of the folder behind it, begun when the number behind says."""
LEAVING = 60.0
"""Seconds to wait for the process of an interrupted run to save and leave, or for a stopped one."""


def _other(first: Searcher, run: Path, number: int, *, resumed: bool) -> tuple[Searcher, Path]:
    """Builds one of the other searches of a run, as far as it has come; returns its folder, too.

    Args:
        run: where; in a new run only the main process knows.
        resumed: whether there may be a checkpoint of it.
    """
    folder, config = folder_of(run, number), first.config.search_config(number)
    state, former = None, config
    if resumed and checkpoint.exists(folder / CHECKPOINT):
        with owning(folder, patience=LEAVING):
            former, state = read_run(folder)
    if first.deadline is not None:  # each search fits its own length
        config = with_course(config, former)
    data, tables = first.problem.task.data, first.problem.tables
    other = Searcher(config, first.processes, data=data, tables=tables, state=state)
    if first.deadline is not None:
        waiting = 0 if runs_beside(first) else first.config.searches - 1 - number
        other.deadline = first.deadline.of_another(waiting)

    def begin() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / CONFIG, config.to_dict())  # of a length the checkpoint has the word
        checkpoint.save(folder / CHECKPOINT, other.state())
        if state is None:
            print(f"another search, in {folder}")

    if state is None or config != former or other.deadline is not None:
        first.processes.in_main(begin)
    return other, folder


def begin_others(first: Searcher, run: Path) -> None:
    """Begins those of the other searches of a run that have not begun, for others to go on with."""
    for number in range(1, first.config.searches):
        if not checkpoint.exists(folder_of(run, number) / CHECKPOINT):
            _other(first, run, number, resumed=False)


def folder_of(run: Path, number: int) -> Path:
    """Returns the folder of one of the other searches of a run, which are numbered from 1."""
    return run / "searches" / str(number)


def others_of(first: Searcher, run: Path, *, resumed: bool) -> list[Searcher]:
    """Finishes the other searches of a run, one after the other, and returns them."""
    others = []
    for number in range(1, first.config.searches):
        other, folder = _other(first, run, number, resumed=resumed)
        try:
            with owning(folder, patience=LEAVING):
                loop.run(other, folder, str(folder))
        except Stopped as stop:
            raise Stopped(stop.received, stop.at, f"--resume {run}") from None
        others.append(other)
    return others


def runs_beside(first: Searcher) -> bool:
    """Tells whether the other searches of a run have processes of their own."""
    config = first.config
    return config.searches > 1 and config.threads > 0 and first.processes.world == 1


@contextmanager
def beside(first: Searcher, run: Path, *, resumed: bool) -> Iterator[bool]:
    """Runs the other searches of a run in processes of their own, beside the `with` block.

    They run to their ends if the settings say how many threads each has, and `first` is not itself
    spread over several processes. What one of them leaves undone, `others_of` does; one that is
    stopped for a minute, while no other runs, is killed.

    Yields:
        Whether they run.
    """
    config = first.config
    begins = runs_beside(first)
    started = []
    path = os.pathsep.join(map(os.path.abspath, sys.path))  # it imports what this process does
    try:
        for number in range(1, config.searches) if begins else ():
            _, folder = _other(first, run, number, resumed=resumed)
            # It stops when its standard input closes, be it because this process has died.
            started.append(
                subprocess.Popen(
                    [*MEMBER, str(folder), repr(time.monotonic())],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=os.environ | {"PYTHONPATH": path},
                )
            )
        yield begins
        deadline = time.monotonic() + LEAVING
        with StopSignal() as stop:
            while stop.received is None and any(process.poll() is None for process in started):
                if not all(map(is_at_rest, started)):
                    deadline = time.monotonic() + LEAVING
                elif time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            if stop.received is not None:
                raise Stopped(stop.received, f"step {first.step}", f"--resume {run}")
    finally:
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
            if is_at_rest(process):
                process.kill()  # it cannot hear that it is to leave
            process.wait()


def is_at_rest(process: subprocess.Popen[bytes]) -> bool:
    """Tells whether a process has ended, or, where the system can say it, is stopped (SIGSTOP)."""
    if process.poll() is not None or not hasattr(os, "waitid"):
        return process.poll() is not None
    how = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, how) is not None
