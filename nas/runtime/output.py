"""What a command prints: whatever becomes of it, a run of hours goes on."""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from cells.errors import one_line


def note(text: str) -> None:
    """Says on stderr what was done with data that their owner may not expect.

    Of several processes, the first one does.
    """
    if os.environ.get("RANK", "0") == "0":
        print(f"note: {one_line(text)}", file=sys.stderr)


class Lasting:
    """A text stream whose errors stop nothing.

    Characters that its encoding lacks, as λ in Latin-1, are written as `\\u03bb`. Where nothing can
    be written any more, as to a pipe that nobody reads or a disk that is full, the rest is dropped.

    Attributes:
        lost: the error after which all was dropped, None so far.
    """

    def __init__(self, stream: TextIO) -> None:
        self.lost: OSError | None = None
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text, or drops it; returns its length."""
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Writes what waits in the buffer, or drops it."""
        self._attempt(self._stream.flush)

    def _attempt(self, write: Callable[[], object]) -> None:
        try:
            write()
        except OSError as error:
            self.lost = self.lost or error
            # The buffer keeps what it could not write, and would fail once more at the exit.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def lasting_output() -> Iterator[Lasting]:
    """Makes the standard streams last inside the block, those that are closed as well.

    Yields:
        Standard output.
    """
    for number in range(3):  # else the next file that is opened would be the standard stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    with open(os.devnull, "w") as nowhere:
        out, err = Lasting(sys.stdout or nowhere), Lasting(sys.stderr or nowhere)
        with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
            try:
                yield out
            finally:
                out.flush()
                err.flush()
