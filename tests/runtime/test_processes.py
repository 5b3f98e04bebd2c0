"""Streams, devices, processes, signals, files and errors on one line."""

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from cells.errors import InputError
from nas.runtime.commandline import run_script
from nas.runtime.files import write_atomically
from nas.runtime.processes import Processes, Stopped, StopSignal, has_bfloat16, start_processes
from nas.runtime.streams import stream

TORCHRUN_SCRIPT = """
import sys, torch
from cells.errors import InputError
from nas.runtime.processes import start_processes, stop_processes

processes = start_processes("cpu")
rank = processes.rank
tensors = [
    torch.full((2, 3), 1.0 + rank),
    torch.tensor(1e-17 + rank, dtype=torch.float64),
    torch.tensor([[4.0], [8.0]], dtype=torch.bfloat16).T * (1 + 2 * rank),
]
def attempt(method, action):
    try:
        return method(action)
    except InputError as error:
        return f"refused: {error}"

def refuse():
    raise InputError("no such λ")

def fail_in(which):
    def run():
        if rank == which:
            open("no/such/file")
        return rank
    return run

results = {
    "in_main": [
        attempt(processes.in_main, run) for run in (lambda: "done", refuse, fail_in(0), fail_in(1))
    ],
    "main_first": [
        attempt(processes.main_first, run) for run in (refuse, fail_in(0), fail_in(1), fail_in(2))
    ],
    "rank": rank,
    "world": processes.world,
    "is_main": processes.is_main,
    "average": list(processes.average(tensors)),
    "none": processes.average([]),
    "any": [processes.any_process(flag) for flag in (False, rank == 1, True)],
}
processes.barrier()
torch.save(results, f"{sys.argv[1]}/{rank}.pt")
stop_processes()
"""


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets the operating system refuse writes beyond a size, as a full disk does."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_stream_is_seeded_by_sha256_of_its_arguments() -> None:
    # printf '7/lams/3' | sha256sum  ->  d101e9c5f0bdb3b8…; its first 63 bits
    assert stream(7, "lams", 3).initial_seed() == int("d101e9c5f0bdb3b8", 16) >> 1


def test_streams_are_independent_of_each_other_and_of_earlier_draws() -> None:
    again = [stream(0, "lams", 5) for _ in range(2)]
    torch.rand(1000, generator=stream(0, "lams", 4))
    assert torch.equal(*(torch.rand(9, generator=generator) for generator in again))
    keys = [(seed, name, i) for seed in (0, 1) for name in ("lams", "noise") for i in range(500)]
    first = torch.stack([torch.rand(2, generator=stream(*key)).double() for key in keys])
    assert len(first.unique(dim=0)) == len(keys)
    # Uniform on [0, 1]: mean 1/2, variance 1/12, neighbours uncorrelated; five standard errors.
    assert first.mean().item() == pytest.approx(0.5, abs=5 * (1 / 12 / first.numel()) ** 0.5)
    centred = first[:, 0] - 0.5
    lag_one = (centred[1:] * centred[:-1]).mean().item() * 12
    assert lag_one == pytest.approx(0, abs=5 / len(keys) ** 0.5)


@pytest.mark.parametrize("device", ["cud", "meta", "cuda:99", "", "cpu cpu"])
def test_unknown_device_is_an_input_error(device: str) -> None:
    with pytest.raises(InputError, match=f"^no device '{device}': "):
        start_processes(device)


def test_cuda_without_a_gpu_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(InputError, match=r"choose cpu$"):
        start_processes("cuda")
    assert start_processes("auto") == Processes(rank=0, world=1, device=torch.device("cpu"))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"ask for 'cuda'$"):
        start_processes("cuda:0")


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", None])
def test_a_cpu_has_bfloat16_by_its_instructions(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"avx2": True, "avx512_bf16": False, "amx_bf16": False} | ({name: True} if name else {})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert has_bfloat16(torch.device("cpu")) == (name is not None)
    assert not has_bfloat16(torch.device("meta"))


