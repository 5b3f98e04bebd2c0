"""k steps + resume + n steps are bitwise k + n steps, however the run was interrupted."""

import csv
import json
import shutil
import signal
import sys
from dataclasses import replace
from itertools import cycle
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
from nas.runtime.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))
# Its hypernetwork is told new costs at the end of every epoch.
MOVING = replace(
    PRESETS["digits"],
    space="nasbench201",
    weights="gaussian",
    costs=("kl",),
    hypernet="gibbs",
    channels=4,
    num_cells=1,
    batch_size=128,  # 5 steps an epoch
    epochs=3,
    warmup_epochs=0,
    grid=5,
    device="cpu",
    threads=1,
)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", Path("."))


def assert_same(found: Any, expected: Any, where: str = "") -> None:
    """Bit by bit, except for what the clock says."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for name in expected:
            if name not in ("latency", "seconds"):
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


WEIGHTS = ("point", "gaussian", "generated")
ORDERS = ("second", "first", "exact")


@pytest.mark.parametrize(
    ("relax", "weights", "order"),
    [
        *zip(RELAXATIONS, cycle(WEIGHTS), cycle(ORDERS)),
        ("softmax", "gaussian", "second"),
        ("straight_through", "generated", "first"),
    ],
)
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


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `MOVING` that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "moved"
    search(MOVING, folder)
    return folder


@pytest.mark.parametrize(
    ("step", "number"), [(1, signal.SIGTERM), (3, None), (7, signal.SIGINT), (10, signal.SIGTERM)]
)
def test_an_interrupted_search_ends_bitwise_the_same(
    moved: Path, step: int, number: signal.Signals | None, tmp_path: Path, interrupted: Any
) -> None:
    """By a signal, after which it saves, or at once, after which it redoes the epoch."""
    folder = tmp_path / "run"
    with interrupted(Searcher, step, number):
        search(MOVING, folder)
    assert not (folder / "front.csv").exists()
    config, state = read_run(folder)
    assert config == MOVING and state["step"] == (step if number else (step - 1) // 5 * 5)
    search(config, folder, state=state)
    assert_same_runs(folder, moved)


def test_resuming_a_finished_run_writes_the_same_report(
    moved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when it was killed while the pictures were drawn."""
    front = (moved / "front.csv").read_bytes()
    (moved / "front.csv").unlink()
    monkeypatch.setattr(sys, "argv", ["search.py", "--resume", str(moved)])
    script.command(sys.argv[1:])
    assert "Pareto members" in capsys.readouterr().out
    assert (moved / "front.csv").read_bytes() == front


# ---------------------------------------------------------------- another length


def resumed(monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["search.py", "--resume", str(folder), *options])
    script.main()


def test_a_finished_run_is_made_longer_and_says_what_that_is(
    moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(moved, tmp_path / "run")
    resumed(monkeypatch, folder, "--epochs", "4")
    assert "20 steps, not 15: from step 15 on the schedules" in capsys.readouterr().out
    config, state = read_run(folder)
    assert config == replace(MOVING, epochs=4) and state["step"] == 20
    assert json.loads((folder / "config.json").read_text()) == config.to_dict()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["exact"] is False
    assert [(each["from"], each["epochs"]) for each in manifest["courses"]] == [("step 15", 4)]
    # The steps that were asked for are taken at the learning rates of 4 epochs.
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    resumed(monkeypatch, folder)
    assert json.loads((folder / "manifest.json").read_text()) == manifest


def test_the_length_is_the_checkpoints_should_the_settings_not_be_written_any_more(
    moved: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(moved, tmp_path / "run")
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"epochs": 9}))
    assert read_run(folder)[0] == MOVING


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "2"], "the run is at step 15, beyond the 10 steps of 2 epochs"),
        (["--epochs", "9", "--warmup-epochs", "1"], "warmup_epochs cannot be 1 any more"),
        (["--epochs", "9", "--seed", "7"], "seed was 0, now 7"),
        (["--time", "5m"], "this run has begun without --time"),
        (["--time", "5m", "--epochs", "9"], "--time sets the length: leave --epochs out"),
    ],
)
def test_a_length_that_cannot_be_is_refused(
    moved: Path,
    options: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit):
        resumed(monkeypatch, moved, *options)
    assert message in capsys.readouterr().err
    after = {path: path.read_bytes() for path in moved.rglob("*") if path.is_file()}
    assert {p: b for p, b in after.items() if p.name != ".owner"} == {
        p: b for p, b in before.items() if p.name != ".owner"
    }
