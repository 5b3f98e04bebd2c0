"""Retraining along a front: which cells, what is left, and that finished work is kept."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from cells.errors import InputError
from nas.commands.family import command
from nas.commands.retrain import command as retrain_command
from nas.reports.report import read_rows
from nas.retraining.family import (
    job_works,
    retrain_family,
    retrained_folder,
    retraining,
    spread,
)
from nas.retraining.trainer import Trainer
from nas.run import read_any_run, search
from nas.runtime.metrics import MetricsLog
from nas.runtime.owner import owning

ROOT = Path(__file__).parents[2]
OPTIONS = ["--epochs", "1", "--warmup-epochs", "0", "--device", "cpu"]
# Two cells of two seeds each, in two epochs of five steps.
FOUR = ["--cells", "2", "--seeds", "0", "3", "--batch-size", "256", "--epochs", "2", *OPTIONS[2:]]


def rows(*costs: float, dominated: tuple[float, ...] = ()) -> list[dict[str, object]]:
    return [{"params": cost, "pareto": cost not in dominated} for cost in costs]


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    """A finished search of one's own."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, [9]), (2, [9, 1]), (3, [9, 4, 1]), (4, [9, 7, 4, 1]), (5, [9, 7, 4, 2, 1]), (8, None)],
)
def test_cells_are_spread_between_the_dearest_and_the_cheapest(
    count: int, expected: list[int] | None
) -> None:
    front = rows(4, 1, 9, 2, 7, 8, dominated=(8,))
    chosen = [row["params"] for row in spread(front, "params", count)]
    assert chosen == (expected or [9, 7, 4, 2, 1])


