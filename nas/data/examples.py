"""Data for networks without cells: images scaled to [0, 1], or a table from a CSV file."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cells.errors import InputError, unknown
from nas.data.batches import Examples
from nas.data.datasets import load_data
from nas.data.image_list import is_list
from nas.data.source import require_there
from nas.runtime.fingerprint import Fingerprint, of_array, of_names
from nas.runtime.streams import stream
from nas.runtime.tables import numbers, read_table

TEST_FRACTION = 0.1
"""Share of a table's rows held out as its test part."""
LARGEST = 1e100
"""Of the numbers in a table: their squares are finite."""


@dataclass(frozen=True, eq=False)
class Task:
    """What a network learns: a classification, or a regression with Gaussian noise."""

    name: str
    train: Examples
    test: Examples
    outputs: int
    """Classes, or 1 for a regression."""
    regression: bool
    target_mean: float
    """Of a regression's targets in the training part, in their own unit; 0 for classes."""
    target_std: float
    """Likewise; 1 for classes."""
    val: Examples | None = None
    """What was held out of the training part, if anything."""
    fingerprint: Fingerprint = field(default_factory=dict)
    """Of what was read."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return tuple(self.train.x.shape[1:])


def load_task(
    source: str,
    root: Path,
    *,
    target: str | None = None,
    split_seed: int = 0,
    val_fraction: float = 0.0,
) -> Task:
    """Reads a data set.

    Args:
        source: a CSV file with a header line and numbers only, or images as
            `nas.data.datasets.load_data` takes them.
        root: folder of the named data sets.
        target: column of a CSV file; the last one if None.
        split_seed: fixes the test part where the source has none of its own, and the validation
            part.
        val_fraction: share of the training part that becomes the validation part, in [0, 1). A
            table is scaled before. Images with a validation part of their own have that one, unless
            the share is 0: then all are trained on.

    Raises:
        InputError: for data that are absent, damaged or inconsistent, an unknown column, or a part
            without examples.
    """
    table = _find_table(source, root)
    if table is not None:
        path, (names, lines) = table
        rows = _numbers(path, names, lines)
        column = len(names) - 1
        if target is not None:
            if target not in names:
                raise unknown("column", target, names)
            column = names.index(target)
        task = table_task(path.stem, rows, column, split_seed)
        found = {"columns": of_names(names), "rows": of_array(rows)}
        return hold_out(replace(task, fingerprint=found), val_fraction, split_seed)
    if target is not None:
        raise InputError(f"target {target!r} is a column of a CSV file: leave it out for images")
    data = load_data(source, root, split_seed=split_seed)
    if data.val is None or not val_fraction:
        data = data.whole()
    train, test, val = (
        None if part is None else Examples(part.images / 255, part.labels)
        for part in (data.train, data.test, data.val)
    )
    assert train is not None and test is not None
    task = Task(data.name, train, test, data.num_classes, False, 0.0, 1.0, val, data.fingerprint)
    return hold_out(task, 0 if val else val_fraction, split_seed)


def hold_out(task: Task, fraction: float, seed: int) -> Task:
    """Splits a validation part off the training part, at random; 0 leaves all as it is.

    Args:
        fraction: share of the training part, in [0, 1).

    Raises:
        InputError: if either part would be empty.
    """
    if fraction == 0:
        return task
    held = round(fraction * len(task.train))
    if not 0 < held < len(task.train):
        raise InputError(
            f"val_fraction {fraction} of {len(task.train)} training examples leaves a part empty: "
            "choose another"
        )
    order = torch.randperm(len(task.train), generator=stream(seed, "split/val", 0))
    return replace(task, train=task.train.at(order[held:]), val=task.train.at(order[:held]))


def table_task(name: str, rows: np.ndarray, column: int, split_seed: int) -> Task:
    """A regression on a table: a tenth of the rows is the test part, at random.

    Features and targets are centred and scaled by the training part; a constant feature is 0.

    Args:
        rows: float64 (n, columns).
        column: that of the target.
    """
    table = torch.from_numpy(rows)
    order = torch.randperm(len(table), generator=stream(split_seed, "split", 0))
    held = max(1, round(TEST_FRACTION * len(table)))
    train, test = table[order[held:]], table[order[:held]]
    mean, std = train.mean(dim=0), train.std(dim=0, unbiased=False)
    if float(std[column]) == 0:
        raise InputError(f"the target of {name!r} is the same in all rows: name another --target")
    std = torch.where(std > 0, std, 1)

    def examples(part: Tensor) -> Examples:
        scaled = ((part - mean) / std).float()
        if not bool(scaled.isfinite().all()):
            raise InputError(
                f"a value of {name!r} is more than 1e38 deviations from the mean of its column: "
                "mend or remove that row"
            )
        features = torch.cat([scaled[:, :column], scaled[:, column + 1 :]], dim=1)
        return Examples(features, scaled[:, column])

    centre, scale = float(mean[column]), float(std[column])
    return Task(name, examples(train), examples(test), 1, True, centre, scale)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _find_table(
    source: str, root: Path
) -> tuple[Path, tuple[list[str], Iterator[tuple[str, list[str]]]]] | None:
    """Returns a CSV file and what `read_table` does; None for any other source of images."""
    path = Path(source).expanduser()
    if path.suffix.lower() != ".csv":
        return None
    if not path.exists() and (root / path).exists():
        path = root / path
    require_there(str(path))
    table = read_table(path)
    return None if is_list(table[0]) else (path, table)


def _numbers(path: Path, names: list[str], lines: Iterator[tuple[str, list[str]]]) -> np.ndarray:
    """Returns the numbers of a CSV file, float64 (n, columns)."""
    if names and all(map(_is_number, names)):
        raise InputError(
            f"the first line of {str(path)!r} is numbers, which would be lost: put a line with the "
            "names of the columns before it"
        )
    values = array("d")
    for where, line in lines:
        values.extend(numbers(line, where, LARGEST))
    if len(names) < 2 or len(values) < 3 * len(names):
        raise InputError(
            f"{str(path)!r} has too little: a header line, 3 rows and 2 columns are needed"
        )
    return np.array(values).reshape(-1, len(names))
