"""The loop of everything that trains: progress, signals, the log, checkpoints.

What a step is, is told by a subclass of `Training`: a search, or the training of one network.
"""

import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cells.errors import InputError
from cells.strict_json import show
from nas.runtime import checkpoint
from nas.runtime.course import Deadline, course_of
from nas.runtime.files import CHECKPOINT
from nas.runtime.fingerprint import require_same_data
from nas.runtime.manifest import note_course
from nas.runtime.metrics import Average, MetricsLog
from nas.runtime.processes import Processes
from nas.runtime.progress import progress
from nas.runtime.settings import total_steps
from nas.runtime.signals import Stopped, StopSignal
from nas.runtime.tensorboard import FOLDER, board

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
        deadline: the time that the run is given, if any.
    """

    deadline: Deadline | None = None

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

    def change_course(self, config: Any) -> None:
        """Goes on with settings of another length (`nas.runtime.course.COURSE`)."""
        self.config, self.total_steps = config, total_steps(config, self.steps_per_epoch)

    def phases(self) -> tuple[int, ...]:
        """The first steps of the parts whose steps take different times, rising from 0."""
        return (0,)

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
            "deadline": self.deadline.state() if self.deadline else None,
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
        if state.get("deadline") is not None:
            self.deadline = Deadline.from_state(state["deadline"])


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
    main = training.processes.is_main
    wanted = main and training.config.tensorboard
    log = MetricsLog(folder / "metrics.jsonl", board(wanted, folder / FOLDER, training.step))
    if main:
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
    shown: bool = True,
) -> Generator[None, None, None]:
    """Trains to the end; each step is taken when it is asked for.

    Args:
        path: of the checkpoint, written before the first step, after every epoch, before leaving.
        log: gets a row per epoch.
        stop: tells of signals.
        name: of the training, for who watches it.
        epoch_ends: called in the main process when the row of an epoch is in the log, before the
            checkpoint is written.
        shown: whether there is progress to watch.

    Raises:
        InputError: if the loss is not finite any more.
        Stopped: on a signal that asks to leave, after saving.
    """
    main = training.processes.is_main
    if main and not checkpoint.exists(path):
        checkpoint.save(path, training.state())
    bar = progress(
        training.total_steps, "step", done=training.step, name=name, shown=main and shown
    )
    asked = stop.asked_to_save
    said_every = max(1, training.steps_per_epoch // 10)
    with bar, closing(log):
        start, changed = time.perf_counter(), False
        if training.deadline is not None:
            training.deadline.steps_begin(training)
        while training.step < training.total_steps:
            training.advance()
            bar.update()
            over = training.step >= training.total_steps
            epoch_over = over or training.step % training.steps_per_epoch == 0
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
                    changed = refit(training)
                    bar.total = training.total_steps
                if main and (epoch_over or stopped or stop.asked_to_save > asked):
                    asked = stop.asked_to_save
                    checkpoint.save(path, training.state())
                    if epoch_over and changed:  # what is in force, the checkpoint tells
                        where = f"step {training.step}"
                        note_course(path.parent, where, training.config, "to end in time")
                if stopped:
                    at = f"step {training.step}" + (f" of {name}" if name else "")
                    raise Stopped(stop.received or 15, at, f"--resume {path.parent}")
            yield


def refit(training: Training) -> bool:
    """Gives a training that has a deadline the length that ends in time; the first process decides.

    Returns:
        Whether it has changed.
    """
    if training.deadline is None or training.step >= training.total_steps:
        return False
    former, deadline = training.config, training.deadline

    def decide() -> dict[str, Any] | None:
        return course_of(training.config) if deadline.fit(training) else None

    course = training.processes.told_by_main(decide)
    training.change_course(former if course is None else replace(former, **course))
    return course is not None


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
