"""Where the processes of a run meet before each exchange, so that none waits for a lost one.

Over a group of their own all say what they have come for, so that one that is out of step is
noticed before numbers are mixed up. A process that works for long says so meanwhile, by a thread:
the others wait for as long as it lives, be it hours; for one that is stopped, until the timeout.
"""

import threading
import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import ProcessGroup, Store

AT_WORK, STEP, NUMBERS, MAIN = range(4)
"""What a process says when it meets the others: that it works on, or what it has come for."""
PLACES = ("work", "step {}", "a mean of {} numbers", "work of the main process")
"""What each is called, with the number that comes with it."""
PULSE = 15.0
"""Seconds of work, at most, after which a process says that it lives."""


class OutOfStep(RuntimeError):
    """Processes have come for different things."""


class Meeting:
    """The meetings of one process with all others; every process makes one, together."""

    def __init__(self, store: Store, timeout: float) -> None:
        """
        Args:
            store: of the process group.
            timeout: seconds to wait for a sign of life.
        """
        self._store, self.timeout, self.world = store, timeout, dist.get_world_size()
        group = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout))
        assert isinstance(group, ProcessGroup)  # every process is in it
        self._group = group
        self._lock = threading.RLock()
        self._pulse, self._last = min(PULSE, timeout / 4), time.monotonic()
        self._error: RuntimeError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()

    def come(self, kind: int, number: int = 0, flag: bool = False) -> bool:
        """Waits until all have come, and returns whether one of them has set its flag.

        Args:
            kind: for what, the same in all processes: `STEP`, `NUMBERS` or `MAIN`.
            number: which step, how many numbers; the same in all processes.

        Raises:
            OutOfStep: in all processes, if they have come for different things.
            RuntimeError: if one has ended, or does not answer.
        """
        with self._lock:
            if self._error is not None:
                raise self._error
            while True:
                heads = self._round(kind, number, flag)
                if all(head[0] != AT_WORK for head in heads):
                    break
        for rank, head in enumerate(heads):
            if head[:2] != heads[0][:2]:
                first, other = (PLACES[kind].format(n) for kind, n, _ in (heads[0], head))
                raise OutOfStep(f"process 0 was at {first}, process {rank} at {other}")
        return any(head[2] for head in heads)

    def gather(self, value: Any) -> list[Any]:
        """Returns the values of all processes, by rank; raises as `come`."""
        with self._lock:
            self.come(MAIN)
            values: list[Any] = [None] * self.world
            dist.all_gather_object(values, value, group=self._group)
        return values

    def end(self) -> None:
        """Says nothing any more."""
        self._ended.set()
        self._thread.join()

    def what_happened(self, error: RuntimeError) -> str | None:
        """Returns what an error says of the other processes; see the function of that name."""
        return what_happened(error, self.world, self.timeout)

    def is_first_to_tell(self) -> bool:
        """Tells whether this is the first process to ask."""
        try:
            return bool(self._store.add("parted", 1) == 1)
        except RuntimeError:  # the process that kept the count is gone
            return True

    def _round(self, kind: int, number: int, flag: bool) -> list[list[int]]:
        """Returns what every process says, this one included."""
        own = torch.tensor([kind, number, int(flag)])
        heads = [torch.empty_like(own) for _ in range(self.world)]
        dist.all_gather(heads, own, group=self._group)
        self._last = time.monotonic()
        return [head.tolist() for head in heads]

    def _live(self) -> None:
        """Says that this process is at work whenever it has met nobody for a while."""
        while not self._ended.wait(max(0.0, self._last + self._pulse - time.monotonic())):
            with self._lock:
                if time.monotonic() < self._last + self._pulse:
                    continue
                try:
                    self._round(AT_WORK, 0, False)
                except RuntimeError as error:  # raised by the next `come`, if there is one
                    self._error = error
                    return


def what_happened(error: RuntimeError, world: int, timeout: float) -> str | None:
    """Returns what an error says of the other processes; None if it does not come of them.

    What gloo raises is known by its text alone.
    """
    text = str(error)
    if isinstance(error, OutOfStep):
        return f"the {world} processes are out of step, {text}: a fault of the program, report it"
    if not isinstance(error, dist.DistError) and "gloo" not in text:
        return None
    if "timed out" in text.lower() or "timeout" in text.lower():
        return (
            f"another of the {world} processes has not answered for {timeout:g} s (--timeout): "
            "it is stopped, or its machine cannot be reached"
        )
    return f"another of the {world} processes has ended"
