"""The record of a run: one JSON object per line, and the numbers that go into it."""

import errno
import json
import math
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from cells.errors import InputError
from cells.input_files import MIB, read_regular
from cells.output_files import naming, write_atomically
from nas.runtime.tensorboard import Board

MAX_BYTES = 1024 * MIB
"""Of a record."""


class MetricsLog:
    """A file of JSON lines, one per logged step, that a killed run leaves readable."""

    def __init__(self, path: Path, board: Board | None = None) -> None:
        """
        Args:
            board: gets the rows, too.
        """
        self.path, self._board = path, board

    def append(self, row: dict[str, Any]) -> None:
        """Adds a row; numbers that JSON lacks (NaN, ±∞) become null.

        Args:
            row: JSON values by name, among them the integer `step`.

        Raises:
            OSError: naming the file, e.g. if no space is left.
        """
        assert "step" in row, "every row tells its step"
        data = f"{json.dumps(finite(row), allow_nan=False)}\n".encode()
        with naming(self.path), open(self.path, "ab", buffering=0) as file:
            size = file.tell()
            try:
                if file.write(data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(size)  # no part of a row stays
                raise

        if self._board is not None:
            self._board.append(row)

    def close(self) -> None:
        """Ends what the rows are written to besides."""
        if self._board is not None:
            self._board.close()

    def keep(self, last_step: int, seed: int | None = None) -> None:
        """Drops what was logged after a step, when a run resumes from there.

        Args:
            seed: drop only rows of this `seed`; None for all.

        Raises:
            InputError: if a line before the last is not JSON.

        Warns:
            UserWarning: if rows of finished epochs are missing at the end.
        """
        rows = [
            row
            for row in self.read()
            if row["step"] <= last_step or seed not in (None, row.get("seed"))
        ]
        self._warn_of_gap(rows, last_step)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_atomically(self.path, text.encode())

    def take_in(self, other: "MetricsLog") -> None:
        """Moves the rows of another log to this one, in the order of their steps.

        Raises:
            InputError: as `read`.
        """
        rows = {row["step"]: row for row in [*self.read(), *other.read()]}
        text = "".join(json.dumps(rows[step]) + "\n" for step in sorted(rows))
        write_atomically(self.path, text.encode())
        other.path.unlink()

    def _warn_of_gap(self, rows: list[dict[str, Any]], last_step: int) -> None:
        """Says that lines have been lost which a finished epoch had written."""
        epochs = [row for row in rows if type(row.get("epoch")) is int and row["epoch"] > 0]
        if not epochs or any("seed" in row for row in rows):
            return
        last = epochs[-1]
        per_epoch = max(1, last["step"] // last["epoch"])
        if last_step - last["step"] >= per_epoch:
            warnings.warn(
                f"{self.path} has lost its rows of steps {last['step'] + 1} to {last_step}",
                stacklevel=3,
            )

    def read(self) -> list[dict[str, Any]]:
        """Returns all rows, without a last line that was cut short; none if there is no file.

        Raises:
            InputError: if a line before the last is not JSON, or any tells no step.
        """
        if not self.path.exists():
            return []
        lines = read_regular(self.path, MAX_BYTES).decode("utf-8", errors="replace").split("\n")
        rows = []
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                if number == len(lines):
                    break  # empty behind the last line break, or cut short
                message = f"{self.path} line {number} is not JSON: remove that line"
                raise InputError(message) from error
            step = row.get("step") if isinstance(row, dict) else None
            if type(step) is not int or not 0 <= step < 1 << 62:
                raise InputError(f"{self.path} line {number} tells no step: remove that line")
            rows.append(row)
        return rows


def finite(value: Any) -> Any:
    """Returns a JSON value with None, null in JSON, in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclass
class Average:
    """A running mean; `Average(**vars(average))` continues where another one stood."""

    total: float = 0.0
    """Sum of the values, each times its count."""
    count: int = 0
    """How many there were."""

    def add(self, value: float, count: int = 1) -> None:
        """Takes in a value that is itself the mean of `count` values."""
        self.total += value * count
        self.count += count

    @property
    def mean(self) -> float:
        """Returns the mean so far; NaN before the first value."""
        return self.total / self.count if self.count else math.nan


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the share of examples whose largest logit is that of their label.

    Args:
        logits: (batch, classes).
        labels: (batch,) class indices.

    Returns:
        A scalar in [0, 1].
    """
    return (logits.argmax(dim=-1) == labels).float().mean()
