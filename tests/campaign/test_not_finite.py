"""Numbers that are none, anywhere in the state of a training: never saved, no run lost to them.

make campaign FAULTS=24         # a twelfth as many in each kind of run
"""

import random

import pytest
from kinds import KINDS, differences, readable, record
from many import FAULTS, SEED, whole
from trials import Trials

from nas.runtime import checkpoint

STILL = ("report", "report of finalists", "tune", "generate", "draw", "two processes")
"""Kinds of run in which nothing is trained, or in several processes."""


@whole
@pytest.mark.parametrize("name", [name for name in KINDS if name not in STILL])
def test_no_number_that_is_none_is_ever_saved(name: str, trials: Trials) -> None:
    """And the run goes on from what was saved before, to the same end."""
    rng = random.Random(f"{SEED} {name}")
    for _ in range(-(-FAULTS // 12) or 1):
        work = trials.place(name)
        value = rng.choice(("nan", "inf", "-inf"))
        fault = {"do": "spoil", "step": rng.randint(1, 4), "draw": rng.random(), "value": value}
        ended = trials.go(name, work, fault=fault)
        what = f"{name} {fault}, SEED={SEED}\n{ended}"
        assert ended is not None and "spoilt " in ended.output, what
        if ended.status == 0:  # a stage has left behind what was spoilt before it was used
            assert not differences(record(work), trials.undisturbed(name).record), what
            continue
        lines = [line for line in ended.output.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, what
        (line,) = lines
        assert ended.status == 2, what
        assert "finite" in line or "became" in line, what
        readable(work)
        for path in work.rglob("checkpoint*.pt"):
            assert checkpoint.not_finite(checkpoint.load(path)) is None, what
        trials.finish(name, work, what)
