"""Faults of a process at the moments when it changes files, counted, so that they repeat."""

import builtins
import errno
import io
import os
import signal
import sys
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
KILL, REFUSE = "kill", "refuse"


class Watch:
    """Counts the moments at which this process opens a file of a folder to write it, has it
    synced, renames, makes or removes something there; at one of them there is a fault.

    A fault is an object: `at`, the number of its moment, from 0, and `do`, one of

    * `kill`: SIGKILL before it is done; with `share`, after that share of what is to be synced;
    * `refuse`: an error of the file system, when `share` of the file's `size` is written;
    * a list of signals, which the process sends to itself.

    Attributes:
        events: what was done, the file, and its size when it was synced.
    """

    def __init__(self, folder: str, fault: dict[str, Any] | None = None) -> None:
        self.events: list[tuple[str, str, int]] = []
        self._folder, self._fault = os.path.realpath(folder), fault
        self._starts: dict[str, int] = {}
        self._room: int | None = None
        self._open, self._fsync = builtins.open, os.fsync
        builtins.open, os.fsync = self._opened, self._synced  # type: ignore[assignment]
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and (inside := self._inside(path)):
                fresh = flags & os.O_TRUNC or not os.path.exists(inside)
                self._starts[inside] = 0 if fresh else os.path.getsize(inside)
                self._moment("open", inside)
        elif event in CHANGES and (inside := self._inside(arguments[0])):
            self._moment(event, inside)

    def _inside(self, path: Any) -> str | None:
        """The path if it lies in the folder."""
        if not isinstance(path, str | os.PathLike):
            return None
        found = os.path.abspath(path)
        return found if found.startswith(self._folder + os.sep) else None

    def _moment(self, event: str, path: str, descriptor: int | None = None) -> None:
        size = 0 if descriptor is None else os.fstat(descriptor).st_size
        self.events.append((event, os.path.relpath(path, self._folder), size))
        fault = self._fault
        if fault is None or len(self.events) != fault["at"] + 1:
            return
        if fault["do"] == KILL:
            if descriptor is not None:
                start = self._starts.get(path, 0)
                os.ftruncate(descriptor, start + int(fault["share"] * (size - start)))
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
        raw = _Full(file, mode.replace("b", ""), room)
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