def test_one_process_needs_no_group() -> None:
    processes = start_processes("cpu")
    tensor = torch.ones(2)
    assert processes.average([tensor])[0] is tensor
    assert [processes.any_process(flag) for flag in (False, True)] == [False, True]
    processes.barrier()
    assert processes.is_main and not torch.distributed.is_initialized()


def test_two_processes_average(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TORCHRUN_SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run(
        [*command, "--nproc_per_node=2", str(script), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=120,
    )
    for rank in (0, 1):
        results = torch.load(tmp_path / f"{rank}.pt")
        assert (results["rank"], results["world"]) == (rank, 2)
        assert results["is_main"] == (rank == 0)
        assert results["none"] == ()
        assert results["any"] == [False, True, True]
        absent = "refused: No such file or directory: no/such/file: check the path"
        refused = ["refused: no such λ", absent]
        done = ["done", *refused, 0] if rank == 0 else [None, *refused, None]
        assert results["in_main"] == done
        assert results["main_first"] == [*refused, absent, rank]
        wide, double, half = results["average"]
        assert torch.equal(wide, torch.full((2, 3), 1.5))
        assert double.dtype == torch.float64 and double.shape == () and double.item() == 0.5
        assert torch.equal(half, torch.tensor([[8.0, 16.0]], dtype=torch.bfloat16))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_signal_sets_the_flag_and_restores_handlers(number: signal.Signals) -> None:
    former = signal.getsignal(number)
    with StopSignal() as stop:
        assert stop.received is None
        os.kill(os.getpid(), number)
        assert stop.received == number
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.received == number
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(number) is former


def open_missing() -> None:
    Path("no/such/file").read_bytes()


def make_existing() -> None:
    os.mkdir("/")


def fill_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "runs/x/checkpoint.pt")


def refuse() -> None:
    raise InputError("λ must be positive,\n got -0.5")


@pytest.mark.parametrize(
    ("main", "line"),
    [
        (open_missing, "error: No such file or directory: no/such/file: check the path"),
        (make_existing, "error: File exists: /: choose another name, or remove it first"),
        (
            fill_disk,
            "error: No space left on device: runs/x/checkpoint.pt: free some space, then try again",
        ),
        (refuse, "error: λ must be positive, got -0.5"),
    ],
)
def test_run_script_tells_user_errors_on_one_line(
    main: Callable[[], None], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as leaving:
        run_script(main)
    assert leaving.value.code == 2
    assert capsys.readouterr() == ("", line + "\n")


def test_only_the_first_of_several_processes_tells_the_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for rank, line in (("0", "error: λ must be positive, got -0.5\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as leaving:
            run_script(refuse)
        assert leaving.value.code == 2
        assert capsys.readouterr() == ("", line)


def test_run_script_leaves_quietly_on_ctrl_c_and_loudly_on_faults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    def stopped() -> None:
        raise Stopped(signal.SIGTERM, "step 7", "--resume runs/x")

    def fault() -> None:
        raise ZeroDivisionError

    with pytest.raises(SystemExit) as leaving:
        run_script(interrupt)
    assert leaving.value.code == 130
    assert capsys.readouterr().err == ""
    with pytest.raises(SystemExit) as leaving:
        run_script(stopped)
    assert leaving.value.code == 128 + 15
    assert capsys.readouterr() == ("stopped at step 7; go on with --resume runs/x\n", "")
    with pytest.raises(ZeroDivisionError):
        run_script(fault)


def test_write_atomically_replaces_or_leaves_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    write_atomically(path, b"old")
    with largest_file(1000), pytest.raises(OSError, match=r"front\.csv") as refused:
        write_atomically(path, bytes(1001))
    assert refused.value.errno == errno.EFBIG
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"front.csv": b"old"}
    write_atomically(path, b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"front.csv": b"new"}
