"""A table as training and test examples, and what is to be told of how it was read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cells.errors import InputError
from cells.strict_json import show
from nas.data.batches import Examples
from nas.data.config import AUTO, CLASSIFICATION, REGRESSION
from nas.data.table_form import TableForm, Target
from nas.data.tables import (
    CATEGORIES,
    SEPARATORS,
    Column,
    Table,
    columns_of,
    index_column,
    read_rows,
)
from nas.runtime.fingerprint import of_array, of_names
from nas.runtime.streams import stream

TEST_FRACTION = 0.1
"""Share of a table's rows held out as its test part."""
FEW = 10
"""Whole numbers with so many different values at most are taken for classes."""


@dataclass(frozen=True, eq=False)
class TableParts:
    """The rows of a table, scaled."""

    train: Examples
    test: Examples
    form: TableForm
    told: tuple[str, ...] = ()
    """What was told apart, a line each."""


def read_parts(table: Table, target: str | None, task: str, split_seed: int) -> TableParts:
    """Reads the rows of a table.

    Args:
        target: column that is predicted; the last one if None.
        task: see `nas.data.examples.load_task`.

    Raises:
        InputError: as `load_task`.
    """
    name = table.path.stem
    index = index_column(table)
    aim = len(table.names) - 1 if target is None else table.column(target)
    places = [place for place in range(len(table.names)) if place != index or place == aim]
    found, unusable, lacking = columns_of(table, places)
    if aim in unusable:
        raise InputError(
            f"the target {show(table.names[aim])} of {name!r} has {unusable[aim]}: name another "
            "--target"
        )
    used = [place for place in places if place in found]
    columns = [found[place] for place in used]
    rows = np.zeros((0, 0))
    if aim in used:
        at = used.index(aim)
        columns[at] = replace(columns[at], missing=True)  # until such rows are out
        rows, _ = read_rows(table, columns)
    if len(columns) < 2 or len(rows) < 3:
        raise InputError(
            f"{str(table.path)!r} has too little: a header line, 3 rows and 2 columns are needed"
        )
    fingerprint = {"columns": of_names(table.names), "rows": of_array(rows)}
    categories = [text for column in columns for text in column.categories or ()]
    if categories:
        fingerprint["categories"] = of_names(categories)
    kept = rows[~np.isnan(rows[:, at])]
    if len(kept) < 3:
        raise InputError(f"{name!r} has {len(kept)} rows with a target: 3 are needed")
    kept, classes, how = name_classes(kept, columns[at], at, task, name)
    parts = part_rows(name, kept, columns, at, split_seed, classes=classes)
    told = _told(table, [column for place, column in found.items() if place != aim])
    left = [f"{show(table.names[place])} ({why})" for place, why in unusable.items()]
    if index is not None and index != aim:
        left.insert(0, f"{show(table.names[index])} (it numbers or names the rows)")
    if left:
        told.append(f"left out: {', '.join(left)}")
    absent = [
        f"{show(column.name)} {lacking[place]} ({_instead(column)})"
        for place, column in found.items()
        if place in lacking and place != aim
    ]
    if absent:
        told.append(f"missing values: {', '.join(absent)}")
    if len(kept) < len(rows):
        told.append(f"{len(rows) - len(kept):,} rows without {show(columns[at].name)} left out")
    form = replace(parts.form, fingerprint=fingerprint)
    return replace(parts, form=form, told=tuple(f"{name}: {line}" for line in [*told, how]))


def _told(table: Table, columns: Sequence[Column]) -> list[str]:
    """Says how a file is written, where it is not as usual, and what its columns hold."""
    told = []
    if table.separator != ",":
        comma = ", 1,5 is a number" if table.decimal_comma else ""
        told.append(f"values between {SEPARATORS[table.separator]}{comma}")
    texts = [column for column in columns if column.categories is not None]
    numbers = f"{len(columns) - len(texts)} columns of numbers"
    if texts:
        count = sum(len(column.categories or ()) for column in texts)
        numbers += f", {len(texts)} of texts with {count} categories"
    return [*told, numbers]


def _instead(column: Column) -> str:
    """Says what stands for a missing value of a column."""
    return "the training mean" if column.categories is None else "a category of their own"


