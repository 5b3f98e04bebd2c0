"""One of two processes of a search, and what may happen to it: for `test_ranks.py`."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

import search
from nas.cell_search import run
from nas.cell_search.searcher import Searcher
from nas.runtime.processes import Processes, start_processes, stop_processes
from nas.runtime.script import run_script

SEARCH = (
    "digits --space nasbench201 --channels 2 --num-cells 1 --batch-size 128 --epochs 3 "
    "--warmup-epochs 1 --grid 2 --eval-images 10 --device cpu --threads 1"
)
STEPS_PER_EPOCH = 5


def kill(searcher: Searcher) -> None:
    """Is killed, as by the system when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def stop(searcher: Searcher) -> None:
    """Is stopped, and never goes on."""
    os.kill(os.getpid(), signal.SIGSTOP)


def fail(searcher: Searcher) -> None:
    """Meets a fault of the program."""
    raise ZeroDivisionError("a fault")


def leave(searcher: Searcher) -> None:
    """Ends as if all were well."""
    os._exit(0)


def add_exchange(searcher: Searcher) -> None:
    """Exchanges numbers that the other does not know of."""
    searcher.processes.average([torch.ones(3)])


def skip_exchange(searcher: Searcher) -> None:
    """Keeps its next numbers to itself."""
    average = Processes.average

    def skipped(processes: Processes, tensors: Sequence[torch.Tensor]) -> Any:
        Processes.average = average
        return tuple(tensors)

    Processes.average = skipped


def skip_step(searcher: Searcher) -> None:
    """Is a step ahead."""
    searcher.step += 1


FAULTS: dict[str, tuple[Callable[[Searcher], None], ...]] = {
    "kill": (kill,),
    "stop": (stop,),
    "raise": (fail,),
    "exit 0": (leave,),
    "desync": (add_exchange, skip_step, skip_exchange),
}
"""What happens, by name; of several the n-th at the n-th repetition."""
PLACES = ("step 7", "step 0", "step 5", "report", "step 12")
"""Where, by the number of the repetition: in an epoch, at the beginning, after a checkpoint, …"""


def join(rank: int, port: int) -> None:
    """Makes this process one of two, as torchrun does, which keeps the store itself."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }  # fmt: skip
    torch.set_num_threads(1)


def searching(
    rank: int, port: int, faulty: int, fault: str, out: Path, timeout: float, repetition: int
) -> None:
    """Searches in the folder `out / "run"`, writes to `out / rank`.

    Args:
        faulty: the process that meets with the fault.
    """
    join(rank, port)
    text = os.open(out / str(rank), os.O_WRONLY | os.O_CREAT)
    os.dup2(text, 1)
    os.dup2(text, 2)
    if rank == faulty:
        place, choices = PLACES[repetition % len(PLACES)], FAULTS[fault]
        _prepare(choices[repetition % len(choices)], place)
    sys.argv = ["search.py", *SEARCH.split(), "--out", str(out / "run"), f"--timeout={timeout}"]
    search.main()


def _prepare(fault: Callable[[Searcher], None], place: str) -> None:
    """Has a fault happen at a step, or when the search is reported."""
    advance, report = Searcher.advance, run.report

    def faulty_advance(searcher: Searcher) -> None:
        if place == f"step {searcher.step}":
            fault(searcher)
        advance(searcher)

    def faulty_report(searcher: Searcher, *args: Any) -> None:
        if place == "report":
            add_exchange(searcher) if fault in FAULTS["desync"] else fault(searcher)
        report(searcher, *args)

    Searcher.advance, run.report = faulty_advance, faulty_report


def working(rank: int, port: int, timeout: float, seconds: float, out: Path) -> None:
    """Works for long in the main process, then in both in turn; writes what came of it."""

    def work() -> None:
        processes = start_processes("cpu", timeout)
        try:
            found = processes.told_by_main(lambda: time.sleep(seconds) or rank)
            processes.main_first(lambda: time.sleep(seconds * rank))
            time.sleep(seconds * (1 - rank))
            (mean,) = processes.average([torch.tensor(float(rank))])
            (out / str(rank)).write_text(f"{found} {float(mean)}")
        finally:
            stop_processes(processes)

    join(rank, port)
    run_script(work)
