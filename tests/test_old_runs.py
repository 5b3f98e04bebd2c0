"""Run folders of version 0.1.0 before its house was redrawn: read, asked, gone on with, retrained.

`tests/golden/runs` was written by that version, on 8×8 digits, and never is again; `expected.json`
has what it made of them. Pictures and earlier checkpoints are left out.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import nas
from nas.cell_search.folder import read_run
from nas.commands.family import command as family
from nas.reports.report import read_rows
from nas.retraining.config import read_retraining
from nas.retraining.job import Job
from nas.retraining.run import retrain_each
from nas.run import read_any_run, search
from nas.weight_search.networks import Generated

RUNS = Path(__file__).parent / "golden" / "runs"
EXPECTED: dict[str, Any] = json.loads((RUNS / "expected.json").read_text())
FINISHED = ("digits", "nasbench201", "darts-cc", "bounded", "stages", "two-searches")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return shutil.copytree(RUNS, tmp_path / "runs")


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_search_answers_as_it_did(name: str) -> None:
    front = nas.load_front(RUNS / name)
    assert front.choices(front.lam_range.grid(5)).tolist() == EXPECTED[name]
    assert len(read_rows(RUNS / name)) == len({tuple(cell) for cell in EXPECTED[name]})


@pytest.mark.parametrize("name", FINISHED)
def test_resuming_a_finished_search_writes_its_report_again(name: str, runs: Path) -> None:
    before = read_rows(runs / name)
    config, state = read_any_run(runs / name)
    search(config, runs / name, state=state)
    after = read_rows(runs / name)
    assert [row["genotype"] for row in after] == [row["genotype"] for row in before]
    assert [row["val_accuracy"] for row in after] == pytest.approx(
        [row["val_accuracy"] for row in before], abs=0.03
    )


def test_an_interrupted_search_goes_on_to_the_same_cells(runs: Path) -> None:
    config, state = read_any_run(runs / "interrupted")
    assert state["step"] < config.epochs * 3
    search(config, runs / "interrupted", state=state)
    front = nas.load_front(runs / "interrupted")
    assert front.choices(front.lam_range.grid(5)).tolist() == EXPECTED["interrupted"]
    rows = (runs / "interrupted" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["train_loss"] == pytest.approx(
        EXPECTED["interrupted loss"], rel=1e-3
    )


def test_generated_networks_are_read() -> None:
    config, _ = read_any_run(RUNS / "mlp-digits")
    assert config == Generated.load(RUNS / "mlp-digits").config
    network = Generated.load(RUNS / "mlp-digits").network(1.0)
    assert network(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_a_network_computes_what_it_did() -> None:
    with pytest.warns(UserWarning, match="has no hash"):
        network = nas.load(RUNS / "network.safetensors")
    found = network(torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8))[0]
    assert found.tolist() == pytest.approx(EXPECTED["network"], rel=1e-4, abs=1e-5)


def test_an_interrupted_retraining_goes_on(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    folder = Path("retraining")
    ((_, result),) = retrain_each([Job(read_retraining(folder), folder, resume=True)])
    assert result is not None
    assert result["test_accuracy"] == pytest.approx([EXPECTED["retraining"]], abs=0.01)


def test_cells_of_a_former_search_are_retrained(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--cells", "1", "--epochs", "1", "--warmup-epochs", "0", "--device", "cpu"]
    family([str(runs / "digits"), *options])
    assert (runs / "digits" / "retrained.csv").is_file()
    assert read_run(runs / "digits")[0].data == "digits"
