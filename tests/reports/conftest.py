"""A run with all that a page can show."""

import csv
import shutil
from pathlib import Path

import pytest

from nas.commands.report import command
from nas.reports.report import read_rows


@pytest.fixture(scope="session")
def shown_run(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search with retrained cells, random cells and its page; tests read it."""
    run = shutil.copytree(run_folder, tmp_path_factory.mktemp("shown") / "tiny")
    rows = read_rows(run)
    with open(run / "retrained.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "mean", "std"])
        writer.writerow([rows[0]["file"], 0.91, 0.01])
        writer.writerow([rows[-1]["file"], 0.85, ""])
    command([str(run)])
    return run
