"""k steps + resume + n steps are bitwise k + n steps, however the run was interrupted."""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import search as script
from nas.architecture.relaxations import RELAXATIONS
from nas.cell_search.config import SearchConfig
from nas.cell_search.folder import read_run
from nas.cell_search.presets import PRESETS
from nas.cell_search.searcher import Searcher
from nas.data.datasets import ImageData, load_data
from nas.run import search
from nas.runtime import checkpoint
from nas.runtime.processes import Processes, Stopped

ROOT = Path(__file__).parent.parent
ALONE = Processes(0, 1, torch.device("cpu"))
CHANGES = {
    "space": "nasbench201",
    "channels": 4,
    "num_cells": 1,
    "batch_size": 32,  # 22 steps an epoch
    "epochs": 6,
    "warmup_epochs": 1,
    "grid": 5,
    "device": "cpu",
    "threads": 1,
}
TINY = replace(PRESETS["digits"], **CHANGES)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", Path("."))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    search(TINY, folder)
    return folder


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """Bit by bit, except for latency, which is measured anew by every search."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for name in expected:
            if name != "latency":
                assert_same(found[name], expected[name], f"{where}/{name}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_same(one, other, f"{where}/{i}")
    elif isinstance(expected, Tensor):
        assert torch.equal(found, expected), where
    else:
        assert type(found) is type(expected) and found == expected, where


def assert_same_runs(folder: Path, other: Path) -> None:
    """Checkpoints, logs without their times, fronts without their latencies."""
    assert_same(*(checkpoint.load(path / "checkpoint.pt") for path in (folder, other)))
    logs = []
    for path in (folder, other):
        rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        logs.append([row | {"seconds": None} for row in rows])
    assert logs[0] == logs[1]
    fronts = []
    for path in (folder, other):
        with open(path / "front.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        fronts.append([{k: v for k, v in row.items() if "latency" not in k} for row in rows])
    assert fronts[0] == fronts[1]
    names = [sorted(p.name for p in (path / "genotypes").iterdir()) for path in (folder, other)]
    assert names[0] == names[1]


# ---------------------------------------------------------------- between any two steps


def saved(searcher: Searcher, path: Path) -> dict[str, Any]:
    """The state as it comes back from disk."""
    checkpoint.save(path, searcher.state())
    return checkpoint.load(path)


@pytest.mark.parametrize("order", ["first", "second"])
@pytest.mark.parametrize("weights", ["point", "gaussian", "generated"])
@pytest.mark.parametrize("relax", RELAXATIONS)
def test_a_state_from_the_middle_of_an_epoch_goes_on_bitwise(
    digits: ImageData, relax: str, weights: str, order: str, tmp_path: Path
) -> None:
    config = SearchConfig(
        relax=relax,
        weights=weights,
        order=order,
        costs=("kl",) if weights == "gaussian" else ("flops", "params"),
        channels=4,
        num_cells=1,
        batch_size=32,
        lams_per_step=2,
        crop_padding=1,
        cutout=2,
        device="cpu",
    )
    through = Searcher(config, ALONE, data=digits)
    for _ in range(3):
        through.advance()
    middle = saved(through, tmp_path / "middle.pt")
    for _ in range(2):
        through.advance()
    resumed = Searcher(config, ALONE, data=digits, state=middle)
    assert resumed.step == 3
    for _ in range(2):
        resumed.advance()
    expected = saved(through, tmp_path / "through.pt")
    assert_same(saved(resumed, tmp_path / "resumed.pt"), expected)
    # What is compared does change from step to step.
    for part in ("supernet", "hypernet", "averages"):
        with pytest.raises(AssertionError):
            assert_same(middle[part], expected[part])


def test_a_search_with_scores_goes_on_bitwise(digits: ImageData, tmp_path: Path) -> None:
    config = SearchConfig(
        estimator="score", arch_kl_end=0.001, shrink=2, warmup_epochs=0,
        trained_cells="prior", op_probs=(0.1, 0.25, 0.2, 0.35, 0.1), channels=4, num_cells=1,
        batch_size=32, crop_padding=1, device="cpu",
    )  # fmt: skip
    through = Searcher(config, ALONE, data=digits)
    for _ in range(5):
        through.advance()
    middle = saved(through, tmp_path / "middle.pt")
    for _ in range(4):
        through.advance()
    resumed = Searcher(config, ALONE, data=digits, state=middle)
    for _ in range(4):
        resumed.advance()
    expected = saved(through, tmp_path / "through.pt")
    assert len(expected["memory"]) == 9
    assert_same(saved(resumed, tmp_path / "resumed.pt"), expected)


# Its hypernetwork is told new costs at the end of every epoch.
MOVING = replace(
    TINY,
    weights="gaussian",
    costs=("kl",),
    hypernet="gibbs",
    batch_size=128,  # 5 steps an epoch
    epochs=3,
    warmup_epochs=0,
)


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `MOVING` that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "moved"
    search(MOVING, folder)
    return folder


@pytest.mark.parametrize(
    ("step", "number"), [(1, signal.SIGTERM), (7, signal.SIGINT), (10, signal.SIGTERM)]
)
def test_a_signal_saves_within_the_epoch(
    moved: Path,
    step: int,
    number: signal.Signals,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advance = Searcher.advance

    def interrupted(self: Searcher) -> None:
        advance(self)
        if self.step == step:
            os.kill(os.getpid(), number)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Stopped) as caught:
        patch.setattr(Searcher, "advance", interrupted)
        search(MOVING, folder)
    assert caught.value.received == number
    assert not (folder / "front.csv").exists()
    config, state = read_run(folder)
    assert config == MOVING and state["step"] == step
    search(config, folder, state=state)
    assert_same_runs(folder, moved)


def test_a_row_without_its_checkpoint_is_logged_again(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the second epoch was logged and before it was saved."""
    save, folder = checkpoint.save, tmp_path / "run"

    def killed(path: Path, state: dict[str, Any]) -> None:
        if state["step"] == 10:
            raise MemoryError
        save(path, state)

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(checkpoint, "save", killed)
        search(MOVING, folder)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    config, state = read_run(folder)
    assert state["step"] == 5
    search(config, folder, state=state)
    assert_same_runs(folder, moved)


