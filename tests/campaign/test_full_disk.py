"""Writes that the disk refuses at any byte: one line names the file, the old one is plain.

make campaign FAULTS=24         # a third as many in each kind of run
"""

import os
import random
import re

import pytest
from kinds import KINDS, readable
from many import FAULTS, SEED, whole
from trials import Trials

from nas.reports.page import PAGE

REFUSABLE = ("open", "fsync", "os.rename", "os.mkdir")


@whole
@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name].ranks == 1])
def test_a_full_disk_takes_one_line_and_nothing_else(name: str, trials: Trials) -> None:
    """And once there is room the run goes on to the same end."""
    rng, events = random.Random(f"{SEED} {name}"), trials.undisturbed(name).events
    for _ in range(-(-FAULTS // 3) or 2):
        at = rng.choice([i for i, event in enumerate(events) if event[0] in REFUSABLE])
        _, path, _ = events[at]
        size = next((s for kind, p, s in events[at:] if (kind, p) == ("fsync", path)), 30)
        work, share = trials.place(name), rng.random()
        what = f"{name}, {events[at]} is refused at {share} of {size} bytes, SEED={SEED}"
        ended = trials.go(
            name, work, fault={"at": at, "do": "refuse", "share": share, "size": size}
        )
        assert ended is not None, what
        # A page is no reason to stop a run, once it has begun.
        goes_on = _name(path) == PAGE and "rehearsal" not in path
        assert ended.status == (0 if goes_on else 2), f"{what}\n{ended}"
        lines = ended.output.splitlines()
        if goes_on:
            (line,) = (line for line in lines if line.startswith("warning: ") and PAGE in line)
        else:
            (line,) = (line for line in lines if line.startswith("error: "))
        assert _name(path) in line and "Traceback" not in ended.output, f"{what}\n{line}"
        assert not [*work.rglob(".*.tmp")], what
        readable(work)
        trials.finish(name, work, what)


def _name(path: str) -> str:
    """The name of a file for which one was temporary."""
    found = re.fullmatch(r"\.(.+)\.[\w-]+\.\d+\.tmp", os.path.basename(path))
    return found[1] if found else os.path.basename(path)
