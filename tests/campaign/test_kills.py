"""SIGKILL at any moment of any kind of run: it goes on, and ends bit by bit the same.

    make campaign FAULTS=100        # so many kills of each kind; 24 if none are named

What fails says where, and repeats with the SEED that it names: moments
are counted in changes of files, but for those in seconds.
"""

import random

import pytest
from kinds import KINDS, readable
from many import FAULTS, SEED, whole
from trials import Trials


@whole
@pytest.mark.parametrize("name", KINDS)
def test_a_killed_run_ends_bitwise_the_same(name: str, trials: Trials) -> None:
    """By chance at a time, or where it changes a file: before that, or with half of it written.

    Every run is killed up to four times in a row.
    """
    rng, kills = random.Random(f"{SEED} {name}"), 0
    plain = trials.undisturbed(name)
    while kills < (FAULTS or 2):
        work, moments = trials.place(name), []
        for _ in range(rng.randint(1, 4)):
            if rng.random() < 0.3:
                moments.append(f"after {(delay := rng.uniform(0, plain.seconds)):.3f} s")
                ended = trials.go(name, work, signals=[(delay, 9)])
            else:
                at, share = rng.randrange(len(plain.events)), rng.random()
                moments.append(f"at {at} {share}: {plain.events[at]}")
                ended = trials.go(name, work, fault={"at": at, "do": "kill", "share": share})
            if ended is None or ended.status == 0:
                break
            assert ended.killed, f"{name} {moments}\n{ended}"
            kills += 1
            readable(work)
        trials.finish(name, work, f"{name} killed {moments}, SEED={SEED}")
