"""Two processes do together what one does alone on the joint batch.

All of it happens in one start of torchrun, as PyTorch takes seconds to load.
"""

import csv
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import cells.supernet
import retrain
import search
from cells.errors import InputError
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

SEARCH = (
    "digits --space nasbench201 --channels 4 --num-cells 1 --batch-size 128 --epochs 2 "
    "--warmup-epochs 1 --grid 5 --device cpu"
)
# Some weights of this cell have no way to the output, which DDP has to bear.
DEAD_END = "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"
RETRAIN = (
    f"--genotype {DEAD_END} --data digits --channels 4 --num-cells 2 --epochs 1 --batch-size 256 "
    "--warmup-epochs 0 --device cpu"
)
COMMANDS = {
    "search": (search.main, SEARCH),
    "retrain": (retrain.main, f"{RETRAIN} --seeds 0 1"),
    "search, folder taken": (search.main, f"{SEARCH} --out taken"),
    "search, no data": (search.main, f"{SEARCH} --data no/data"),
    "retrain, folder taken": (retrain.main, f"{RETRAIN} --out taken"),
}


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


def compare(folder: Path, processes: Processes) -> dict[str, Any]:
    """What searches of both processes come to; the first also makes them alone."""
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
    return results


def exchange(processes: Processes) -> dict[str, Any]:
    """What the two processes tell each other."""

    def attempt(method: Callable[[Callable[[], Any]], Any], run: Callable[[], Any]) -> Any:
        try:
            return method(run)
        except InputError as error:
            return f"refused: {error}"

    def refuse() -> None:
        raise InputError("no such λ")

    def fail_in(which: int) -> Callable[[], int]:
        def run() -> int:
            if rank == which:
                Path("no/such/file").read_bytes()
            return rank

        return run

    rank = processes.rank
    tensors = [
        torch.full((2, 3), 1.0 + rank),
        torch.tensor(1e-17 + rank, dtype=torch.float64),
        torch.tensor([[4.0], [8.0]], dtype=torch.bfloat16).T * (1 + 2 * rank),
    ]
    in_main = (lambda: "done", refuse, fail_in(0), fail_in(1))
    main_first = (refuse, fail_in(0), fail_in(1), fail_in(2))
    processes.barrier()
    return {
        "in_main": [attempt(processes.in_main, run) for run in in_main],
        "main_first": [attempt(processes.main_first, run) for run in main_first],
        "processes": (processes.rank, processes.world, processes.is_main),
        "average": processes.average(tensors),
        "none": processes.average([]),
        "any": [processes.any_process(flag) for flag in (False, rank == 1, True)],
    }


def typed(main: Callable[[], None], words: Sequence[str]) -> tuple[Any, str, str]:
    """Exit status, output and errors of a command typed at both processes."""
    sys.argv = ["a script", *words]
    out, err, status = io.StringIO(), io.StringIO(), None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as leave:
            status = leave.code
    return status, out.getvalue(), err.getvalue()


def worker(folder: Path, ports: Sequence[str]) -> None:
    """What each of the two processes does; they meet and part several times."""
    processes = start_processes("cpu")
    results: dict[str, Any] = {"exchange": exchange(processes)}
    stop_processes(processes)
    # Torchrun's own store has kept what was said; each further meeting has a port and a store.
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
    for port, (name, (main, words)) in zip(ports, COMMANDS.items(), strict=False):
        os.environ["MASTER_PORT"] = port
        results[name] = typed(main, words.split())
        assert not torch.distributed.is_initialized()
    os.environ["MASTER_PORT"] = ports[-1]
    processes = start_processes("cpu")
    results["searches"] = compare(folder, processes)
    torch.save(results, folder / f"{processes.rank}.pt")
    stop_processes(processes)


