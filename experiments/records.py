"""Results of parts of an experiment, each made once; searches that go on; tables of benchmarks."""

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cells.errors import InputError
from nas.run import AnyConfig, read_any_run, search
from nas.runtime.files import CHECKPOINT, write_json


def recorded(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns what a JSON file holds; makes and writes it first if there is none."""
    if not path.exists():
        write_json(path, make())
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def finished(config: AnyConfig, folder: Path) -> Path:
    """Returns the folder of a search, which is run, or resumed, if it is not finished."""
    if (folder / "front.csv").is_file():
        return folder
    if (folder / CHECKPOINT).is_file():
        former, state = read_any_run(folder)
        search(former, folder, state=state)
    else:
        if folder.exists():  # killed before there was anything to go on from
            shutil.rmtree(folder)
        search(config, folder)
    return folder


def read_table(folder: Path, name: str) -> list[dict[str, str]]:
    """Reads a compressed table of a benchmark, a row for each cell, by column.

    Raises:
        InputError: if the folder does not hold it.
    """
    path = folder / name
    if not path.is_file():
        raise InputError(f"{path} does not exist: set NAS_DATA to the folder that holds {name}")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))
