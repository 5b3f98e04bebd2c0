"""CSV files, read strictly: one header, rows as long as it, numbers that are numbers."""

import csv
import io
import math
import sys
from collections.abc import Iterator
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
    lines = _lines(path, text)
    names = next(lines, ("", list[str]()))[1]
    seen = set[str]()
    for name in names:
        if name in seen:
            raise InputError(f"{str(path)!r} has two columns {show(name)}: rename one")
        seen.add(name)
    return names, _rows(lines, len(names))


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


def _lines(path: Path, text: str) -> Iterator[tuple[str, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for line in reader:
            if line:
                yield f"{str(path)!r} line {reader.line_num}", line
    except csv.Error as error:
        raise InputError(f"{str(path)!r} line {reader.line_num}: {error}: mend that line") from None


def _rows(lines: Iterator[tuple[str, list[str]]], width: int) -> Iterator[tuple[str, list[str]]]:
    for where, line in lines:
        if len(line) != width:
            raise InputError(f"{where} has {len(line)} values, not {width}: complete or remove it")
        yield where, line
