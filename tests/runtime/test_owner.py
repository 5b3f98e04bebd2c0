"""A run folder has one owner at a time, whatever becomes of the owner."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cells.errors import InputError
from nas.runtime.owner import OWNER, owning

HOLD = """
import sys
from pathlib import Path
from nas.runtime.owner import owning
with owning(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    """Starts a process that owns a folder until its standard input closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        with pytest.raises(InputError) as error, owning(tmp_path):
            pass
        owner = f"process {process.pid} on {socket.gethostname()}"
        assert str(error.value) == (
            f"{tmp_path} is in use by {owner}: wait until it ends, or stop it"
        )
        process.send_signal(signal.SIGKILL)
        process.wait()
        with owning(tmp_path):  # a killed owner frees it
            assert (tmp_path / OWNER).read_text() == (
                f"process {os.getpid()} on {socket.gethostname()}\n"
            )


def test_patience_waits_for_the_owner_to_leave(tmp_path: Path) -> None:
    with hold(tmp_path) as process:
        assert process.stdin is not None
        process.stdin.close()
        with owning(tmp_path, patience=600):
            assert process.wait() == 0


def test_a_full_disk_is_told_with_the_file(tmp_path: Path) -> None:
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, former[1]))
    try:
        with pytest.raises(OSError) as refused, owning(tmp_path):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert refused.value.filename == str(tmp_path / OWNER)


def test_of_several_processes_of_one_run_the_first_owns_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with owning(tmp_path):
            pass
        monkeypatch.setenv("RANK", "0")
        naps: list[float] = []
        monkeypatch.setattr(time, "sleep", naps.append)
        monkeypatch.setattr(time, "monotonic", lambda: sum(naps))
        with pytest.raises(InputError), owning(tmp_path, patience=0.25):
            pass
        assert naps == [0.1] * 3  # it has waited until its patience was at an end


def test_twenty_at_once_have_one_owner(tmp_path: Path) -> None:
    """Each adds one to a number in a file; two owners at once would lose additions."""
    add = (
        HOLD.replace("    sys.stdin.read()\n", "")
        .replace(
            '    print("held", flush=True)\n',
            "    path = Path(sys.argv[1]) / 'n'\n"
            "    n = int(path.read_text())\n"
            "    path.write_text(str(n + 1))\n",
        )
        .replace("(Path(sys.argv[1])):", "(Path(sys.argv[1]), patience=600):")
    )
    (tmp_path / "n").write_text("0")
    processes = [
        subprocess.Popen([sys.executable, "-c", add, str(tmp_path)], cwd=Path(__file__).parents[2])
        for _ in range(20)
    ]
    assert [process.wait() for process in processes] == [0] * 20
    assert (tmp_path / "n").read_text() == "20"


def test_parts_of_a_folder_have_owners_side_by_side(tmp_path: Path) -> None:
    with owning(tmp_path, part="seed-0"), owning(tmp_path, part="seed-1"):
        for part in (None, "seed-0", "seed-1"):
            with pytest.raises(InputError, match="in use by process"), owning(tmp_path, part=part):
                pass
    whole, part = owning(tmp_path), owning(tmp_path, part="seed-0")
    with whole, pytest.raises(InputError, match="in use"), part:
        pass
