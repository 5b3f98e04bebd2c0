"""What a network that was generated for a table says of the rows of other files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cells.errors import InputError, raise_it
from nas.data.table_form import TableForm
from nas.data.tables import open_table, read_rows
from nas.export.chain import ChainNetwork

BATCH_SIZE = 1024
"""Rows at a time."""


@dataclass(frozen=True)
class RowPrediction:
    """What a network says of one row."""

    path: Path
    line: int
    """Of the file, from 1 on."""
    target: str
    """Name of what is predicted."""
    value: float | None
    """Of a regression, in the target's own unit; None for classes."""
    probabilities: dict[str, float]
    """Of each class by its name, the most probable first; empty for a regression."""

    @property
    def class_name(self) -> str | None:
        """Name of the most probable class; None for a regression."""
        return next(iter(self.probabilities), None)


def predict_rows(
    network: ChainNetwork, files: Sequence[Path], on_error: Callable[[InputError], None] = raise_it
) -> Iterator[RowPrediction]:
    """Predicts the target of each row of CSV files, in order.

    Args:
        network: as `nas.load` returns it.
        files: with a header line that has the names of the columns that were trained on, in any
            order; further columns are not looked at.
        on_error: called for a file or a row that cannot be read, which is then left out.

    Raises:
        InputError: what `on_error` raises.
    """
    form = network.data
    assert isinstance(form, TableForm)
    for path in files:
        try:
            rows, lines = read_rows(open_table(path), form.columns, on_error)
        except InputError as error:
            on_error(error)
            continue
        for start in range(0, len(lines), BATCH_SIZE):
            some = torch.from_numpy(rows[start : start + BATCH_SIZE])
            with torch.no_grad():
                answers = form.answers(network(form.features(some))).tolist()
            for line, answer in zip(lines[start:], answers, strict=False):
                if form.regression:
                    yield RowPrediction(path, line, form.target.name, answer, {})
                else:
                    named = zip(form.target.classes, answer, strict=True)
                    ordered = dict(sorted(named, key=lambda pair: -pair[1]))
                    yield RowPrediction(path, line, form.target.name, None, ordered)
