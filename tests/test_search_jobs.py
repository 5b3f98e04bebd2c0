"""A search as jobs of an engine, each of several searches one: interrupted, and gone on with."""

import csv
import os
import re
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cells.errors import InputError
from nas.cell_search import ensemble
from nas.cell_search.config import SearchConfig
from nas.commands import search_jobs
from nas.commands.search import command
from nas.commands.search_jobs import finish_other, launch_search
from nas.runtime import checkpoint
from nas.runtime.jobs import JobsConfig, Work
from nas.runtime.owner import owning

OPTIONS = (
    "digits --searches 2 --threads 1 --device cpu --channels 4 --num-cells 1 --batch-size 128 "
    "--epochs 4 --warmup-epochs 1 --grid 5 --eval-images 100 --chance 0 --finalists 20"
)
TWO = OPTIONS.split()
MEASURED = {"expected_latency", "latency"}
"""Columns of a front that no two runs share."""


def record(run: Path) -> dict[str, Any]:
    """What a run leaves, but times."""
    with open(run / "front.csv", newline="") as file:
        rows = [
            {name: text for name, text in row.items() if name not in MEASURED}
            for row in csv.DictReader(file)
        ]
    states = [checkpoint.load(folder / "checkpoint.pt") for folder in (run, run / "searches" / "1")]
    return {"front": rows, "states": [state["supernet"] | state["hypernet"] for state in states]}


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two records are the same, bit by bit."""
    return first["front"] == second["front"] and all(
        torch.equal(one[name], other[name])
        for one, other in zip(first["states"], second["states"], strict=True)
        for name in one.keys() | other.keys()
    )


def interrupt_when_both_run(run: Path) -> None:
    """Sends a Ctrl-C to this process when each search of a run has a process."""
    owners = [run / ".owner", run / "searches" / "1" / ".owner"]
    deadline = time.monotonic() + 600
    while not all(owner.exists() and owner.read_text() for owner in owners):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)


def test_searches_are_jobs_that_save_and_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # which jobs set
    run, whole = tmp_path / "run", tmp_path / "whole"
    interrupting = threading.Thread(target=interrupt_when_both_run, args=(run,))
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        command([*TWO, "--out", str(run), "--launcher", "local"])
    interrupting.join()
    for folder in (run, run / "searches" / "1"):
        with owning(folder, patience=600):  # its process saves and leaves
            assert checkpoint.exists(folder / "checkpoint.pt")
    assert not (run / "front.csv").exists()
    with pytest.raises(InputError, match="run exists: choose another --out, or go on with"):
        command([*TWO, "--out", str(run), "--launcher", "local"])

    assert "Traceback" not in capfd.readouterr().err
    command(["--resume", str(run), "--launcher", "local", "--jobs", "2"])
    told = capfd.readouterr().out
    assert re.findall(r"job \d+: (.*)", told) == [
        f"search --resume {run} --only 0",
        f"search --resume {run} --only 1",
        f"search --resume {run}",
    ]
    command([*TWO, "--out", str(whole)])
    assert same(record(run), record(whole))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["digits", "--only", "0"], "only is for one of several searches, from 0 on, this run has"),
        ([*TWO, "--only", "2"], "this run has 2: leave --only 2 out"),
        ([*TWO, "--only", "1"], "search 1 of a run goes on with --resume"),
        ([*TWO, "--only", "one"], "only must be an integer, got 'one'"),
        (["digits", "--launcher", "local", "--time", "1h"], "leave --time"),
        (["--resume", "{run}", "--only", "1"], "this run has 1: leave --only 1 out"),
        (["--resume", "{run}", "--launcher", "local", "--lr", "1"], "leave --lr 1 out"),
        (["digits", "--launcher", "slrum"], "unknown launcher 'slrum': did you mean 'slurm'?"),
        (["digits", "--jobs", "0", "--launcher", "local"], "jobs must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_a_job_is_told_on_one_line(
    args: list[str], message: str, run_folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        command([arg.format(run=run_folder) for arg in args])
    assert "\n" not in str(caught.value) and message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_another_search_has_an_owner_while_the_first_process_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []

    def run(other: Any, folder: Path, name: str) -> None:
        with pytest.raises(InputError, match="is in use by process"), owning(folder):
            pass
        found.append(name)

    first: Any = SimpleNamespace(config=SearchConfig(searches=2, finalists=20))
    monkeypatch.setattr(ensemble, "_other", lambda *args, resumed: (first, tmp_path))
    monkeypatch.setattr(ensemble.loop, "run", run)
    assert ensemble.others_of(first, tmp_path, resumed=True) == [first]
    assert found == [str(tmp_path)]


def test_a_search_that_has_not_begun_names_what_begins_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"search 1 of .* has not begun: .*--only 0"):
        finish_other(tmp_path, 1)


@pytest.mark.parametrize("name", [".", "../run"])
def test_a_run_is_gone_on_with_from_inside_its_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[list[str]] = []

    def noted(works: list[Work], config: JobsConfig, logs: Path) -> list[Work]:
        found.append([str(logs.resolve()), *(str(Path(work.folder).resolve()) for work in works)])
        return []

    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.chdir(run)
    monkeypatch.setattr(search_jobs, "launch", noted)
    launch_search(SearchConfig(), Path(name), [], JobsConfig(launcher="local"))
    assert found == [[str(tmp_path / "run-jobs"), str(run)]]
