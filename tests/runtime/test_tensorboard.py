"""Event files have the numbers of metrics.jsonl, those of steps that are redone once."""

import shutil
from importlib import util
from pathlib import Path

import pytest

from cells.errors import InputError
from nas.runtime import tensorboard
from nas.runtime.metrics import MetricsLog
from nas.runtime.tensorboard import board, require_board

ROWS = [
    {"step": 5, "loss": 0.5, "kl": [1.0, 2.0], "note": "text", "gone": None},
    {"step": 10, "loss": 0.25, "kl": [1.5, 2.5]},
]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {
        tag: [(event.step, event.value) for event in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def test_the_board_has_what_the_log_has(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl", board(True, tmp_path / "events", 0))
    for row in ROWS:
        log.append(row)
    log.close()
    # A resume from step 5 takes the second row anew.
    log = MetricsLog(tmp_path / "metrics.jsonl", board(True, tmp_path / "events", 5))
    log.append(ROWS[1])
    log.close()
    assert scalars(tmp_path / "events") == {
        "loss": [(5, 0.5), (10, 0.25)],
        "kl/0": [(5, 1.0), (10, 1.5)],
        "kl/1": [(5, 2.0), (10, 2.5)],
    }
    assert len(log.read()) == 3
    shutil.rmtree(tmp_path / "events")
    MetricsLog(tmp_path / "other.jsonl", board(False, tmp_path / "events", 0)).append(ROWS[0])
    assert not (tmp_path / "events").exists()


def test_a_missing_package_is_told_before_any_step(monkeypatch: pytest.MonkeyPatch) -> None:
    require_board(True)
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    require_board(False)
    with pytest.raises(InputError, match=r"pip install 'lambda-nas\[tensorboard\]'"):
        require_board(True)
    assert util.find_spec("tensorboard") is not None
