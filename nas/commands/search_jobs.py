"""A search as jobs of an engine: one, or one for each of several searches and a last one."""

import os
from collections.abc import Sequence
from pathlib import Path

from cells.errors import InputError
from nas.cell_search.ensemble import folder_of
from nas.cell_search.member import finish
from nas.run import AnyConfig
from nas.runtime import checkpoint
from nas.runtime.files import CHECKPOINT
from nas.runtime.jobs import JobsConfig, launch, works
from nas.runtime.signals import Stopped


def require_part(config: AnyConfig, number: int) -> None:
    """Makes sure that a run has a search of a number, among several.

    Raises:
        InputError: if it has not.
    """
    searches = searches_of(config)
    if searches == 1 or not 0 <= number < searches:
        raise InputError(
            f"only is for one of several searches, from 0 on, this run has {searches}: "
            f"leave --only {number} out"
        )


def searches_of(config: AnyConfig) -> int:
    """Returns how many searches a run is."""
    return getattr(config, "searches", 1)


def finish_other(run: Path, number: int) -> None:
    """Goes on with one of the other searches of a run to its end.

    Raises:
        InputError: if it has not begun; InputError, Stopped: as `finish`.
    """
    if not checkpoint.exists(folder_of(run, number) / CHECKPOINT):
        raise InputError(
            f"search {number} of {run} has not begun: go on with --resume {run} --only 0, which "
            "begins it"
        )
    try:
        finish(folder_of(run, number))
    except Stopped as stop:
        raise Stopped(stop.received, stop.at, f"--resume {run}") from None


def launch_search(config: AnyConfig, folder: Path, args: Sequence[str], jobs: JobsConfig) -> None:
    """Runs a search as jobs and waits for them; where it has begun they go on with it.

    Args:
        args: the command line, without the folder and the options of jobs.

    Raises:
        InputError: as `launch`.
    """
    if folder.name in ("", ".."):  # the logs lie beside it
        folder = Path(os.path.abspath(folder))
    searches, logs = searches_of(config), folder.with_name(f"{folder.name}-jobs")
    parts = {str(k): folder_of(folder, k) / CHECKPOINT for k in range(searches)}
    begin, go_on = ("search", *args, "--out", str(folder)), ("search", "--resume", str(folder))
    for _ in launch(works(folder, begin, go_on, logs, parts if searches > 1 else None), jobs, logs):
        pass
    print(f"the run is in {folder}, its page {folder / 'report.html'}, logs in {logs}")
