"""Data for networks without cells: images scaled to [0, 1], or a table from a CSV file."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from cells.errors import InputError
from nas.data.batches import Examples
from nas.data.config import AUTO, REGRESSION
from nas.data.datasets import load_data
from nas.data.image_list import is_list
from nas.data.source import require_there
from nas.data.table_form import TableForm
from nas.data.table_parts import read_parts
from nas.data.tables import Table, open_table
from nas.runtime.fingerprint import Fingerprint
from nas.runtime.streams import stream


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
    classes: tuple[str, ...] = ()
    """Names by label; none for a regression."""
    form: TableForm | None = None
    """How rows of the table became examples; None for images."""
    told: tuple[str, ...] = ()
    """What was told apart in a table, a line each."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return tuple(self.train.x.shape[1:])


def load_task(
    source: str,
    root: Path,
    *,
    target: str | None = None,
    task: str = AUTO,
    split_seed: int = 0,
    val_fraction: float = 0.0,
) -> Task:
    """Reads a data set.

    Args:
        source: a CSV file with a header line, or images as `nas.data.datasets.load_data` takes
            them.
        root: folder of the named data sets.
        target: column of a CSV file; the last one if None.
        task: auto, classification or regression of a table. Auto classifies texts, and whole
            numbers of few different values.
        split_seed: fixes the test part where the source has none of its own, and the validation
            part.
        val_fraction: share of the training part that becomes the validation part, in [0, 1). A
            table is scaled before. Images with a validation part of their own have that one, unless
            the share is 0: then all are trained on.

    Raises:
        InputError: for data that are absent, damaged or inconsistent, an unknown column, a task
            that the target does not allow, or a part without examples.
    """
    table = _find_table(source, root)
    if table is not None:
        parts = read_parts(table, target, task, split_seed)
        form = parts.form
        whole = Task(
            form.name, parts.train, parts.test, form.outputs, form.regression, form.target.mean,
            form.target.std, fingerprint=form.fingerprint, classes=form.target.classes, form=form,
            told=parts.told,
        )  # fmt: skip
        return hold_out(whole, val_fraction, split_seed)
    if target is not None:
        raise InputError(f"target {target!r} is a column of a CSV file: leave it out for images")
    if task == REGRESSION:
        raise InputError("task 'regression' is for a CSV file, images have classes: leave it out")
    data = load_data(source, root, split_seed=split_seed)
    if data.val is None or not val_fraction:
        data = data.whole()
    train, test, val = (
        None if part is None else Examples(part.images / 255, part.labels)
        for part in (data.train, data.test, data.val)
    )
    assert train is not None and test is not None
    found = Task(
        data.name, train, test, data.num_classes, False, 0.0, 1.0, val, data.fingerprint,
        data.classes,
    )  # fmt: skip
    return hold_out(found, 0 if val else val_fraction, split_seed)


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


def _find_table(source: str, root: Path) -> Table | None:
    """Returns the table in a CSV file; None for any other source, which is of images."""
    path = Path(source).expanduser()
    if path.suffix.lower() != ".csv":
        return None
    if not path.exists() and (root / path).exists():
        path = root / path
    require_there(str(path))
    table = open_table(path)
    return None if is_list(table.names) else table
