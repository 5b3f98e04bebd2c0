"""Streams, devices, processes, signals, files and errors on one line."""

import errno
import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from cells.errors import InputError
from nas.runtime.parted import Parted
from nas.runtime.processes import Processes, has_bfloat16, start_processes
from nas.runtime.script import run_script
from nas.runtime.signals import Stopped
from nas.runtime.streams import stream


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


def open_missing() -> None:
    Path("no/such/file").read_bytes()


def make_existing() -> None:
    os.mkdir("/")


def fill_disk() -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "runs/x/checkpoint.pt")


def refuse() -> None:
    raise InputError("λ must be positive, got -0.5")


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


def test_torchrun_is_told_the_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(path))
    with pytest.raises(SystemExit):
        run_script(refuse)
    failure = ProcessFailure(local_rank=0, pid=1, exitcode=2, error_file=str(path))
    report = ChildFailedError("search.py", {0: failure}).format_msg()
    assert report.splitlines()[-2] == "  traceback : error: λ must be positive, got -0.5"
    assert abs(failure.timestamp - time.time()) < 3600


@pytest.mark.parametrize("tells", [True, False])
def test_the_first_to_notice_a_lost_process_tells_it(
    tells: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose() -> None:
        raise Parted("another of the 2 processes has ended", tells=tells)

    def lose_and_be_told_to_leave() -> None:
        try:
            lose()
        finally:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setenv("RANK", "1")
    line = "error: another of the 2 processes has ended\n" if tells else ""
    for main in (lose, lose_and_be_told_to_leave):
        with pytest.raises(SystemExit) as leaving:
            run_script(main)
        assert leaving.value.code == 2
        assert capsys.readouterr() == ("", line)


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("went back\nto another", stacklevel=1)

    shown = warnings.showwarning
    run_script(main)
    assert warnings.showwarning is shown
    assert capsys.readouterr().err == "warning: went back to another\n"


def test_run_script_leaves_with_a_line_on_ctrl_c_and_loudly_on_faults(
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
    assert capsys.readouterr().err.startswith("error: stopped by SIGINT; what was saved is whole")
    with pytest.raises(SystemExit) as leaving:
        run_script(stopped)
    assert leaving.value.code == 128 + 15
    assert capsys.readouterr() == ("stopped at step 7; go on with --resume runs/x\n", "")
    with pytest.raises(ZeroDivisionError):
        run_script(fault)
