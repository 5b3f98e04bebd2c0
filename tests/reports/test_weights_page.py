"""The page of a search in the space mlp: what its tables say, along λ, in a browser."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium, find_browser

from cells.errors import InputError
from nas.commands.prune import command as prune
from nas.commands.report import command
from nas.reports.page import PAGE
from nas.reports.weights_page import weights_document
from nas.run import search
from nas.runtime.owner import owning
from nas.weight_search import run as weight_run
from nas.weight_search.config import WEIGHT_PRESETS

RUN = Path(__file__).parents[1] / "golden" / "runs" / "mlp-digits"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = shutil.copytree(RUN, tmp_path_factory.mktemp("mlp") / "<b>mlp")
    with open(run / "prune-density-1.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["removed", "test_accuracy_run0", "test_accuracy_run1"],
                [0, 0.8, 0.6],
                [0.5, 0.4, 0.2],
            ]
        )
    command([str(run)])
    return run


def document_of(run: Path) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', (run / PAGE).read_text(), re.DOTALL)
    assert found is not None
    document: dict[str, Any] = json.loads(found[1])
    return document


def test_it_says_what_the_tables_say(run: Path) -> None:
    with open(run / "front.csv", newline="") as file:
        rows = [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    found = document_of(run)
    assert [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]] == rows
    panels = {panel["curves"][0]["name"]: panel for panel in found["along"]}
    for name in ("evidence", "kl", "accuracy"):
        (curve,) = panels[name]["curves"]
        assert panels[name]["at"] == [row["lam"] for row in rows] and panels[name]["logAlong"]
        assert curve["values"] == pytest.approx([row[name] for row in rows], rel=1e-4)
        assert curve["spread"] == pytest.approx([row[f"{name}_std"] for row in rows], rel=1e-4)
    (pruned,) = found["pruned"]
    assert pruned["at"] == [0, 0.5]
    assert pruned["curves"][0]["values"] == pytest.approx([0.7, 0.3])


def test_a_search_without_a_table_has_its_training_alone(run: Path, tmp_path: Path) -> None:
    unfinished = shutil.copytree(run, tmp_path / "run")
    (unfinished / "front.csv").unlink()
    command([str(unfinished)])
    found = document_of(unfinished)
    assert found["rows"] == found["along"] == []
    assert [panel["title"] for panel in found["panels"]] == ["loss, nats", "accuracy", "KL, nats"]
    assert not found["finished"] and document_of(run)["finished"]


def test_a_run_that_is_made_longer_goes_on(run: Path) -> None:
    settings = json.loads((run / "config.json").read_text())  # 2 epochs, which are over
    assert weights_document(run, settings)["finished"]
    assert not weights_document(run, settings | {"epochs": 3})["finished"]
    assert weights_document(run, settings | {"epochs": 3, "steps": 5})["finished"]  # cut short


def test_pruning_is_on_the_page_at_once(tmp_path: Path) -> None:
    run = shutil.copytree(RUN, tmp_path / "run")
    prune([str(run), "--lam", "1", "--by", "magnitude"])
    with open(run / "prune-magnitude-1.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    (panel,) = document_of(run)["pruned"]
    assert panel["at"] == pytest.approx([float(row["removed"]) for row in rows])
    assert panel["title"] == "accuracy by share removed, magnitude-1"


def test_a_search_that_goes_on_writes_what_is_pruned_itself(tmp_path: Path) -> None:
    run = shutil.copytree(RUN, tmp_path / "run")
    with owning(run):
        prune([str(run), "--lam", "1"])
    assert (run / "prune-density-1.csv").is_file() and not (run / PAGE).exists()


def test_a_search_that_goes_on_has_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[dict[str, Any]] = []
    write = weight_run.write_weights_page

    def noted(folder: Path, settings: dict[str, Any]) -> None:
        write(folder, settings)
        pages.append(document_of(folder) if (folder / PAGE).exists() else {})

    monkeypatch.setattr(weight_run, "write_weights_page", noted)
    monkeypatch.setattr(weight_run, "PAGE_EVERY", 0.0)
    config = replace(WEIGHT_PRESETS["mlp-digits"], epochs=3, grid=2)
    search(config, tmp_path / "run")
    live = [page for page in pages if page["epoch"] and not page["finished"]]
    assert [page["epoch"] for page in live] == [1, 2, 3]
    assert pages[-1]["finished"]
    browser = find_browser()
    if browser is None:
        pytest.skip("a browser wanted: no chromium is installed")
    (tmp_path / "run" / "front.csv").unlink()
    command([str(tmp_path / "run")])
    with chromium(browser) as tab:
        tab.open(tmp_path / "run" / PAGE)
        text = tab.run("document.getElementById('live').textContent")
        assert text == "searching: epoch 3 of 3 follow"
        assert tab.faults == []


def test_a_table_of_pruning_that_is_none_is_named(run: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(run, tmp_path / "run")
    (damaged / "prune-density-1.csv").write_text("removed\n0\n")
    with pytest.raises(InputError, match="has no columns removed and accuracy: prune again"):
        command([str(damaged)])


def test_keys_move_lam_in_a_browser(run: Path) -> None:
    path = find_browser()
    if path is None:
        pytest.skip("a browser wanted: no chromium is installed")
    rows = document_of(run)["rows"]
    with chromium(path) as tab:
        tab.look(390, 800)
        tab.open(run / PAGE)
        tab.press("End")
        lam = "document.querySelector('.readout b').textContent"
        assert float(tab.run(lam)) == rows[-1][0]
        tab.press("Home")
        assert float(tab.run(lam)) == rows[0][0]
        assert f"--lam {rows[0][0]:g}" in tab.run("document.querySelector('code').textContent")
        assert tab.run("document.getElementById('name').textContent") == "<b>mlp"
        assert tab.run("document.querySelectorAll('#along .now').length") == 3
        assert tab.run("document.documentElement.scrollWidth") <= 390
        assert tab.faults == []
        assert tab.requests == [(run / PAGE).resolve().as_uri()]
