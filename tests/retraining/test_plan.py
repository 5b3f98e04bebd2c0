"""What retrainings will take is measured on their own networks, and nothing of it stays."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import retrain as script
from cells.errors import InputError
from cells.notation import read_genotype
from nas.cell_search.config import SearchConfig
from nas.commands import family
from nas.commands.search import command as search_command
from nas.retraining import plan as planning
from nas.retraining.config import RetrainConfig, read_retraining
from nas.retraining.job import Job
from nas.retraining.plan import Plan, family_line, fitted, lines, within
from nas.runtime.course import Pace

CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
TINY = RetrainConfig(
    genotype=CELL, data="digits", channels=4, num_cells=1, batch_size=512, epochs=20,
    warmup_epochs=5, seeds=(0, 1), device="cpu", threads=1,
)  # fmt: skip


def planned(rate: float, config: RetrainConfig = TINY) -> Plan:
    """10 steps an epoch, at whose end are 2 s; 5 s for a test."""
    return Plan(config, Pace((rate,), 2.0), 10, 5.0, "digits", 2**30, 2**20)


def test_all_networks_have_one_length_that_ends_in_time() -> None:
    plans = [planned(0.5), planned(0.25)]
    # 200 steps: two seeds of 200 · 0.5 + 20 · 2 + 5 and of 200 · 0.25 + 20 · 2 + 5.
    assert [each.seconds() for each in plans] == [290.0, 190.0]
    assert within(plans, 480.0) == {"epochs": 20, "steps": None, "warmup_epochs": 5}
    course = within(plans, 265.0)
    steps = course["steps"]
    taken, more = (sum(each.seconds(n) for each in plans) for n in (steps, steps + 1))
    assert taken <= 265.0 < more and steps == 104
    assert course["epochs"] == -(-steps // 10) and course["warmup_epochs"] == round(steps / 40)
    with pytest.raises(InputError, match=r"time is too short: 20 s are left for a step and a test"):
        within(plans, 20.0)


def test_a_plan_is_told_in_lines() -> None:
    found = dict(lines([planned(0.5), planned(0.25)]))
    assert found["networks"] == "4, 200 steps each, 10 in an epoch"
    assert found["cell 1"].startswith("4 min 50 s: 0.5 s a step, 2 s at the end of an epoch")
    assert (found["all"], found["memory"]) == ("8 min 0 s", "1.00 GiB")
    assert lines([]) == [("all", "is done already")]


def test_a_search_tells_what_its_family_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three cells like the one in the middle, as long and where `nas family` trains them."""
    seen = []

    def measured(jobs: list[Job]) -> list[Plan]:
        seen.extend(jobs)
        return [planned(0.5, jobs[0].config)]

    monkeypatch.setattr(planning, "plan", measured)
    search = {"data": "digits", "channels": 4, "num_cells": 1}
    genotype = replace(read_genotype(CELL), search=search)
    name, text = family_line(genotype, SearchConfig(device="cpu", data_root="elsewhere"))
    # 18 epochs of 10 steps of one seed: 180 · 0.5 + 18 · 2 + 5 = 131 s each; 2.5 checkpoints each.
    assert (name, text) == (
        "family", "6 min 33 s and 7.5 MiB more, by nas family: 3 cells, 18 epochs each",
    )  # fmt: skip
    (job,) = seen
    assert job.genotype is genotype
    assert (job.config.epochs, job.config.data_root, job.config.device) == (18, "elsewhere", "cpu")


def test_others_have_the_length_of_what_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "plan", lambda jobs: pytest.fail("measured"))
    begun = replace(TINY, epochs=7, steps=61, warmup_epochs=2)
    jobs = [Job(TINY), Job(begun, Path("x"), resume=True)]
    first, second = fitted(jobs, 600.0, 0.0, [begun])
    assert first.config == begun and second is jobs[1]
    assert fitted([], 600.0, 0.0) == []


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the commands run."""
    monkeypatch.setenv("NAS_DATA", str(Path("data").absolute()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(monkeypatch: pytest.MonkeyPatch, *args: str) -> None:
    monkeypatch.setattr(sys, "argv", ["retrain.py", *args])
    script.main()


OPTIONS = (
    "--genotype", CELL, "--data", "digits", "--channels", "4", "--num-cells", "1",
    "--batch-size", "512", "--threads", "1", "--device", "cpu",
)  # fmt: skip


def test_a_dry_run_leaves_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, *OPTIONS, "--epochs", "3", "--seeds", "0", "1", "--dry-run")
    out = capsys.readouterr().out
    assert "networks   2, 6 steps each, 2 in an epoch" in out
    assert "nothing was written" in out
    assert not [*here.iterdir()]


def test_a_dry_run_of_a_search_leaves_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--epochs", "2", "--warmup-epochs", "1", "--grid", "5", "--chance", "2"]
    search_command(["digits", *OPTIONS[4:], *options, "--dry-run"])
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert told["steps"] == "2, 1 in an epoch"
    assert told["family"].endswith("more, by nas family: 3 cells, 18 epochs each")
    assert not [*here.iterdir()]


def test_a_time_sets_the_epochs_of_a_retraining(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        planning, "plan", lambda jobs: [Plan(jobs[0].config, Pace((1e8,), 0.0), 2, 0, "", 0, 0)]
    )
    # A clock on which five steps are what fits, whatever this machine takes.
    monkeypatch.setattr(planning, "within", lambda plans, left: within(plans, 5.5e8))
    command(monkeypatch, *OPTIONS, "--time", "1h", "--out", "run")
    assert "to end within 1 h 0 min: epochs 3, steps 5, warmup_epochs 0" in capsys.readouterr().out
    config = read_retraining(here / "run")
    assert (config.epochs, config.steps) == (3, 5)
    rows = (here / "run" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 3  # the last epoch is half of one
    for options in (["--time", "5m"], ["--dry-run"]):
        with pytest.raises(SystemExit):
            command(monkeypatch, "--resume", "run", *options)
        assert "keeps its length" in capsys.readouterr().err


def test_a_dry_run_of_a_family_leaves_the_run_as_it_was(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    family.command([str(run), "--cells", "2", "--epochs", "2", "--batch-size", "512", "--dry-run"])
    out = capsys.readouterr().out
    assert "cell 1" in out and "networks   2, 4 steps each" in out
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
