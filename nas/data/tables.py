"""Tables from CSV files as they come: what separates values, what a column holds, what is missing.

A column holds numbers or texts; texts are categories. What is told apart here is told to the user
in a line or two (`nas.data.examples`), and anything doubtful is refused.
"""

import math
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cells.errors import InputError, raise_it, unknown
from cells.strict_json import show
from nas.runtime.tables import number, require_different, rows_of, table_text

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""Characters that may stand between values, as they are called."""
MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?"))
"""What stands for a missing value, in any case of letters."""
INDEX_NAMES = frozenset(("id", "index", "no", "nr", "row", "rownames"))
"""Names of a first column that numbers the rows, in any case of letters."""
NO_NAMES = frozenset(("", "unnamed: 0"))
"""Names that pandas and R give the column of their row names."""
LARGEST = 1e100
"""Of the numbers in a table: their squares are finite."""
CATEGORIES = 100
"""Most categories of a column, and most classes."""
LONGEST = 200
"""Characters of a category."""
SLIPS = 0.1
"""In a column with a smaller share of texts, these are slips, not categories."""


@dataclass(frozen=True, eq=False)
class Table:
    """The text of a CSV file, and how it is to be read."""

    path: Path
    names: tuple[str, ...]
    """Of the columns, all different."""
    text: str
    separator: str
    decimal_comma: bool
    """Whether 1,5 is a number."""

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yields the line's number and the values of each row below the header."""
        rows = rows_of(self.path, self.text, self.separator)
        next(rows, None)
        for line, values in rows:
            yield line, [value.strip() for value in values]

    def where(self, line: int) -> str:
        """Names a line, for messages."""
        return f"{str(self.path)!r} line {line}"

    def number(self, text: str) -> float | None:
        """Returns the number that a text is; None for other texts."""
        try:
            return float(text.replace(",", ".") if self.decimal_comma else text)
        except ValueError:
            return None

    def column(self, name: str) -> int:
        """Returns the place of a column.

        Raises:
            InputError: if there is none of this name.
        """
        if name not in self.names:
            raise unknown(f"column of {str(self.path)!r}", name, self.names)
        return self.names.index(name)


@dataclass(frozen=True)
class Column:
    """What one column holds, and how it enters a network."""

    name: str
    categories: tuple[str, ...] | None = None
    """Of texts, in order; None for numbers."""
    missing: bool = False
    """Whether a missing text is a category of its own; missing numbers become the mean."""
    mean: float = 0.0
    """Of the numbers in the training part."""
    std: float = 1.0
    """Likewise; 1 for a constant."""

    def code(self, table: Table, text: str, line: int) -> float:
        """Returns a number, or the place of a category; NaN where the value is missing.

        Raises:
            InputError: for a text that is neither.
        """
        if text.casefold() in MISSING:
            if self.categories is not None and not self.missing:
                raise InputError(
                    f"{table.where(line)}: column {show(self.name)} is empty, which it never was "
                    f"in training: write one of {_listed(self.categories)}"
                )
            return math.nan
        if self.categories is None:
            found = table.number(text)
            # What is no number, or too large a one, is told by the reader of numbers.
            return (
                found if found is not None and abs(found) <= LARGEST else _refuse(table, text, line)
            )
        if text not in self.categories:
            raise InputError(
                f"{table.where(line)}: {show(text)} is no category of column {show(self.name)}: "
                f"write one of {_listed(self.categories)}"
            )
        return self.categories.index(text)


def _refuse(table: Table, text: str, line: int) -> float:
    return number(text, table.where(line), LARGEST)


def _listed(names: Sequence[str]) -> str:
    return show(", ".join(names))


def open_table(path: Path) -> Table:
    """Reads a CSV file of UTF-8 and tells what separates its values.

    Raises:
        InputError: if it cannot be read, two columns have one name, or its first line is no header.
    """
    text = table_text(path)
    separator = _separator(path, text)
    names = [name.strip() for name in next(rows_of(path, text, separator), (0, list[str]()))[1]]
    require_different(names, path)
    plain = Table(path, tuple(names), text, separator, False)
    _require_header(plain)
    return Table(path, tuple(names), text, separator, separator != "," and _decimal_comma(plain))


def _separator(path: Path, text: str) -> str:
    """The separator that makes most columns of the first lines, all as many; else the comma."""
    widths = {}
    for separator in SEPARATORS:
        rows, found = rows_of(path, text, separator), set()
        try:
            for _, (_, line) in zip(range(20), rows, strict=False):
                found.add(len(line))
        except InputError:  # another length, or no CSV, with this separator
            continue
        if max(found, default=1) > 1:
            widths[separator] = max(found)
    return max(widths, key=lambda separator: widths[separator], default=",")


