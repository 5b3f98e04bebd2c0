"""Runs of a kind from their beginning, with faults, to their end, beside undisturbed ones."""

import json
import re
import shutil
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from forks import Ended, Forks
from kinds import KINDS, arguments, differences, record


class Undisturbed(NamedTuple):
    """A run of a kind to which nothing happened."""

    start: Path
    """The folder as it was before."""
    record: dict[str, Any]
    """What it left."""
    seconds: float
    """How long it took."""
    events: list[tuple[str, str, int]]
    """See `faults.Watch`."""


class Trials:
    """Makes runs in folders of their own."""

    def __init__(self, forks: Forks, root: Path) -> None:
        self._forks, self._root = forks, root
        self._numbers: Iterator[int] = iter(range(1_000_000))
        self.undisturbed = cache(self._undisturbed)

    def place(self, name: str) -> Path:
        """A fresh folder, with what a run of a kind finds."""
        start = self.undisturbed(name).start
        return shutil.copytree(start, self._root / str(next(self._numbers)) / "work")

    def go(self, name: str, work: Path, **more: Any) -> Ended | None:
        """Begins a run, or goes on with it; None if nothing is left to do.

        Args:
            more: what happens to its first process, see `forks`.
        """
        args = arguments(KINDS[name], work)
        return None if args is None else self.at_once(name, work, [args], **more)[0]

    def at_once(
        self, name: str, work: Path, lines: list[list[str]], *, every: bool = False, **more: Any
    ) -> list[Ended]:
        """Gives several command lines in one folder.

        Args:
            every: whether `more` happens to every process.
        """
        runs: list[dict[str, Any]] = []
        for args in lines:
            for env in _ranks(KINDS[name].ranks):
                output = work.parent / f"output-{len(runs)}"
                run = {"args": args, "work": str(work), "output": str(output), "env": env}
                runs.append(run | more if every or not runs else run)
        return self._forks.at_once(runs)

    def finish(self, name: str, work: Path, what: str) -> None:
        """Goes on to the end, which must be that of an undisturbed run, bit by bit."""
        ended = self.go(name, work)
        assert ended is None or ended.status == 0, f"{what}\n{ended}"
        differ = differences(record(work), self.undisturbed(name).record)
        assert not differ, f"{what}: {differ} differ from those of an undisturbed run"
        shutil.rmtree(work.parent)

    def _undisturbed(self, name: str) -> Undisturbed:
        folder = self._root / re.sub(r"\W", "-", name)
        start, work, events = folder / "start", folder / "work", folder / "events"
        start.mkdir(parents=True)
        found = KINDS[name].found
        if found is not None:
            self.undisturbed(found)
            shutil.copytree(
                self._root / re.sub(r"\W", "-", found) / "work" / "run", start / "found"
            )
        shutil.copytree(start, work)
        ended = self.go(name, work, events=str(events))
        assert ended is not None and ended.status == 0, f"{name}\n{ended}"
        heard = [tuple(event) for event in json.loads(events.read_text())]
        return Undisturbed(start, record(work), ended.seconds, heard)


def _ranks(count: int) -> list[dict[str, str]]:
    """What torchrun puts into the environment of each process."""
    if count == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common |= {"LOCAL_WORLD_SIZE": str(count)}
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
