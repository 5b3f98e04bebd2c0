"""Finds lottery tickets: python -m nas lottery."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from cells.errors import InputError
from nas.data.examples import load_task
from nas.data.source import located
from nas.runtime.commandline import called, parse, take
from nas.runtime.files import CONFIG, make_folder, read_config, write_csv
from nas.runtime.manifest import note_resume, write_manifest
from nas.runtime.owner import owning
from nas.runtime.processes import require_threads, start_processes, stop_processes
from nas.runtime.settings import read_settings, require_same
from nas.runtime.signals import Stopped
from nas.runtime.tensorboard import require_board
from nas.weight_search.lottery import LotteryConfig, lottery


def command(args: Sequence[str]) -> None:
    """Trains tickets beside controls and writes a table; goes on where it was interrupted.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    rest = list(args)
    folder = Path(take(rest, "--out") or "runs/lottery")
    config = located(parse(LotteryConfig, LotteryConfig(), rest, called("lottery")))
    if folder.exists():
        if not (folder / CONFIG).is_file():
            raise InputError(f"{folder} exists and is no lottery: choose another --out")
        former = read_settings(LotteryConfig, read_config(folder / CONFIG))
        require_same(config.to_dict(), former.to_dict(), folder / CONFIG)
    else:
        require_threads(config.threads)
    require_board(config.tensorboard)
    if config.threads:
        torch.set_num_threads(config.threads)
    processes = start_processes(config.device)
    try:
        task = load_task(
            config.data, Path(config.data_root), target=config.target, task=config.task,
            split_seed=config.split_seed,
        )  # fmt: skip
        for line in task.told:
            print(line, file=sys.stderr)
        begun = not folder.exists()
        if begun:
            settings = config.to_dict()
            make_folder(
                folder,
                exact=True,
                config=settings,
                fill=lambda draft: write_manifest(draft, settings, task.fingerprint, processes),
            )
        with owning(folder):
            if not begun:
                note_resume(folder, "its last checkpoint", processes)
            rows = lottery(config, task, processes, folder)
    except Stopped as stop:
        raise Stopped(stop.received, stop.at, "the same command") from None
    finally:
        stop_processes(processes)
    names = ("ticket", "control")
    write_csv(
        folder / "lottery.csv",
        [
            {"remaining": row["remaining"]}
            | {f"{name}_run{run}": row[name][run] for name in names for run in range(config.runs)}
            for row in rows
        ],
    )
    print(f"table in {folder / 'lottery.csv'}")
