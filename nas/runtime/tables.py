"""CSV files, read strictly: one header, rows as long as it, numbers that are numbers."""

import csv
import io
import math
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from cells.errors import InputError
from cells.input_files import MIB, read_text
from cells.strict_json import show

MAX_BYTES = 256 * MIB
"""Of a CSV file."""


def read_table(
    path: Path, limit: int = MAX_BYTES
) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    """Reads a CSV file of UTF-8.

    Args:
        limit: bytes that it may have.

    Returns:
        The names of its columns, none for an empty file; and for each row that is not empty where
        it stands, for messages, and its values, as many as there are columns. The rows raise
        InputError, too.

    Raises:
        InputError: if it cannot be read, is no regular file, or a column's name stands twice.
    """
    try:
        text = read_text(path, limit)
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r} ({error.strerror}): check the path") from None
    rows = _rows(path, text)
    names = next(rows, ("", list[str]()))[1]
    for name, following in pairwise(sorted(names)):
        if name == following:
            raise InputError(f"{str(path)!r} has two columns {show(name)}: rename one")
    return names, rows


def number(text: str, where: str, largest: float = sys.float_info.max) -> float:
    """Reads a number from -`largest` to `largest`.

    Raises:
        InputError: for anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -largest <= value <= largest:
        limit = "finite number" if largest > 1e300 else f"number up to {largest:g}"
        raise InputError(f"{where}: {show(text)} is no {limit}: mend or remove it")
    return value


def numbers(line: Sequence[str], where: str, largest: float) -> list[float]:
    """Reads the numbers of a row, each as `number` does, which is called to find the one at fault.

    Raises:
        InputError: as `number`.
    """
    try:
        values = [*map(float, line)]
        if sum(map(abs, values)) <= largest:  # false for NaN as well
            return values
    except ValueError:
        pass
    return [number(text, where, largest) for text in line]


def _rows(path: Path, text: str) -> Iterator[tuple[str, list[str]]]:
    """Yields every line that is not empty, all as long as the first."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start, width = f"{str(path)!r} line ", 0
    try:
        for line in reader:
            if line:
                where = f"{start}{reader.line_num}"
                width = width or len(line)
                if len(line) != width:
                    raise InputError(
                        f"{where} has {len(line)} values, not {width}: complete or remove it"
                    )
                yield where, line
    except csv.Error as error:
        raise InputError(f"{start}{reader.line_num}: {error}: mend that line") from None
