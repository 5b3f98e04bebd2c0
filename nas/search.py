"""The run of a search: from its settings to the folder it leaves."""

import sys
from pathlib import Path
from typing import Any

from nas import checkpoint
from nas.config import SearchConfig
from nas.diagnostics import diagnose
from nas.report import write_report
from nas.runs import CHECKPOINT, CONFIG, make_folder, refuse_existing, write_json
from nas.runtime import start_processes, stop_processes
from nas.searcher import Searcher


def search(
    config: SearchConfig, folder: Path, *, exact: bool = True, state: dict[str, Any] | None = None
) -> None:
    """Runs a search, or the rest of it, and writes its folder.

    Args:
        folder: where; made here unless `state` is given.
        exact: whether a folder that exists is refused, or another name is chosen.
        state: checkpoint to continue from.

    Raises:
        InputError: if the folder exists, or as `Searcher`.
    """
    processes = start_processes(config.device)

    def begin() -> Path:
        made = make_folder(folder, exact=exact)
        write_json(made / CONFIG, config.to_dict())
        return made

    try:
        if state is None and exact:
            processes.in_main(lambda: refuse_existing(folder))  # before any work is done
        searcher = Searcher(config, processes, state=state)
        path = folder
        if state is None:
            path = processes.in_main(begin) or folder  # only the main process writes to it
        stopped = searcher.run(path)
        if stopped is not None:
            if processes.is_main:
                print(f"stopped at step {searcher.step}; go on with --resume {path}")
            sys.exit(128 + stopped)
        if searcher.finalists is None and config.finalists:
            searcher.choose_finalists()
            processes.in_main(lambda: checkpoint.save(path / CHECKPOINT, searcher.state()))
        front = searcher.front()
        rows = processes.in_main(
            lambda: write_report(
                path,
                front,
                searcher.supernet,
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
    finally:
        stop_processes()