def _decimal_comma(table: Table) -> bool:
    """Whether there are numbers such as 1,5, and none such as 1.5."""
    comma = False
    for _, values in table.rows():
        for value in values:
            if re.fullmatch(r"[+-]?\d*\.\d+", value):
                return False
            comma = comma or re.fullmatch(r"[+-]?\d*,\d+", value) is not None
    return comma


def _require_header(table: Table) -> None:
    """Refuses a first line that is data: numbers alone, or one such as 5.1."""
    numbers = [name for name in table.names if table.number(name) is not None]
    if table.names and (
        len(numbers) == len(table.names) or any(not name.isdigit() for name in numbers)
    ):
        raise InputError(
            f"the first line of {str(table.path)!r} is numbers, which would be lost: put a line "
            "with the names of the columns before it"
        )


def index_column(table: Table) -> int | None:
    """Returns the place of a column that only numbers or names the rows; None without one.

    That is a first column without a name, or one called id or the like that counts up by one.
    """
    first = table.names[0].casefold() if table.names else "-"
    if first in NO_NAMES:
        return 0
    if first not in INDEX_NAMES:
        return None
    before = None
    for _, values in table.rows():
        found = table.number(values[0])
        if found is None or (found not in (0, 1) if before is None else found != before + 1):
            return None
        before = found
    return None if before is None else 0


def columns_of(
    table: Table, places: Sequence[int]
) -> tuple[dict[int, Column], dict[int, str], dict[int, int]]:
    """Tells what columns hold.

    Args:
        places: those that are asked for.

    Returns:
        By place: the columns that can be used, without means; why the others cannot; and how
        many values each lacks, if any.

    Raises:
        InputError: for a text in a column that has numbers nearly everywhere.
    """
    counts = {place: [0, 0, 0] for place in places}  # numbers, texts, missing
    texts: dict[int, tuple[int, str]] = {}  # the first one
    for line, values in table.rows():
        for place, count in counts.items():
            value = values[place]
            if value.casefold() in MISSING:
                count[2] += 1
            elif table.number(value) is not None:
                count[0] += 1
            else:
                count[1] += 1
                texts.setdefault(place, (line, value))
    found: dict[int, Column] = {}
    unusable = {}
    for place, (numbers, others, _) in counts.items():
        if not numbers and not others:
            unusable[place] = "no values"
        elif not others:
            found[place] = Column(table.names[place])
        elif others < SLIPS * numbers:
            line, slip = texts[place]
            _refuse(table, slip, line)
    for place, categories in _categories(table, texts).items():
        if isinstance(categories, str):
            unusable[place] = categories
        else:
            missing = counts[place][2] > 0
            found[place] = Column(table.names[place], categories, missing)
    _require_categories_below_header(table, texts, found)
    return found, unusable, {place: lacks for place, (_, _, lacks) in counts.items() if lacks}


def _categories(table: Table, places: Iterable[int]) -> Mapping[int, tuple[str, ...] | str]:
    """Returns the different texts of columns, sorted; or why they are no categories."""
    found: dict[int, set[str]] = {place: set() for place in places}
    refused: dict[int, str] = {}
    for _, values in table.rows() if found else ():
        for place, texts in found.items():
            value = values[place]
            if place in refused or value in texts or value.casefold() in MISSING:
                continue
            texts.add(value)
            if len(value) > LONGEST:
                refused[place] = f"texts of more than {LONGEST} characters"
            elif len(texts) > CATEGORIES:
                refused[place] = f"more than {CATEGORIES} different texts"
    return {place: refused.get(place) or tuple(sorted(found[place])) for place in found}


def _require_categories_below_header(
    table: Table, texts: Iterable[int], found: Mapping[int, Column]
) -> None:
    """Refuses a table each of whose columns of texts is called as one of its texts."""
    columns = [found[place] for place in texts if place in found]
    if columns and all(column.name in (column.categories or ()) for column in columns):
        raise InputError(
            f"the first line of {str(table.path)!r} looks like a row, {show(columns[0].name)} "
            "stands below as well: put a line with the names of the columns before it"
        )


def read_rows(
    table: Table,
    columns: Sequence[Column],
    on_error: Callable[[InputError], None] = raise_it,
) -> tuple[np.ndarray, list[int]]:
    """Reads columns by their names.

    Args:
        on_error: called for a row that cannot be read, which is then left out.

    Returns:
        float64 (rows, columns), numbers or places of categories, NaN where a value is missing;
        and the line of each row.

    Raises:
        InputError: if a column is absent, a row has another length, or a value does not fit.
    """
    places = [table.column(column.name) for column in columns]
    pairs = list(zip(columns, places, strict=True))
    codes, lines = array("d"), array("q")
    for line, values in table.rows():
        try:
            row = [column.code(table, values[place], line) for column, place in pairs]
        except InputError as error:
            on_error(error)
            continue
        codes.extend(row)
        lines.append(line)
    return np.array(codes).reshape(-1, len(columns)), list(lines)
