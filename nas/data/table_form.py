"""How rows of a table enter a network, and what its outputs mean, in the target's own terms."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from cells.errors import InputError
from cells.strict_json import show, typed
from nas.data.tables import CATEGORIES, LARGEST, Column
from nas.runtime.fingerprint import Fingerprint

MOST_COLUMNS = 100_000


@dataclass(frozen=True)
class Target:
    """What is predicted."""

    name: str
    """Of its column."""
    classes: tuple[str, ...] = ()
    """Names by label; none for a regression."""
    mean: float = 0.0
    """Of a regression's targets in the training part, in their own unit."""
    std: float = 1.0
    """Likewise."""


@dataclass(frozen=True)
class TableForm:
    """Rows of a table -> features of a network -> values or probabilities.

    A number is centred and scaled by the training part, a missing one is its mean; a text becomes
    a feature for each category, 1 for its own and 0 for the others.
    """

    name: str
    """Of the data set."""
    columns: tuple[Column, ...]
    """Those that enter, in order."""
    target: Target
    fingerprint: Fingerprint = field(default_factory=dict)
    """See `nas.runtime.fingerprint`; empty if it was not recorded."""

    @property
    def regression(self) -> bool:
        """Whether numbers are predicted, not classes."""
        return not self.target.classes

    @property
    def outputs(self) -> int:
        """Outputs of the network: classes, or 1."""
        return len(self.target.classes) or 1

    @cached_property
    def features_of(self) -> "Features":
        """Makes features of rows, as a module."""
        return Features(self.columns)

    def features(self, rows: Tensor) -> Tensor:
        """Makes what the network takes.

        Args:
            rows: float64 (batch, columns): numbers in their own unit, or the place of the category
                among those of its column, from 0; NaN where a value is missing.

        Returns:
            float32 (batch, features).

        Raises:
            InputError: for another type or shape.
        """
        if rows.dtype != torch.float64 or rows.shape[1:] != (len(self.columns),):
            raise InputError(
                f"rows are {rows.dtype} {tuple(rows.shape)}, this network takes torch.float64 "
                f"(batch, {len(self.columns)}): its columns in order"
            )
        return self.features_of(rows)

    def answers(self, outputs: Tensor) -> Tensor:
        """Returns a regression's values (batch,) in the target's own unit, float64, or the
        probabilities of the classes (batch, classes).

        Args:
            outputs: of the network, (batch, outputs).
        """
        if self.regression:
            return outputs[:, 0].double() * self.target.std + self.target.mean
        return outputs.softmax(dim=1)


class Features(torch.nn.Module):
    """The encoding of rows; each feature reads one column."""

    source: Tensor
    """Column of each feature."""
    code: Tensor
    """Category of each feature; NaN for a number, -1 for a missing text."""
    mean: Tensor
    std: Tensor

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        source: list[int] = []
        code: list[float] = []
        mean: list[float] = []
        std: list[float] = []
        for place, column in enumerate(columns):
            codes = [float("nan")]
            if column.categories is not None:
                codes = [float(number) for number in range(len(column.categories))]
                codes += [-1.0] if column.missing else []
            source += [place] * len(codes)
            code += codes
            mean += [column.mean] * len(codes)
            std += [column.std] * len(codes)
        self.register_buffer("source", torch.tensor(source, dtype=torch.int64))
        for name, values in (("code", code), ("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))

    def forward(self, rows: Tensor) -> Tensor:
        """Maps float64 (batch, columns) to float32 (batch, features)."""
        picked = rows[:, self.source]
        absent = picked.isnan()
        scaled = torch.where(absent, 0.0, (picked - self.mean) / self.std)
        same = torch.where(absent, -1.0, picked) == self.code
        return torch.where(self.code.isnan(), scaled, same.double()).float()


def to_values(form: TableForm) -> dict[str, Any]:
    """Returns a form as JSON values; `from_values` reads them back."""
    return asdict(form)


def from_values(values: Mapping[str, Any]) -> TableForm:
    """Reads a form from JSON values of a stranger.

    Raises:
        InputError: naming what is absent, of another type or out of its range.
    """
    columns = typed(values.get("columns"), list, "its columns")
    if not 1 <= len(columns) <= MOST_COLUMNS:
        raise InputError(f"its columns must be from 1 to {MOST_COLUMNS}, got {len(columns)}")
    form = TableForm(
        typed(values.get("name"), str, "its data's name"),
        tuple(_column(column) for column in columns),
        _target(typed(values.get("target"), dict, "its target")),
        {
            part: typed(text, str, f"its {part}")
            for part, text in typed(values.get("fingerprint", {}), dict, "its fingerprint").items()
        },
    )
    if len({column.name for column in form.columns}) != len(columns):
        raise InputError("its columns must have different names: generate it again")
    return form


def _column(values: Any) -> Column:
    values = typed(values, dict, "a column")
    categories = values.get("categories")
    return Column(
        typed(values.get("name"), str, "a column's name"),
        None if categories is None else _names(categories, "categories"),
        typed(values.get("missing"), bool, "a column's missing"),
        *_scale(values),
    )


def _target(values: dict[str, Any]) -> Target:
    classes = typed(values.get("classes"), list, "its classes")
    return Target(
        typed(values.get("name"), str, "its target's name"),
        _names(classes, "classes") if classes else (),
        *_scale(values),
    )


def _names(values: Any, what: str) -> tuple[str, ...]:
    names = tuple(typed(name, str, f"one of its {what}") for name in typed(values, list, what))
    if not 1 <= len(names) <= CATEGORIES or len({*names}) != len(names):
        raise InputError(f"{what} must be 1 to {CATEGORIES} different names, got {show(values)}")
    return names


def _scale(values: dict[str, Any]) -> tuple[float, float]:
    mean = typed(values.get("mean"), float, "a mean")
    std = typed(values.get("std"), float, "a deviation")
    if not abs(mean) <= LARGEST or not 0 < std <= LARGEST:
        raise InputError(f"mean {mean} and deviation {std} are none of a table: generate it again")
    return mean, std
