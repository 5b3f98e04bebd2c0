"""What a command prints, where it cannot be printed: the work is done all the same."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from nas.runtime.script import run_script

def main():
    with open(sys.argv[1], "w") as file:
        print("λ = 1")
        sys.stderr.isatty()
        for _ in range(2):
            print("λ = 2", file=sys.stderr, flush=True)
        file.write("whole")

run_script(main)
"""


def run(folder: Path, redirections: str = "", **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Runs a script that prints, and writes a file, which must be whole in any case."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh",
         sys.executable, "-c", SCRIPT, str(folder / "file")],
        cwd=ROOT, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
    )  # fmt: skip
    assert (folder / "file").read_text() == "whole"
    return done


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_an_encoding_without_lambda_gets_its_number(tmp_path: Path, encoding: str) -> None:
    done = run(tmp_path, env=os.environ | {"PYTHONIOENCODING": encoding})
    assert (done.returncode, done.stdout) == (0, b"\\u03bb = 1\n")
    assert done.stderr == b"\\u03bb = 2\n" * 2


@pytest.mark.parametrize(
    ("redirections", "out"),
    [(">&-", ""), ("2>&-", "λ = 1\n"), ("<&- >&- 2>&-", ""), ("2>/dev/full", "λ = 1\n")],
)
def test_closed_streams_and_unwritable_progress_stop_nothing(
    tmp_path: Path, redirections: str, out: str
) -> None:
    done = run(tmp_path, redirections)
    assert (done.returncode, done.stdout.decode()) == (0, out)


def test_a_full_disk_under_the_output_is_told_in_the_end(tmp_path: Path) -> None:
    done = run(tmp_path, ">/dev/full")
    assert done.returncode == 2
    assert done.stderr.decode() == "λ = 2\n" * 2 + (
        "error: standard output: No space left on device: free some space, then try again\n"
    )


def test_a_reader_who_leaves_stops_nothing(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run(tmp_path, stdout=writer, stderr=writer)
    os.close(writer)
    assert done.returncode == 0
