"""The experiment on generated networks, in small."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from experiments import records
from experiments.hypernets import bench as hypernets
from experiments.hypernets import small
from experiments.hypernets.bench import BASE, ROWS, Bench, plain_loop, report
from experiments.hypernets.paper import LAMS
from nas.weight_search.pruning import SHARES


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    settings = {"data": "digits", "layers": ("6",), "runs": 2, "batch_size": 256, "draws": 1}
    rows = {
        row: (name, replace(config, epochs=min(2, config.epochs), **settings))
        for row, (name, config) in ROWS.items()
    }
    monkeypatch.setattr(hypernets, "ROWS", rows)
    monkeypatch.setattr(hypernets, "BASE", replace(BASE, data="digits"))
    monkeypatch.setattr(hypernets, "RUNS", 2)
    monkeypatch.setattr(hypernets, "DRAWS", 1)
    monkeypatch.setattr(hypernets, "SWEEP", 5)
    return Bench(tmp_path / "out", tmp_path, 1)


def test_rows_have_the_papers_network_and_lams() -> None:
    assert BASE.layers == ("100",) and BASE.data == "mnist" and BASE.epochs == 25
    assert BASE.lam_range().grid(BASE.grid)[:, 0].tolist() == pytest.approx(LAMS)
    assert {config.epochs for row, (_, config) in ROWS.items() if row in "bdfh"} == {1}


def test_the_report_has_all_rows_and_is_only_read_the_second_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = report(bench, list(ROWS))
    for row, (name, _) in ROWS.items():
        assert text.count(f"| {row} {name} |") == 7
    assert "(0.9016)" in text and "(-128,929)" in text  # the paper's
    for name in ("pruning.png", "sweep.png"):
        with PIL.Image.open(bench.out / name) as image:
            assert image.width > 1000
    found = bench.measured("d")
    assert np.array(found["curves"]).shape == (len(SHARES), 2, len(LAMS))
    assert np.array(found["evidence_train"]).shape == (2, len(LAMS))
    accuracy, stability = np.array(found["accuracy"]), np.array(found["stability"])
    left = np.array(found["curves"])[SHARES.index(0.9)]
    assert stability == pytest.approx(accuracy / left)
    monkeypatch.setattr(records, "search", None)
    assert report(bench, list(ROWS)) == text


def test_a_row_that_was_killed_early_is_trained_anew(bench: Bench) -> None:
    folder = bench.folder("b")
    folder.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        (folder / name).touch()
    assert bench.generated("b").config.hypernet == "none"
    (folder / "front.csv").unlink()  # and one that was killed while it was written down goes on
    assert bench.generated("b").hypernet.runs == 2 and (folder / "front.csv").is_file()


def test_an_epoch_more_goes_on_from_the_hypernetwork(bench: Bench) -> None:
    """Its updates count those of the row before."""
    text = hypernets.costs(bench, ["c", "d"])
    c, d = (float(line.split("|")[2]) for line in text.splitlines()[2:4])
    assert d >= c
    assert bench.config("d").start == str(bench.folder("c"))


def test_a_loop_is_timed_beside_all_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypernets, "LAMS", (1.0,))
    assert "times as long" in plain_loop(bench)
    assert len(list(bench.out.glob("time-loop-*"))) == 2


def test_boston_stands_beside_other_models(
    tmp_path: Path, data_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data_file("boston.csv").parent
    monkeypatch.setattr(small, "SPLITS", 2)
    monkeypatch.setattr(small, "BOSTON", replace(small.BOSTON, epochs=60))
    text = small.boston_table(tmp_path, folder)
    rows = [line.split("|")[1:] for line in text.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == [
        "λ = 0.01", "λ = 0.1", "λ = 1", "λ = 10", "ridge regression", "network with 50 units"
    ]  # fmt: skip
    errors = [float(row[1].split("±")[0]) for row in rows]
    assert all(2 < error < 10 for error in errors)
