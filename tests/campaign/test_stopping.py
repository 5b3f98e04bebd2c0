"""Signals at any moment of any kind of run: saved or told in one line, and gone on with."""

import os
import random
import signal

import pytest
from kinds import KINDS, differences, readable, record
from trials import Trials

SEED = int(os.environ.get("SEED", "0"))
FAULTS = int(os.environ.get("FAULTS", "0"))
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
DRAWN = ("report", "mlp", "family", "draw")
"""Kinds whose pictures are drawn, a second or two in which signals come as well."""


@pytest.mark.parametrize(
    "name", [name for name in KINDS if KINDS[name].ranks == 1] if FAULTS else ["two seeds"]
)
def test_a_signal_at_any_moment(name: str, trials: Trials) -> None:
    """By chance at a time, or where a file is changed; sometimes two in a row."""
    rng, whole = random.Random(f"{SEED} {name}"), trials.undisturbed(name)
    drawn = name in DRAWN
    for _ in range(-(-FAULTS // 4) if FAULTS else 3):
        work = trials.place(name)
        numbers = [rng.choice([*STOPPING, signal.SIGUSR1])]
        numbers += [rng.choice(STOPPING)] if rng.random() < 0.25 else []
        if at_event := rng.random() < 0.5:
            at = rng.randrange(len(whole.events))
            what = f"{name}, {numbers} at {at}: {whole.events[at]}, SEED={SEED}"
            ended = trials.go(name, work, fault={"at": at, "do": numbers}, pictures=drawn)
        else:
            delay = rng.uniform(0, 1.2 * whole.seconds + 2 * drawn)
            sent = [(delay + rng.uniform(0, 0.3) * i, n) for i, n in enumerate(numbers)]
            what = f"{name}, {sent}, SEED={SEED}"
            ended = trials.go(name, work, signals=sent, pictures=drawn)
        assert ended is not None
        what = f"{what}\n{ended}"
        assert "Traceback" not in ended.output and "Exception ignored" not in ended.output, what
        stopping = [number for number in numbers if number in STOPPING]
        differ = differences(record(work), whole.record) if ended.status <= 0 else []
        if ended.status == 0:
            assert not stopping or not at_event, f"not heeded: {what}"
            assert not [file for file in differ if not drawn or not _picture(file)], what
        elif ended.status < 0:  # behind its last line
            assert -ended.status in stopping and not at_event, what
            assert not [file for file in differ if not drawn or not _picture(file)], what
        else:
            assert ended.status - 128 in stopping, what
            told = ("stopped at ", "error: stopped by ")
            assert len([line for line in ended.output.splitlines() if line.startswith(told)]) == 1
        assert not [*work.rglob(".*.tmp")], what
        readable(work)
        trials.finish(name, work, what)


def _picture(file: str) -> bool:
    return file.endswith((".svg", ".png", ".dot"))
