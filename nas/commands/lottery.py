"""Finds lottery tickets: python -m nas lottery."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import torch

from nas.data.examples import load_task
from nas.runtime.commandline import parse, take
from nas.runtime.files import CONFIG, make_folder, write_atomically, write_json
from nas.runtime.processes import start_processes, stop_processes
from nas.weight_search.lottery import LotteryConfig, lottery


def command(args: Sequence[str]) -> None:
    """Trains tickets beside controls and writes a table.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    rest = list(args)
    out = take(rest, "--out")
    config = parse(LotteryConfig, LotteryConfig(), rest, "python -m nas lottery")
    folder = make_folder(Path(out or "runs/lottery"), exact=out is not None)
    if config.threads:
        torch.set_num_threads(config.threads)
    processes = start_processes(config.device)
    try:
        task = load_task(
            config.data, Path(config.data_root), target=config.target, split_seed=config.split_seed
        )
        write_json(folder / CONFIG, config.to_dict())
        rows = lottery(config, task, processes)
    finally:
        stop_processes()
    text = io.StringIO()
    writer = csv.writer(text)
    runs = range(config.runs)
    names = ("ticket", "control")
    writer.writerow(["remaining", *(f"{name}_run{run}" for name in names for run in runs)])
    for row in rows:
        assert isinstance(row["ticket"], list) and isinstance(row["control"], list)
        writer.writerow([row["remaining"], *row["ticket"], *row["control"]])
    write_atomically(folder / "lottery.csv", text.getvalue().encode())
    print(f"table in {folder / 'lottery.csv'}")
