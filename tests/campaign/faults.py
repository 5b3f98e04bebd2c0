"""Faults of a process at the moments when it changes files, counted, so that they repeat."""

import builtins
import errno
import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
KILL, REFUSE = "kill", "refuse"
STANDS = 1.5
"""Seconds, in which others come to the same folder."""


class Watch:
    """Counts the moments at which this process opens a file of a folder to write it, has it
    synced, renames, makes or removes something there; at one of them there is a fault.

    A fault is an object: `at`, the number of its moment, from 0, and `do`, one of

    * `kill`: SIGKILL before it is done; with `share`, after that share of what is to be synced;
    * `refuse`: an error of the file system, when `share` of the file's `size` is written;
    * a list of signals, which the process sends to itself.

    And two without `at`:

    * `wait`: stands still for a while once it owns a folder;
    * `spoil`: see `spoil`.

    Attributes:
        events: what was done, the file, and how many bytes were new when it was synced.
    """

    def __init__(self, folder: str, fault: dict[str, Any] | None = None) -> None:
        self.events: list[tuple[str, str, int]] = []
        self._folder, self._fault = os.path.realpath(folder), fault
        self._starts: dict[str, int] = {}
        self._room: int | None = None
        self._owns = False
        self._open, self._fsync = builtins.open, os.fsync
        builtins.open, os.fsync = self._opened, self._synced  # type: ignore[assignment]
        sys.addaudithook(self._hear)
        if fault is not None and fault["do"] == "spoil":
            spoil(fault["step"], fault["draw"], float(fault["value"]))

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and (inside := self._inside(path)):
                fresh = flags & os.O_TRUNC or not os.path.exists(inside)
                self._starts[inside] = 0 if fresh else os.path.getsize(inside)
                self._moment("open", inside)
        elif event in CHANGES and (inside := self._inside(arguments[0])):
            made = event == "os.mkdir" and os.path.isdir(inside)
            if not made:
                self._moment(event, inside)

    def _inside(self, path: Any) -> str | None:
        """The path if it lies in the folder."""
        if not isinstance(path, str | os.PathLike):
            return None
        found = os.path.abspath(path)
        return found if found.startswith(self._folder + os.sep) else None

    def _moment(self, event: str, path: str, descriptor: int | None = None) -> None:
        start, size = self._starts.get(path, 0), 0
        if descriptor is not None:
            size = os.fstat(descriptor).st_size - start
        self.events.append((event, os.path.relpath(path, self._folder), size))
        fault = self._fault
        if fault is not None and fault["do"] == "wait":
            if self._owns:
                self._fault = None
                time.sleep(STANDS)
            self._owns = os.path.basename(path) == ".owner"
        if fault is None or len(self.events) != fault.get("at", -1) + 1:
            return
        if fault["do"] == KILL:
            if descriptor is not None:
                os.ftruncate(descriptor, start + int(fault["share"] * size))
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault["do"] == REFUSE:
            if event == "open":
                self._room = self._starts[path] + int(fault["share"] * fault["size"])
            elif event not in ("os.remove", "os.rmdir"):
                named = () if event == "fsync" else (path,)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *named)
        else:
            for number in fault["do"]:
                os.kill(os.getpid(), number)

    def _opened(self, file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        opened = self._open(file, mode, *args, **kwargs)
        if self._room is None:
            return opened
        room, self._room = self._room, None
        opened.close()
        self._fault = None
        if os.path.basename(file) == ".owner":  # of which a part would do
            room = 0
        raw = _Full(file, mode.replace("b", ""), room)
        if kwargs.get("buffering") == 0:
            return raw
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding="utf-8")

    def _synced(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if self._inside(path) and not os.path.isdir(path):
            self._moment("fsync", path, descriptor)
        self._fsync(descriptor)


class _Full(io.FileIO):
    """A file on a disk that is full at some size."""

    def __init__(self, path: Any, mode: str, room: int) -> None:
        super().__init__(path, mode)
        self.room = room

    def write(self, data: Any) -> int:
        room = self.room - os.fstat(self.fileno()).st_size
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(memoryview(data)[:room])


def spoil(step: int, draw: float, value: float) -> None:
    """Has a number of the state of whatever is trained become another after a step.

    Args:
        step: which one, counted over all trainings of the process.
        draw: in [0, 1), which number.
    """
    from nas.runtime.loop import Training

    counts = iter(range(1, 1_000_000))

    def patch(kind: type[Training]) -> None:
        for child in kind.__subclasses__():
            patch(child)
        if "advance" not in vars(kind) or kind is Training:
            return
        advance = kind.advance

        def spoilt(training: Training) -> None:
            advance(training)
            if type(training).advance is spoilt and next(counts) == step:
                _spoil(training, draw, value)

        kind.advance = spoilt  # type: ignore[method-assign]

    patch(Training)


def _spoil(training: Any, draw: float, value: float) -> None:
    import torch

    from nas.runtime import checkpoint

    def tensors(part: Any, name: str) -> Iterator[tuple[str, Any]]:
        items = part.items() if isinstance(part, dict) else enumerate(part)
        for key, each in items:
            if isinstance(each, torch.Tensor) and each.is_floating_point() and each.numel():
                yield f"{name}.{key}", each
            elif isinstance(each, dict | list | tuple):
                yield from tensors(each, f"{name}.{key}")

    # By part, as one has most of the tensors.
    parts = [list(tensors([part], name)) for name, part in training.state().items()]
    parts = [part for part in parts if part]
    part = parts[int(draw * len(parts))]
    name, tensor = part[int(draw * 997 % 1 * len(part))]
    with torch.no_grad():
        tensor[tuple(int(draw * 9973 % 1 * size) for size in tensor.shape)] = value
    assert checkpoint.not_finite(training.state()), f"{name} is but a copy"
    print(f"spoilt {name} at step {training.step}", flush=True)
