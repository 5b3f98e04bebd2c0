"""The experiment on tuned weight decay, in small."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import records, weight_decay
from nas.weight_search.evidence import quality
from nas.weight_search.networks import Generated


def test_the_experiment_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"layers": ("6",), "epochs": 2, "runs": 2}
    names = (weight_decay.GRID, "global", "local")
    rows = {name: replace(weight_decay.ROWS[name], **small) for name in names}
    monkeypatch.setattr(weight_decay, "ROWS", rows)
    text = weight_decay.report(tmp_path)
    assert [line.split("|")[1].strip() for line in text.splitlines()[-3:]] == [
        "best of the grid", "global", "local"
    ]  # fmt: skip
    assert len(text.splitlines()) == 2 + 13 + 1 + 2 + 3
    alone = Generated.load(tmp_path / "row-0")
    found = json.loads((tmp_path / "row-0.json").read_text())
    chosen = weight_decay.best(found)
    place = found["val_nll"][1].index(min(found["val_nll"][1]))
    assert chosen["lam"][1] == [alone.lam_range.grid(13)[place, 0].item()]
    task = alone.task()
    tables = [layer.mean for layer in alone.at(chosen["lam"][1]).layers]
    wanted = float(quality(task, alone.chain, tables, task.test)[1, 0])
    assert chosen["test"][1][0] == pytest.approx(wanted)
    monkeypatch.setattr(records, "search", None)
    assert weight_decay.report(tmp_path) == text