# ---------------------------------------------------------------- real processes


# A kill between two renamings leaves the checkpoint before, and a warning that says so.
@pytest.mark.filterwarnings("ignore:checkpoint .* went back")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_resumes_to_bitwise_the_same_run(
    number: signal.Signals,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever the moment: it is drawn anew each time the test runs."""
    folder = tmp_path / "run"
    command = [sys.executable, str(ROOT / "search.py"), "digits", "--out", str(folder)]
    for name, value in CHANGES.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    process = subprocess.Popen(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        log = folder / "metrics.jsonl"
        # The first row is written before the first checkpoint: a kill between them leaves none.
        saved = folder / "checkpoint.pt"
        while not (log.exists() and log.read_text().count("\n") and saved.exists()):
            assert process.poll() is None, "the search ended before its first line"
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.3))
        process.send_signal(number)
        printed, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert not (folder / "front.csv").exists()
    config, state = read_run(folder)
    assert config == TINY
    if number == signal.SIGKILL:
        assert process.returncode == -number
        assert state["step"] % 22 == 0 < state["step"]
    else:
        assert process.returncode == 128 + number
        stopped = re.fullmatch(r"stopped at step (\d+); go on with --resume (.*)\n", printed)
        assert stopped is not None and stopped[2] == str(folder)
        assert state["step"] == int(stopped[1]) >= 22

    monkeypatch.setattr(sys, "argv", ["search.py", "--resume", str(folder)])
    script.command()
    assert "Pareto members" in capsys.readouterr().out
    assert_same_runs(folder, finished)


def test_resuming_a_finished_run_writes_the_same_report(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it was killed while the pictures were drawn."""
    front = (finished / "front.csv").read_bytes()
    (finished / "front.csv").unlink()
    monkeypatch.setattr(sys, "argv", ["search.py", "--resume", str(finished)])
    script.command()
    assert (finished / "front.csv").read_bytes() == front
