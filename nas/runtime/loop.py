"""The loop of everything that trains: progress, signals, the log, checkpoints.

What a step is, is told by a subclass of `Training`: a search, or the training of one network.
"""

import os
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from cells.errors import InputError
from cells.strict_json import show
from nas.runtime import checkpoint
from nas.runtime.files import CHECKPOINT
from nas.runtime.fingerprint import require_same_data
from nas.runtime.metrics import Average, MetricsLog
from nas.runtime.processes import Processes
from nas.runtime.signals import Stopped, StopSignal

Key = TypeVar("Key")


class Training(ABC):
    """What is trained step by step: all that its checkpoint holds, and its steps.

    Attributes:
        config: the settings, with `to_dict`.
        steps_per_epoch: steps after which it is logged and saved.
        total_steps: steps of the whole training.
        look_every: steps from one look at the numbers, and for signals, to the next.
        step: finished steps.
        seconds: spent so far.
        averages: means of the present epoch, by name.
        fingerprint: of the data, see `nas.runtime.fingerprint`.
    """

    look_every = 1

    def __init__(
        self,
        config: Any,
        processes: Processes,
        steps_per_epoch: int,
        total_steps: int,
        fingerprint: Mapping[str, str],
    ) -> None:
        self.config, self.processes, self.fingerprint = config, processes, fingerprint
        self.steps_per_epoch, self.total_steps = steps_per_epoch, total_steps
        self.step = 0
        self.seconds = 0.0
        self.averages: dict[str, Average] = {}

    @abstractmethod
    def advance(self) -> None:
        """Takes one step; raises InputError if the loss is not finite any more."""

    def look(self) -> None:  # noqa: B027, most have seen everything
        """Takes in the numbers of the steps since the last look; raises as `advance`."""

    @abstractmethod
    def row(self) -> dict[str, Any]:
        """What is logged at the end of an epoch."""

    @abstractmethod
    def postfix(self) -> str:
        """What the progress bar says."""

    def add(self, name: str, value: float) -> None:
        """Takes a number of one step into its mean."""
        self.averages.setdefault(name, Average()).add(value)

    def means(self) -> dict[str, float]:
        """The means so far, by name."""
        return {name: average.mean for name, average in self.averages.items()}

    def end_epoch(self) -> dict[str, Any]:
        """Returns the row of an epoch that ends, and begins new means."""
        row = self.row()
        self.averages = {}
        return row

    def state(self) -> dict[str, Any]:
        """The checkpoint: with the configuration, all that the rest of the run depends on."""
        return {
            "config": self.config.to_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "averages": {name: vars(average) for name, average in self.averages.items()},
            "fingerprint": dict(self.fingerprint),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on where `state` was taken.

        Raises:
            InputError: if the data have changed since, or may have, being elsewhere now.
        """
        now, before = self.fingerprint, state.get("fingerprint", {})
        require_same_data(before, now, "this run", "start anew")
        data, wanted = self.config.data, state["config"].get("data")
        if not before and data != wanted and _real(data) != _real(str(wanted)):
            raise InputError(
                f"this run's data were {show(wanted)}, now {show(data)}, and it has noted no "
                "fingerprint of them: name the same file or folder"
            )
        self.step, self.seconds = state["step"], state.get("seconds", 0.0)
        self.averages = {name: Average(**a) for name, a in state["averages"].items()}


def _real(path: str) -> str:
    return os.path.realpath(os.path.expanduser(path))


def run(
    training: Training,
    folder: Path,
    name: str = "",
    *,
    epoch_ends: Callable[[], None] = lambda: None,
) -> None:
    """Trains to the end in a folder of its own; see `steps`."""
    log = MetricsLog(folder / "metrics.jsonl")
    if training.processes.is_main:
        log.keep(training.step)
    with StopSignal() as stop:
        for _ in steps(training, folder / CHECKPOINT, log, stop, name, epoch_ends=epoch_ends):
            pass


def steps(
    training: Training,
    path: Path,
    log: MetricsLog,
    stop: StopSignal,
    name: str = "",
    *,
    epoch_ends: Callable[[], None] = lambda: None,
) -> Generator[None, None, None]:
    """Trains to the end; each step is taken when it is asked for.

    Args:
        path: of the checkpoint, written before the first step, after every epoch, before leaving.
        log: gets a row per epoch.
        stop: tells of signals.
        name: of the training, for who watches it.
        epoch_ends: called in the main process when the row of an epoch is in the log, before the
            checkpoint is written.

    Raises:
        InputError: if the loss is not finite any more.
        Stopped: on a signal that asks to leave, after saving.
    """
    main = training.processes.is_main
    if main and not checkpoint.exists(path):
        checkpoint.save(path, training.state())
    bar = tqdm(
        total=training.total_steps, initial=training.step, unit="step", desc=name or None,
        disable=not main, mininterval=0.2 if sys.stderr.isatty() else 20,
    )  # fmt: skip
    asked = stop.asked_to_save
    said_every = max(1, training.steps_per_epoch // 10)
    with bar:
        start = time.perf_counter()
        while training.step < training.total_steps:
            training.advance()
            bar.update()
            epoch_over = training.step % training.steps_per_epoch == 0
            if epoch_over or training.step % training.look_every == 0:
                training.look()
                stopped = training.processes.any_process(stop.received is not None, training.step)
                now = time.perf_counter()
                training.seconds, start = training.seconds + now - start, now
                if training.step % said_every < training.look_every:
                    bar.set_postfix_str(training.postfix(), refresh=False)
                if epoch_over:
                    row = training.end_epoch()
                    if main:
                        log.append(row)
                        epoch_ends()
                if main and (epoch_over or stopped or stop.asked_to_save > asked):
                    asked = stop.asked_to_save
                    checkpoint.save(path, training.state())
                if stopped:
                    at = f"step {training.step}" + (f" of {name}" if name else "")
                    raise Stopped(stop.received or 15, at, f"--resume {path.parent}")
            yield


def drive(
    waiting: Iterator[tuple[Key, Generator[None, None, None]]], at_once: int = 1
) -> Iterator[Key]:
    """Takes steps of several trainings in turns.

    Args:
        waiting: the `steps` of each; asked for the next when there is room for it.
        at_once: how many take turns, >= 1.

    Yields:
        The key of each, when it is done.

    Raises:
        Stopped: on a signal, once all that had begun have saved.
    """
    live: deque[tuple[Key, Generator[None, None, None]]] = deque()
    stopped = None
    try:
        while True:
            while stopped is None and len(live) < at_once and (found := next(waiting, None)):
                live.append(found)
            if not live:
                break
            key, each = live.popleft()
            try:
                next(each)
                live.append((key, each))
            except StopIteration:
                yield key
            except Stopped as stop:
                stopped = stopped or stop
    finally:
        for _, each in live:  # their progress bars end before an error is told
            each.close()
    if stopped is not None:
        raise stopped
