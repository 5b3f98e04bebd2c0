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
    rows = rows_of(path, table_text(path, limit))
    names = next(rows, (0, list[str]()))[1]
    require_different(names, path)
    return names, ((f"{str(path)!r} line {number}", line) for number, line in rows)


def table_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Reads the text of a CSV file of UTF-8, without a byte order mark.

    Raises:
        InputError: if it cannot be read, is no regular file, or has more bytes than `limit`.
    """
    try:
        return read_text(path, limit)
    except OSError as error:
        raise InputError(f"cannot read {str(path)!r} ({error.strerror}): check the path") from None


def require_different(names: Sequence[str], path: Path) -> None:
    """Makes sure that no name of a column stands twice.

    Raises:
        InputError: naming it.
    """
    for name, following in pairwise(sorted(names)):
        if name == following:
            raise InputError(f"{str(path)!r} has two columns {show(name)}: rename one")


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


def rows_of(path: Path, text: str, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yields the number of every line that is not empty, and its values, as many as in the first.

    Args:
        path: what messages call it.
        text: of the whole file.
        separator: the character between two values.

    Raises:
        InputError: for a line of another length, or one that is no CSV.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    start, width = f"{str(path)!r} line ", 0
    try:
        for line in reader:
            if line:
                width = width or len(line)
                if len(line) != width:
                    raise InputError(
                        f"{start}{reader.line_num} has {len(line)} values, not {width}: complete "
                        "or remove it"
                    )
                yield reader.line_num, line
    except csv.Error as error:
        raise InputError(f"{start}{reader.line_num}: {error}: mend that line") from None
