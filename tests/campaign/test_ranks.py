"""Two processes of a search, of which one is lost: the other ends with one line.

    make campaign RANKS=20              # so often each; 5 if no number is named

`make test` tries what costs least.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import ranks
import torch.distributed as dist

from nas.run import read_any_run

RANKS = int(os.environ.get("RANKS", "0"))
TIMEOUT = 10.0
"""Seconds without a sign of life, also of a process that waits for a busy processor."""
PATIENCE = 300.0
"""Seconds after which a process is said to hang."""
CASES = [(name, n) for n in range(RANKS) for name in ranks.FAULTS] or [("stop", 1), ("desync", 1)]
ENDED = "another of the 2 processes has ended"
EXPECTED = {
    "kill": ENDED,
    "stop": "another of the 2 processes has not answered for 10 s (--timeout)",
    "raise": ENDED,
    "exit 0": ENDED,
    "desync": "the 2 processes are out of step, process 0 was at ",
}
LEFT = {"kill": -signal.SIGKILL, "stop": None, "raise": 1, "exit 0": 0, "desync": 2}
"""With what the process ends that meets with the fault."""


@contextmanager
def two(work: Callable[..., None], *args: Any) -> Iterator[list[BaseProcess]]:
    """Two processes that call `work(rank, port, …)`, forked from one that has loaded PyTorch."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nas.run", "sklearn.datasets"])
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    each = [context.Process(target=work, args=(rank, store.port, *args)) for rank in (0, 1)]
    for process in each:
        process.start()
    try:
        yield each
    finally:
        for process in each:
            process.kill()
            process.join()


@pytest.mark.parametrize(("name", "repetition"), CASES)
def test_a_lost_process_ends_the_other_with_one_line(
    name: str, repetition: int, tmp_path: Path
) -> None:
    faulty = repetition % 2
    with two(ranks.searching, faulty, name, tmp_path, TIMEOUT, repetition) as each:
        each[1 - faulty].join(PATIENCE)
        assert each[1 - faulty].exitcode == 2, (tmp_path / str(1 - faulty)).read_text()
        if LEFT[name] is not None:
            each[faulty].join(PATIENCE)
        assert each[faulty].exitcode == LEFT[name]
    texts = [(tmp_path / str(rank)).read_text() for rank in (0, 1)]
    (line,) = [line for text in texts for line in text.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: {EXPECTED[name]}")
    assert line.endswith(f"; the last checkpoint is whole, go on with --resume {tmp_path / 'run'}")
    assert ["Traceback" in text for text in texts] == [
        name == "raise" and r == faulty for r in (0, 1)
    ]
    step = read_any_run(tmp_path / "run")[1]["step"]
    place = ranks.PLACES[repetition % len(ranks.PLACES)]
    last = 15 if place == "report" else int(place.removeprefix("step "))
    assert step == last // ranks.STEPS_PER_EPOCH * ranks.STEPS_PER_EPOCH


def test_a_process_that_works_for_long_is_waited_for(tmp_path: Path) -> None:
    with two(ranks.working, 4.0, 9.0, tmp_path) as each:
        for process in each:
            process.join(PATIENCE)
        assert [process.exitcode for process in each] == [0, 0]
    assert [(tmp_path / str(rank)).read_text() for rank in (0, 1)] == ["0 0.5", "0 0.5"]
