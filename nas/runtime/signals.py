"""Signals that ask a run to save, or to leave."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self


class Stopped(Exception):
    """A signal has stopped a run, which was saved before.

    Attributes:
        received: the number of the signal.
        at: where it has stopped, e.g. "step 7".
    """

    def __init__(self, received: int, at: str, again: str) -> None:
        """
        Args:
            again: how to go on, e.g. `--resume runs/x`.
        """
        super().__init__(f"stopped at {at}; go on with {again}")
        self.received, self.at = received, at


class Interrupted(BaseException):
    """A signal came where there is nothing to be saved.

    Attributes:
        received: the number of the signal.
    """

    def __init__(self, received: int) -> None:
        super().__init__(signal.Signals(received).name)
        self.received = received


STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals after which a run saves and leaves."""


def _heeded() -> list[signal.Signals]:
    """Returns `STOPPING`, without SIGHUP where it is ignored, as under `nohup`."""
    hang_up_ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [each for each in STOPPING if each != signal.SIGHUP or not hang_up_ignored]


@contextmanager
def interruptible() -> Iterator[None]:
    """Raises `Interrupted` inside the block when a signal asks to leave; Ctrl-C stays as it is.

    SIGUSR1, which asks to save, would end a process that has nothing to save: it is ignored, behind
    the block as well, as it may come while the process ends. Once a signal has been heeded, the
    others are, too: the process leaves already.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    former: dict[signal.Signals, Any] = {
        number: signal.signal(number, leave) for number in _heeded() if number != signal.SIGINT
    }
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        yield
    except (Stopped, Interrupted, KeyboardInterrupt):
        former |= dict.fromkeys(_heeded(), signal.SIG_IGN)
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Lets the block end before a signal is heeded, as for imports: half of one breaks others.

    A second signal is not held back.
    """
    waiting: list[int] = []
    former = {number: signal.getsignal(number) for number in _heeded()}

    def hold(number: int, frame: FrameType | None) -> None:
        waiting.append(number)
        if len(waiting) > 1:
            restore()
            signal.raise_signal(number)

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    for number in former:
        signal.signal(number, hold)
    try:
        yield
    finally:
        restore()
    if waiting:
        signal.raise_signal(waiting[0])


class StopSignal:
    """Turns SIGINT, SIGTERM and SIGHUP into a flag, so that a run can save before it leaves.

        with StopSignal() as stop:
            while not stop.received: ...

    A second one leaves at once. One that came too late to be heeded in the block goes to who
    listened before. SIGUSR1 asks to save and go on.
    """

    received: int | None = None
    """The number of the first signal that came, if one did."""
    asked_to_save = 0
    """How often SIGUSR1 has come."""

    def __enter__(self) -> Self:
        self._former = {number: signal.signal(number, self._receive) for number in _heeded()}
        self._former[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, self._ask)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        if kind is None and self.received is not None:
            signal.raise_signal(self.received)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt if number == signal.SIGINT else Interrupted(number)
        self.received = number

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked_to_save += 1
