"""Several processes for one run folder: one owns it, the others leave in one line.

make campaign                   # 20 races
"""

import random
import re
import socket

import pytest
from kinds import KINDS, arguments, differences, record
from many import FAULTS, SEED, whole
from trials import Trials

RACES = {
    "cells of nasbench201": "run",
    "mlp": "run",
    "two seeds": "run",
    "lottery": "run",
    "family": "found",
}
"""What begins, or goes on, several times at once, and in which folder."""


@whole
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("name", RACES)
def test_of_several_at_once_one_owns_the_folder(name: str, again: bool, trials: Trials) -> None:
    """The one that does waits a while behind the lock, so that none can come after its end."""
    rng = random.Random(f"{SEED} {name} {again}")
    plain, host = trials.undisturbed(name), re.escape(socket.gethostname())
    opens = [i for i, (_, path, _) in enumerate(plain.events) if path.endswith(".owner")]
    for _ in range(2 if FAULTS else 1):
        work = trials.place(name)
        if again:
            at = rng.randrange(opens[0] + 5, len(plain.events))
            trials.go(name, work, fault={"at": at, "do": "kill", "share": 0.5})
        args = arguments(KINDS[name], work)
        assert args is not None
        lines = [args] * rng.randint(2, 3)
        wait = {"do": "wait", "after": ".owner"}
        ended = trials.at_once(name, work, lines, every=True, fault=wait)
        assert [run.status for run in ended].count(0) == 1, f"SEED={SEED}\n{ended}"
        owner = (work / RACES[name] / ".owner").read_text().strip()
        for run in ended:
            if run.status != 0:
                (line,) = run.output.splitlines()
                told = f"error: {RACES[name]} is in use by {owner}: wait until it ends, or stop it"
                exists = "error: run exists: choose another --out, or go on with --resume run"
                assert run.status == 2 and line in (told, *([exists] if not again else [])), run
                assert re.fullmatch(rf"process \d+ on {host}", owner)
        assert not differences(record(work), plain.record)
