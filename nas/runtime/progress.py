"""How far something has come: a bar on a terminal, a line a minute elsewhere."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from os import devnull
from typing import TextIO, final

from tqdm import tqdm

EVERY = 60.0
"""Seconds from line to line where there is no terminal."""
_hushed = False


@final
class _Lines:
    """Ends each state of a bar with a line break, where a carriage return would move nothing."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Writes the state of a bar, if there is any in a text."""
        if state := text.strip():
            self._file.write(state + "\n")

    def flush(self) -> None:
        """Flushes the file behind."""
        self._file.flush()


def progress(
    total: int, unit: str, *, done: int = 0, name: str | None = None, shown: bool = True
) -> tqdm:
    """Returns a progress bar on standard error.

    Args:
        total: how much there is to do.
        unit: of what.
        done: how much of it is done already.
        name: of what is done.
        shown: whether there is anything to see at all; nothing is inside `hushed`.
    """
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        unit=unit,
        desc=name or None,
        disable=not shown or _hushed,
        file=sys.stderr if terminal else _Lines(sys.stderr),
        mininterval=0.2 if terminal else EVERY,
        maxinterval=10.0 if terminal else EVERY,
        miniters=None if terminal else 1,
    )


def quietable(command: Callable[[Sequence[str]], None]) -> Callable[[Sequence[str]], None]:
    """Has a command take `--quiet`, with which it prints warnings and errors alone."""

    @wraps(command)
    def run(args: Sequence[str]) -> None:
        rest = [arg for arg in args if arg != "--quiet"]
        with hushed(len(rest) < len(args)):
            command(rest)

    return run


@contextmanager
def hushed(quiet: bool) -> Iterator[None]:
    """Prints nothing but warnings and errors inside the block, if `quiet`; shows no progress."""
    global _hushed
    if not quiet:
        yield
        return
    former, _hushed = _hushed, True
    try:
        with open(devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        _hushed = former