def free_ports(count: int) -> list[str]:
    """Ports that nobody listens at."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes did the work of `worker`."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "taken").mkdir()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launcher, __file__, str(folder), *free_ports(len(COMMANDS) + 1)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def results(folder: Path) -> list[dict[str, Any]]:
    """What `worker` found in each process."""
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def test_two_processes_exchange_values_and_errors(results: list[dict[str, Any]]) -> None:
    absent = "refused: No such file or directory: no/such/file: check the path"
    refused = ["refused: no such λ", absent]
    for rank in (0, 1):
        found = results[rank]["exchange"]
        assert found["processes"] == (rank, 2, rank == 0)
        assert found["none"] == ()
        assert found["any"] == [False, True, True]
        assert found["in_main"] == (["done", *refused, 0] if rank == 0 else [None, *refused, None])
        assert found["main_first"] == [*refused, absent, rank]
        wide, double, half = found["average"]
        assert torch.equal(wide, torch.full((2, 3), 1.5))
        assert double.dtype == torch.float64 and double.shape == () and double.item() == 0.5
        assert torch.equal(half, torch.tensor([[8.0, 16.0]], dtype=torch.bfloat16))


@pytest.mark.parametrize("name", CONFIGS)
def test_two_processes_equal_one_on_the_joint_batch(
    results: list[dict[str, Any]], name: str
) -> None:
    first = results[0]["searches"][name]
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
    first, second = (each["searches"][name]["together"] for each in results)
    for part in ("supernet", "hypernet"):
        for key, tensor in first[part].items():
            assert torch.equal(tensor, second[part][key])
    assert first["means"] == second["means"]
    assert first["hessian"] == second["hessian"]


TAKEN = "taken exists: choose another --out, or go on with --resume taken"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("search, folder taken", TAKEN),
        (
            "search, no data",
            "no such file or folder: 'no/data', looked for in 'HERE'; check the path",
        ),
        ("retrain, folder taken", TAKEN),
    ],
)
def test_two_processes_are_refused_with_one_line(
    results: list[dict[str, Any]], folder: Path, name: str, line: str
) -> None:
    line = line.replace("HERE", str(folder))
    assert [each[name] for each in results] == [(2, "", f"error: {line}\n"), (2, "", "")]
    assert not list((folder / "taken").iterdir())
    assert len(list((folder / "runs").iterdir())) == 2  # one of `search`, one of `retrain`


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_leave_one_folder_one_log_and_one_front(
    results: list[dict[str, Any]], folder: Path
) -> None:
    (status, out, err), (other, nothing, silence) = (each["search"] for each in results)
    assert (status, other, nothing, silence) == (None, None, "", "")
    assert out.count("Pareto members") == 1
    assert len(re.findall(r"100%", err)) == 1  # one progress bar
    run = folder / "runs" / "digits"
    assert {path.name for path in run.iterdir() if "checkpoint" not in path.name} == {
        *(".owner", "config.json", "metrics.jsonl", "front.csv", "front.svg", "genotypes", "cells"),
        *("SHA256SUMS", "manifest.json", "report.html", "distributions.jsonl", "chance.csv"),
    }
    assert [(row["step"], row["epoch"]) for row in log(run)] == [(5, 1), (10, 2)]
    assert checkpoint.load(run / "checkpoint.pt")["step"] == 10
    with open(run / "front.csv", newline="") as file:
        front = list(csv.DictReader(file))
    assert len(front) == len(list((run / "genotypes").iterdir())) >= 1


def test_two_processes_retrain_together(results: list[dict[str, Any]], folder: Path) -> None:
    (status, out, _), other = (each["retrain"] for each in results)
    assert (status, other[:2]) == (None, (None, ""))
    assert out.count("test accuracy") == 1
    (run,) = (folder / "runs").glob("retrain-*")
    assert json.loads((run / "result.json").read_text())["machine"]["processes"] == 2
    assert [row["step"] for row in log(run)] == [5, 10]
    assert {path.name for path in run.glob("model*")} == {
        "model.safetensors",
        "model-seed-1.safetensors",
    }


if __name__ == "__main__":
    worker(Path(sys.argv[1]), sys.argv[2:])
