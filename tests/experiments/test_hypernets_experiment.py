"""The experiment on generated networks, in small."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from experiments import records
from experiments.hypernets import bench as hypernets
from experiments.hypernets import small as hypernets_small
from experiments.hypernets.bench import BASE, ROWS, Bench, plain_loop, report
from experiments.hypernets.paper import LAMS
from nas.weight_search.pruning import SHARES


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """Networks and epochs that take a second."""
    changes = {"data": "digits", "layers": ("6",), "runs": 2, "batch_size": 256, "draws": 1}
    rows = {
        row: (name, replace(config, epochs=min(2, config.epochs), **changes))
        for row, (name, config) in ROWS.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hypernets, "ROWS", rows)
        patch.setattr(hypernets, "BASE", replace(BASE, data="digits"))
        patch.setattr(hypernets, "RUNS", 2)
        patch.setattr(hypernets, "DRAWS", 1)
        patch.setattr(hypernets, "SWEEP", 5)
        yield


@pytest.fixture(scope="module")
def done(small: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, str]:
    """All rows, trained, and the report of them."""
    folder = tmp_path_factory.mktemp("hypernets")
    bench = Bench(folder / "out", folder, 1)
    return bench, report(bench, list(ROWS))


def test_rows_have_the_papers_network_and_lams() -> None:
    assert BASE.layers == ("100",) and BASE.data == "mnist" and BASE.epochs == 25
    assert BASE.lam_range().grid(BASE.grid)[:, 0].tolist() == pytest.approx(LAMS)
    assert {config.epochs for row, (_, config) in ROWS.items() if row in "bdfh"} == {1}


def test_the_report_has_all_rows_and_is_only_read_the_second_time(
    done: tuple[Bench, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, text = done
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


def test_a_row_that_was_killed_early_is_trained_anew(small: None, tmp_path: Path) -> None:
    bench = Bench(tmp_path / "out", tmp_path, 1)
    folder = bench.folder("b")
    folder.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        (folder / name).touch()
    assert bench.generated("b").config.hypernet == "none"
    (folder / "front.csv").unlink()  # and one that was killed while it was written down goes on
    assert bench.generated("b").hypernet.runs == 2 and (folder / "front.csv").is_file()


def test_an_epoch_more_goes_on_from_the_hypernetwork(done: tuple[Bench, str]) -> None:
    """Its updates count those of the row before."""
    bench, _ = done
    text = hypernets.costs(bench, ["c", "d"])
    c, d = (float(line.split("|")[2]) for line in text.splitlines()[2:4])
    assert d >= c
    assert bench.config("d").start == str(bench.folder("c"))


def test_a_loop_is_timed_beside_all_at_once(
    done: tuple[Bench, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, _ = done
    monkeypatch.setattr(hypernets, "LAMS", (1.0,))
    assert "times as long" in plain_loop(bench)
    assert len(list(bench.out.glob("time-loop-*"))) == 2


def test_boston_stands_beside_other_models(
    tmp_path: Path, data_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = data_file("boston.csv").parent
    monkeypatch.setattr(hypernets_small, "SPLITS", 2)
    monkeypatch.setattr(hypernets_small, "BOSTON", replace(hypernets_small.BOSTON, epochs=60))
    monkeypatch.setattr(hypernets_small, "PENALTIES", [1.0])
    hypernets_small.boston_split(tmp_path, folder, 0)
    shutil.copy(tmp_path / "boston-0.json", tmp_path / "boston-1.json")
    text = hypernets_small.boston_table(tmp_path, folder)
    rows = [line.split("|")[1:] for line in text.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == [
        "λ = 0.01", "λ = 0.1", "λ = 1", "λ = 10", "ridge regression", "network with 50 units"
    ]  # fmt: skip
    errors = [float(row[1].split("±")[0]) for row in rows]
    assert all(2 < error < 10 for error in errors)
