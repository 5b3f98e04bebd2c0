"""Signals at any moment of any kind of run: saved or told in one line, and gone on with.

make campaign FAULTS=24         # a quarter as many in each kind of run
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forks import ROOT
from kinds import KINDS, differences, readable, record
from many import FAULTS, SEED, whole
from trials import Trials

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
DRAWN = ("report", "mlp", "family", "draw")
"""Kinds whose pictures are drawn, a second or two in which signals come as well."""


@whole
@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name].ranks == 1])
def test_a_signal_at_any_moment(name: str, trials: Trials) -> None:
    """By chance at a time, or where a file is changed; sometimes two in a row."""
    rng, plain = random.Random(f"{SEED} {name}"), trials.undisturbed(name)
    drawn = name in DRAWN
    for _ in range(-(-FAULTS // 4) or 2):
        work = trials.place(name)
        numbers = [rng.choice([*STOPPING, signal.SIGUSR1])]
        numbers += [rng.choice(STOPPING)] if rng.random() < 0.25 else []
        if at_event := rng.random() < 0.5:
            at = rng.randrange(len(plain.events))
            what = f"{name}, {numbers} at {at}: {plain.events[at]}, SEED={SEED}"
            ended = trials.go(name, work, fault={"at": at, "do": numbers}, pictures=drawn)
        else:
            delay = rng.uniform(0, 1.2 * plain.seconds + 2 * drawn)
            sent = [(delay + rng.uniform(0, 0.3) * i, n) for i, n in enumerate(numbers)]
            what = f"{name}, {sent}, SEED={SEED}"
            ended = trials.go(name, work, signals=sent, pictures=drawn)
        assert ended is not None
        what = f"{what}\n{ended}"
        assert "Traceback" not in ended.output and "Exception ignored" not in ended.output, what
        stopping = [number for number in numbers if number in STOPPING]
        differ = differences(record(work), plain.record) if ended.status <= 0 else []
        if ended.status == 0:
            assert not [*work.rglob(".*.tmp")], what
            assert not stopping or not at_event, f"not heeded: {what}"
            assert not [file for file in differ if not drawn or not _picture(file)], what
        elif ended.status < 0:  # behind its last line
            assert -ended.status in stopping, what
            assert len(numbers) == 2 or not at_event, what
            assert len(numbers) == 2 or not [
                file for file in differ if not drawn or not _picture(file)
            ], what
        else:
            assert ended.status - 128 in stopping, what
            told = ("stopped at ", "error: stopped by ")
            assert len([line for line in ended.output.splitlines() if line.startswith(told)]) == 1
        readable(work)
        trials.finish(name, work, what)


@whole
@pytest.mark.parametrize("number", [*STOPPING, signal.SIGUSR1])
@pytest.mark.parametrize("program", ["search.py digits", "retrain.py digits", "-m nas family"])
def test_a_signal_while_a_command_imports_what_it_needs(program: str, number: int) -> None:
    """As soon as Python has come to the program's first lines, and up to its last one."""
    delay = random.Random(f"{SEED} {program} {number}").uniform(0, 4)
    with subprocess.Popen(
        [sys.executable, *program.split(), "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        status = Path(f"/proc/{process.pid}/status")
        while not _catches(status.read_text(), signal.SIGTERM) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(number)
        said, _ = process.communicate(timeout=120)
    what = f"{program}, {number} after {delay} s, SEED={SEED}: {process.returncode}\n{said}"
    if process.returncode in (0, -number):
        assert "usage: " in said and (process.returncode == 0 or number in STOPPING), what
    else:
        assert process.returncode == 128 + number, what
        assert said.startswith("error: stopped by SIG") and said.count("\n") == 1, what


def _catches(status: str, number: int) -> bool:
    """Whether a process has a handler for a signal, by its `status` in /proc."""
    (caught,) = (line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def _picture(file: str) -> bool:
    return file.endswith(".svg")