def test_a_family_is_retrained_once(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    results = retrain_family(run, 2, OPTIONS)
    front = sorted((row for row in read_rows(run) if row["pareto"]), key=lambda r: r["params"])
    assert [result["file"] for result in results] == [front[-1]["file"], front[0]["file"]]
    for result, row in zip(results, (front[-1], front[0]), strict=True):
        assert result["params"] == row["params"]
        assert result["flops"] == row["flops"]
        folder = run / "retrained" / Path(row["file"]).stem
        assert json.loads((folder / "result.json").read_text())["mean"] == result["test_accuracy"]
    with open(run / "retrained.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(line["test_accuracy"]) for line in table] == [
        result["test_accuracy"] for result in results
    ]
    assert "retrained" in (run / "front.svg").read_text()

    assert {line["test_accuracy_std"] for line in table} == {""}  # of a single seed
    assert "s.d." not in (run / "front.svg").read_text()

    # A search that is gone on with draws its report again, with what was retrained.
    picture = (run / "front.svg").read_bytes()
    (run / "front.svg").unlink()
    config, state = read_any_run(run)
    search(config, run, state=state)
    assert (run / "front.svg").read_bytes() == picture

    before = {path: path.stat().st_mtime_ns for path in (run / "retrained").rglob("*")}
    assert retrain_family(run, 2, OPTIONS) == results
    assert {path: path.stat().st_mtime_ns for path in (run / "retrained").rglob("*")} == before
    with pytest.raises(InputError, match="was retrained with epochs 1, not 2") as error:
        retrain_family(run, 2, ["--epochs", "2", *OPTIONS[2:]])
    assert "\n" not in str(error.value)

    # Where it is done, and from where the run is looked at, makes no other network of it.
    monkeypatch.chdir(run.parent)
    moved = retrain_family(Path(run.name), 2, [*OPTIONS[:-1], "auto", "--data-root", "elsewhere"])
    assert moved == results
    capsys.readouterr()
    command([str(run), "--cells", "2", *OPTIONS])
    assert "±" not in capsys.readouterr().out

    # An interrupted retraining is held against the same options.
    for path in (run / "retrained").glob("*/result.json"):
        path.unlink()
    with pytest.raises(InputError, match="was retrained with epochs 1, not 2"):
        retrain_family(run, 2, ["--epochs", "2", *OPTIONS[2:]])


def record(run: Path) -> dict[str, Any]:
    """Everything that a family leaves but times, bit by bit."""
    found: dict[str, Any] = {}
    for path in sorted(run.glob("retrained/[!.]*/*")):
        name = str(path.relative_to(run))
        if path.name == "metrics.jsonl":
            found[name] = [row | {"seconds": 0} for row in MetricsLog(path).read()]
        elif path.name == "result.json":
            found[name] = json.loads(path.read_text()) | {"seconds": 0}
        elif path.suffix == ".safetensors":
            found[name] = {key: tensor.tolist() for key, tensor in load_file(path).items()}
    with open(run / "retrained.csv", newline="") as file:
        found["table"] = [row | {"seconds": ""} for row in csv.DictReader(file)]
    return found


@pytest.fixture(scope="module")
def whole(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a family leaves that nothing interrupted."""
    run = Path(shutil.copytree(run_folder, tmp_path_factory.mktemp("family") / "run"))
    command([str(run), *FOUR])
    found = record(run)
    assert len(found) == 2 * 4 + 1
    return found


def test_an_interrupted_family_goes_on_with_the_same_command(
    run: Path, whole: dict[str, Any], interrupted: Any
) -> None:
    """In the middle of an epoch, of the second seed, of the second cell; at the very end."""
    args = [str(run), *FOUR]
    with interrupted(Trainer, 3, signal.SIGINT) as stopped:
        command(args)
    (folder,) = (run / "retrained").iterdir()
    message = f"stopped at step 3 of {folder.name}, seed 0; go on with the same command"
    assert str(stopped.value) == message
    for step, number in ((7 + 8, None), (5 + 1, signal.SIGTERM), (9 + 10, signal.SIGTERM)):
        with interrupted(Trainer, step, number):
            command(args)
    with open(run / "retrained.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 1  # what is done is told
    command([*args, "--at-once", "2"])
    assert record(run) == whole


def end_time(owner: Path, times: int = 1) -> None:
    """Sends jobs the signal with which an engine says that their time is over.

    A job is the parent of the process that owns a folder; SLURM sends the signal to both.

    Args:
        owner: file that names that process.
        times: how often, to a job that has begun since.
    """
    deadline, former = time.monotonic() + 600, ""
    for _ in range(times):
        while not (owner.exists() and owner.read_text() not in ("", former)):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        former = owner.read_text()
        process = former.split()[1]
        os.kill(int(process), signal.SIGSTOP)  # it does not end meanwhile
        parent = subprocess.check_output(["ps", "-o", "ppid=", "-p", process], text=True)
        os.kill(int(process), signal.SIGUSR2)
        os.kill(int(parent), signal.SIGUSR2)
        os.kill(int(process), signal.SIGCONT)


def test_jobs_train_a_seed_each_and_are_queued_again_when_their_time_is_over(
    run: Path, whole: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    row = spread(read_rows(run), "params", 1)[0]
    folder = retrained_folder(run, row)
    ending = threading.Thread(target=end_time, args=(folder / ".owner-seed-0",))
    ending.start()
    command([str(run), "--cells", "1", *FOUR[2:], "--launcher", "local"])
    ending.join()

    logs = run / "jobs"
    jobs = re.findall(r"^job (\d+): (.+)$", capsys.readouterr().out, re.MULTILINE)
    told = {words.partition(str(folder))[2].strip(): number for number, words in jobs}
    assert list(told) == ["--only 0", "--only 3", ""]
    said = (logs / f"{told['--only 0']}_0_log.out").read_text()
    assert said.count("Starting with") == 2  # it is begun twice
    assert "stopped at step" in said and f"go on with --resume {folder}" in said
    assert "Starting with" in (logs / f"{told['--only 3']}_0_log.out").read_text()
    found = record(run)
    assert found.pop("table") == whole["table"][:1]
    assert found == {name: each for name, each in whole.items() if folder.name in name}
    assert not list(folder.glob("metrics-seed-*"))


def test_slurm_is_told_the_time_and_queues_again(
    run: Path, whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is over twice; the second time the cluster does not queue the job again."""
    programs, state = tmp_path / "bin", tmp_path / "slurm"
    programs.mkdir()
    state.mkdir()
    for name in ("sbatch", "controller", "srun", "sacct", "scontrol", "scancel"):
        text = (Path(__file__).parent / "fake_slurm.py").read_text()
        (programs / name).write_text(f"#!{sys.executable}\n{text}")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    monkeypatch.setenv("PYTHONPATH", "")
    row = spread(read_rows(run), "params", 1)[0]
    folder, logs = retrained_folder(run, row), run / "jobs"
    ending = threading.Thread(target=end_time, args=(folder / ".owner", 2))
    ending.start()
    options = ["--job-time", "7", "--job-options", "cpus_per_task=2", "slurm_partition=long"]
    command([str(run), "--cells", "1", *FOUR[2:], "--seeds", "0", "--launcher", "slurm", *options])
    ending.join()

    batch = (state / "100.sh").read_text()
    for line in ("job-name=nas", "time=7", "signal=USR2@90", "open-mode=append", "partition=long"):
        assert f"#SBATCH --{line}\n" in batch
    assert "#SBATCH --cpus-per-task=2\n" in batch
    assert f"{sys.executable} -u -m submitit.core._submit {logs}" in batch
    said = [(logs / f"{number}_0_log.out").read_text() for number in (100, 101)]
    assert [text.count("Starting with") for text in said] == [2, 1]
    assert "Requeued job 100 (999 remaining timeouts)" in said[0]
    assert {path.name for path in state.glob("*.sh")} == {"100.sh", "101.sh"}
    networks = [record(run)[f"retrained/{folder.name}/model.safetensors"]]
    assert networks == [whole[f"retrained/{folder.name}/model.safetensors"]]


def test_what_jobs_leave_undone_goes_on_without_them(
    run: Path, whole: dict[str, Any], interrupted: Any
) -> None:
    """A network trained alone, another begun alone; the family goes on with both."""
    row = spread(read_rows(run), "params", 1)[0]
    job = retraining(run, row, FOUR[2:])
    assert job is not None and job.folder is not None
    first, second, last = job_works(job, 1, run / "jobs")
    assert (first.after, second.after) == ((), (str(job.folder),))
    assert last.after == (first.mark, second.mark)
    retrain_command(first.begin[1:])
    with interrupted(Trainer, 7, signal.SIGTERM):
        retrain_command(second.go_on[1:])
    assert not (job.folder / "result.json").exists()
    with owning(job.folder, part="seed-3"):
        with pytest.raises(InputError, match="in use by process"):
            retrain_command(second.go_on[1:])
        with pytest.raises(InputError, match="in use by process"):
            command([str(run), *FOUR])
        retrain_command(first.go_on[1:])
    command([str(run), *FOUR])
    assert record(run) == whole


def test_seeds_that_a_gpu_trains_side_by_side_are_one_job(run: Path) -> None:
    job = retraining(run, spread(read_rows(run), "params", 1)[0], FOUR[2:])
    assert job is not None
    (work,) = job_works(job, 2, run / "jobs")
    assert work.begin[-4:] == ("--at-once", "2", "--out", str(job.folder))
    single = job._replace(config=replace(job.config, seeds=(3,)))
    assert len(job_works(single, 1, run / "jobs")) == 1


KILLED = """
import os, signal, sys
from nas.commands.family import command
from nas.commands.retrain import command as retrain_command
from nas.retraining.trainer import Trainer

advance, steps = Trainer.advance, iter(range(1, 100))

def killed(trainer):
    if next(steps) == 27:  # the seventh of the second cell
        os.kill(os.getpid(), signal.SIGKILL)
    advance(trainer)

Trainer.advance = killed
command(sys.argv[1:])
"""


def test_a_killed_family_goes_on_with_the_same_command(run: Path, whole: dict[str, Any]) -> None:
    args = [str(run), *FOUR]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *args],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(list((run / "retrained").glob("*/result.json"))) == 1
    command(args)
    assert record(run) == whole


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere"], "nowhere"),
        (["{run}", "--cells", "0"], "cells must be at least 1, got 0"),
        (["{run}", "--cells", "x"], "invalid int value: 'x'"),
        (["{run}", "--at-once", "0"], "at-once must be at least 1, got 0"),
        (["{run}", "--epoch", "2"], "unknown option '--epoch': did you mean '--epochs'?"),
    ],
)
def test_errors_take_one_line(args: list[str], message: str, run: Path) -> None:
    with pytest.raises(InputError) as caught:
        command([arg.format(run=run) for arg in args])
    assert "\n" not in str(caught.value) and message in str(caught.value)
    assert not (run / "retrained").exists()
