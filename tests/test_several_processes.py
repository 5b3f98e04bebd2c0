"""Two processes do together what one does alone on the joint batch."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cells.supernet
from nas.cell_search.config import SearchConfig
from nas.cell_search.searcher import Searcher
from nas.data.datasets import load_data
from nas.runtime import checkpoint
from nas.runtime.processes import Processes, start_processes, stop_processes

ROOT = Path(__file__).parent.parent
STEPS = 4
TINY = SearchConfig(
    channels=4,
    num_cells=1,
    batch_size=32,
    epochs=2,
    crop_padding=1,
    cutout=2,
    flip=True,
    arch_lr=0.01,
    costs=("latency", "params"),
    device="cpu",
    threads=1,
)
CONFIGS = {
    "softmax": replace(TINY, relax="softmax", hypernet="constant", hessian=True),
    "gumbel": replace(TINY, relax="gumbel", order="exact", hypernet="mlp"),
    "gumbel_example": replace(TINY, relax="gumbel_example", order="second", hypernet="piecewise"),
    "straight_through": replace(TINY, relax="straight_through", lams_per_step=2),
    # κ = 1: at κ = 0.01 the gradients of operations that no cell has are so near 0 that Adam
    # makes steps of their rounding errors.
    "score": replace(
        TINY, estimator="score", hypernet="piecewise", trained_cells="prior", arch_kl=1.0
    ),
    "darts": replace(TINY, relax="gumbel_example", space="darts", num_cells=2, channels=2),
    "generated": replace(TINY, weights="generated", kernel_embedding=8),
    "methods": replace(
        TINY, relax="dirichlet", perturb="random", regulariser="zero_one", edge_weights=True,
        partial_channels=(2,), bounds=("params=1500",), constraint="projection",
    ),
    "multiplier": replace(TINY, bounds=("flops=20k",), constraint="multiplier"),
}  # fmt: skip


def torchrun(
    arguments: Sequence[str], folder: Path, *, fails: bool = False
) -> subprocess.CompletedProcess[str]:
    """Runs a script in two processes, which must succeed, or must not."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launcher, *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode != 0) == fails, done.stderr[-3000:]
    return done


def outcome(searcher: Searcher) -> dict[str, Any]:
    """What the search has come to after `STEPS` steps, and what it logged."""
    for _ in range(STEPS):
        searcher.advance()
    return {
        "supernet": searcher.supernet.state_dict(),
        "hypernet": searcher.hypernet.state_dict(),
        "means": {name: average.mean for name, average in searcher.averages.items()},
        "hessian": tuple(searcher.hessian()) if searcher.config.hessian else (),
    }


def worker(folder: Path) -> None:
    """What each of the two processes does; the first also does it alone."""
    processes = start_processes("cpu")
    data = load_data("digits", Path("."))
    results: dict[str, Any] = {}
    gaussian = replace(TINY, weights="gaussian", costs=("kl", "flops"))
    results["gaussian"] = {"together": outcome(Searcher(gaussian, processes, data=data))}
    # Statistics of a batch couple its images: with them half a batch is another function.
    cells.supernet.SUPERNET_NORM = lambda channels, affine=True: nn.Identity()
    for name, config in CONFIGS.items():
        searcher = Searcher(config, processes, data=data)
        path = folder / f"start-{processes.rank}.pt"
        checkpoint.save(path, searcher.state())
        results[name] = {"together": outcome(searcher)}
        if processes.is_main:
            alone = Processes(0, 1, torch.device("cpu"))
            start = checkpoint.load(path)
            results[name]["start"] = start["supernet"] | start["hypernet"]
            # From its own first state, with the latencies on which both had agreed.
            results[name]["alone"] = outcome(Searcher(config, alone, data=data, state=start))
    torch.save(results, folder / f"{processes.rank}.pt")
    stop_processes()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What `worker` found in each process."""
    folder = tmp_path_factory.mktemp("two")
    torchrun([str(Path(__file__)), str(folder)], folder)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_equal_one_on_the_joint_batch(
    results: list[dict[str, Any]], name: str
) -> None:
    first = results[0][name]
    together, alone, start = (first[which] for which in ("together", "alone", "start"))
    for part in ("supernet", "hypernet"):
        for key, expected in alone[part].items():
            torch.testing.assert_close(together[part][key], expected, rtol=1e-5, atol=1e-5)
    for part in ("supernet", "hypernet"):  # far more than the tolerance
        far = max(float((alone[part][key] - start[key]).abs().max()) for key in alone[part])
        assert far > 1e-3
    assert together["means"].keys() == alone["means"].keys()
    for key, mean in alone["means"].items():
        assert together["means"][key] == pytest.approx(mean, rel=1e-4, abs=1e-5)
    assert together["hessian"] == pytest.approx(alone["hessian"], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", ["gaussian", *CONFIGS])
def test_both_processes_hold_the_same_parameters(results: list[dict[str, Any]], name: str) -> None:
    first, second = (each[name]["together"] for each in results)
    for part in ("supernet", "hypernet"):
        for key, tensor in first[part].items():
            assert torch.equal(tensor, second[part][key])
    assert first["means"] == second["means"]
    assert first["hessian"] == second["hessian"]


def test_two_processes_are_refused_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    taken = "taken exists: choose another --out, or go on with --resume taken"
    absent = "no such file or folder: 'no/data'; check the path"
    for options, line in ((["--out", "taken"], taken), (["--data", "no/data"], absent)):
        script = [str(ROOT / "search.py"), "digits", "--device", "cpu"]
        done = torchrun([*script, *options], tmp_path, fails=True)
        told = [each for each in done.stderr.splitlines() if each.startswith("error:")]
        assert told == [f"error: {line}"]
        assert "InputError" not in done.stderr and "RuntimeError" not in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["taken"]


def test_torchrun_leaves_one_folder_one_log_and_one_front(tmp_path: Path) -> None:
    options = "--space nasbench201 --channels 4 --num-cells 1 --batch-size 128 --epochs 2"
    options += " --warmup-epochs 1 --grid 5 --device cpu"
    done = torchrun([str(ROOT / "search.py"), "digits", *options.split()], tmp_path)
    assert done.stdout.count("Pareto members") == 1
    assert len(re.findall(r"100%", done.stderr)) == 1  # one progress bar
    (folder,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder.iterdir() if "checkpoint" not in path.name} == {
        *("config.json", "metrics.jsonl", "front.csv", "front.svg", "genotypes", "cells"),
    }
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["epoch"]) for row in rows] == [(5, 1), (10, 2)]
    assert checkpoint.load(folder / "checkpoint.pt")["step"] == 10
    with open(folder / "front.csv", newline="") as file:
        front = list(csv.DictReader(file))
    assert len(front) == len(list((folder / "genotypes").iterdir())) >= 1


if __name__ == "__main__":
    worker(Path(sys.argv[1]))