def name_classes(
    rows: np.ndarray, target: Column, place: int, task: str, name: str
) -> tuple[np.ndarray, tuple[str, ...], str]:
    """Decides between classes and numbers.

    Args:
        rows: float64 (n, columns), all with a target.
        place: that of the target.
        task: as it was asked for.
        name: of the data.

    Returns:
        The rows, their targets labels if they are classified; the names of the classes, none for
        a regression; and what is to be told of it.

    Raises:
        InputError: if the target does not allow the task, or has but one value.
    """
    shown, texts = show(target.name), target.categories
    numbers, labels = np.unique(rows[:, place], return_inverse=True)
    if len(numbers) == 1:
        raise InputError(f"the target of {name!r} is the same in all rows: name another --target")
    if texts is not None and task == REGRESSION:
        raise InputError(
            f"the target {shown} of {name!r} is texts, which cannot be regressed: leave --task out"
        )
    whole = bool((numbers == numbers.round()).all()) and len(numbers) <= FEW
    if texts is None and (task == REGRESSION or (task == AUTO and not whole)):
        return rows, (), f"{shown} is a number: regression"
    if len(numbers) > CATEGORIES:
        raise InputError(
            f"the target {shown} of {name!r} has {len(numbers):,} different values, classes are "
            f"{CATEGORIES} at most: leave --task {CLASSIFICATION} out"
        )
    rows = rows.copy()
    rows[:, place] = labels
    classes = tuple(texts[int(n)] if texts is not None else _class(n) for n in numbers.tolist())
    other = f"; --task {REGRESSION} takes it for a number" if texts is None and task == AUTO else ""
    return rows, classes, f"{shown} has {len(classes)} classes: classification{other}"


def _class(value: float) -> str:
    """Names the class of a number."""
    return str(int(value)) if value.is_integer() else str(value)


def part_rows(
    name: str,
    rows: np.ndarray,
    columns: Sequence[Column],
    place: int,
    split_seed: int,
    *,
    classes: tuple[str, ...] = (),
) -> TableParts:
    """Splits a table, a tenth of the rows is the test part, at random, and scales it.

    Numbers, and a regression's targets, are centred and scaled by the training part; a constant
    feature is 0.

    Args:
        rows: float64 (n, columns); the target's are numbers, or labels.
        columns: what each holds, without means.
        place: that of the target.
        classes: names by label; none for a regression.

    Raises:
        InputError: if all training targets of a regression are the same, or a number is too far
            from the others of its column.
    """
    table = torch.from_numpy(rows)
    order = torch.randperm(len(table), generator=stream(split_seed, "split", 0))
    held = max(1, round(TEST_FRACTION * len(table)))
    train, test = table[order[held:]], table[order[:held]]
    mean, std = _scales(train)
    if float(std[place]) == 0:
        raise InputError(f"the target of {name!r} is the same in all rows: name another --target")
    std = torch.where(std > 0, std, 1)
    scaled = [
        replace(column, mean=centre, std=scale) if column.categories is None else column
        for column, centre, scale in zip(columns, mean.tolist(), std.tolist(), strict=True)
    ]
    target = Target(columns[place].name, classes)
    if not classes:
        target = replace(target, mean=float(mean[place]), std=float(std[place]))
    form = TableForm(name, tuple(scaled[:place] + scaled[place + 1 :]), target)

    def examples(part: Tensor) -> Examples:
        y = part[:, place]
        y = y.long() if classes else ((y - target.mean) / target.std).float()
        x = form.features(torch.cat([part[:, :place], part[:, place + 1 :]], dim=1))
        if not bool(x.isfinite().all()) or not bool(y.isfinite().all()):
            raise InputError(
                f"a value of {name!r} is more than 1e38 deviations from the mean of its column: "
                "mend or remove that row"
            )
        return Examples(x, y)

    return TableParts(examples(train), examples(test), form)


def _scales(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Means and deviations of the columns of rows (n, columns), of what is there; 0 for nothing."""
    absent = rows.isnan()
    if not bool(absent.any()):
        return rows.mean(dim=0), rows.std(dim=0, unbiased=False)
    count = (~absent).sum(dim=0).clamp(min=1)
    mean = torch.where(absent, 0, rows).sum(dim=0) / count
    return mean, (torch.where(absent, 0, (rows - mean).square()).sum(dim=0) / count).sqrt()
