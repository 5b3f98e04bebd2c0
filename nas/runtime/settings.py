"""Settings: frozen dataclasses that check themselves, composed, and read back from JSON.

A group of settings is a subclass of `Settings` in the folder that it is about. The settings of a
command inherit from all groups that it needs, so that whatever reads one group takes that type.
"""

import json
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    NamedTuple,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from cells.errors import InputError, unknown
from cells.strict_json import show

FREE = ("device", "data_root", "tensorboard")
"""Settings that may change when a run goes on: where it runs and what else it notes."""


class Range(NamedTuple):
    """Numbers, or texts, that a setting may be."""

    holds: Callable[[Any], bool]
    """False for all others, and for NaN."""
    words: str
    """What comes after "must"."""


class OneOf(NamedTuple):
    """Names that a setting may be."""

    what: str
    """What they are called."""
    names: Collection[str]
    """The choices."""


def at_least(low: float) -> Range:
    """Returns the finite numbers from `low` on."""
    return Range(lambda value: low <= value < math.inf, f"be at least {low}")


def from_to(low: int, high: int) -> Range:
    """Returns the whole numbers from `low` to `high`."""
    return Range(lambda value: low <= value <= high, f"be from {low} to {high}")


def _is_text(value: str) -> bool:
    """Whether all characters are such; a byte of a file's name that is none becomes half of one."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


SEED = Range(lambda value: abs(value) < 10**20, "have at most 20 digits")
"""What a genotype can note."""
TEXT = Range(_is_text, "be UTF-8 text: rename the file or folder")
"""What a genotype can note."""

Count = Annotated[int, at_least(1)]
Natural = Annotated[int, at_least(0)]
NotNegative = Annotated[float, at_least(0)]
Positive = Annotated[float, Range(lambda value: 0 < value < math.inf, "be positive and finite")]
BelowOne = Annotated[float, Range(lambda value: 0 <= value < 1, "be at least 0 and less than 1")]
Between = Annotated[float, Range(lambda value: 0 < value < 1, "lie between 0 and 1")]
Seed = Annotated[int, SEED]
Text = Annotated[str, TEXT]
Precision = Annotated[str, OneOf("precision", ("auto", "float32", "bfloat16"))]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings that are checked when they are made.

    Raises:
        InputError: naming the first setting out of its range, or a combination without a meaning.
    """

    common: ClassVar[tuple[str, ...]] = ()
    """Settings that `--help` shows first."""
    former: ClassVar[Mapping[str, Any]] = {}
    """Settings of older versions, with the value that is built in now."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self), include_extras=True).items():
            value = getattr(self, name)
            for limit in getattr(hint, "__metadata__", ()):
                for each in value if isinstance(value, tuple) else (value,):
                    if each is None:
                        continue
                    if isinstance(limit, OneOf) and each not in limit.names:
                        raise unknown(limit.what, each, limit.names)
                    if isinstance(limit, Range) and not limit.holds(each):
                        raise InputError(f"{name} must {limit.words}, got {each}")

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON values; `read_settings` reads them back."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))  # tuples become lists
        return values


@dataclass(frozen=True, kw_only=True)
class DeviceConfig(Settings):
    """Where it runs."""

    device: str = "auto"
    """auto, cpu or cuda."""
    threads: Natural = 0
    """CPU threads of every process; 0 leaves torch's choice. Results depend on it in the last bit,
    and tiny networks are quicker with 1."""
    data_root: str = field(default_factory=lambda: os.environ.get("NAS_DATA", "data"))
    """Folder of the downloaded data sets; NAS_DATA in the environment sets another default."""


@dataclass(frozen=True, kw_only=True)
class LogConfig(Settings):
    """What is noted."""

    tensorboard: bool = False
    """Write event files for TensorBoard as well, into the run's folder tensorboard."""


Kind = TypeVar("Kind", bound=Settings)

_SORTS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "a text",
    NoneType: "null",
    tuple[str, ...]: "a list of texts",
    tuple[int, ...]: "a list of integers",
    tuple[float, ...]: "a list of numbers",
}
"""What each type of setting is called in JSON."""


def setting_types(kind: type[Settings]) -> dict[str, tuple[Any, ...]]:
    """Returns the types that each setting may have, of those in `_SORTS`, by name."""
    hints = get_type_hints(kind)
    return {
        field.name: get_args(hint) if isinstance(hint, UnionType) else (hint,)
        for field in fields(kind)
        for hint in (hints[field.name],)
    }


def read_settings(kind: type[Kind], values: Mapping[str, Any]) -> Kind:
    """Rebuilds settings from their JSON values.

    Raises:
        InputError: if a field is unknown, or its value is of another type or refused.
    """
    types = setting_types(kind)
    settings: dict[str, Any] = {}
    for name, value in values.items():
        if name in kind.former:
            if value != kind.former[name]:
                raise InputError(
                    f"{name} is {kind.former[name]} in this version, got {show(value)}: go on "
                    "with the version that the run began with, or search anew"
                )
            continue
        if name not in types:
            raise unknown("setting", name, types)
        settings[name] = tuple(value) if isinstance(value, list) else value
        if not any(_is(settings[name], sort) for sort in types[name]):
            wanted = " or ".join(_SORTS[sort] for sort in types[name])
            raise InputError(f"setting {name!r} must be {wanted}, got {show(value)}")
    return kind(**settings)


def _is(value: Any, sort: Any) -> bool:
    """Whether a value is of a type in `_SORTS`; some programs write whole floats as integers."""
    if get_origin(sort) is tuple:
        return type(value) is tuple and all(_is(item, get_args(sort)[0]) for item in value)
    # A float of JSON without a point is an integer here, a long one larger than any float.
    return type(value) is sort or (sort is float and type(value) is int and abs(value) < 2**1023)


def total_steps(config: Any, per_epoch: int) -> int:
    """Returns the steps of a training whose settings have `epochs` and `steps`."""
    whole: int = config.epochs * per_epoch
    return whole if config.steps is None else min(config.steps, whole)


def require_same(wanted: Mapping[str, Any], found: Mapping[str, Any], path: Path) -> None:
    """Makes sure that a run goes on with the settings it began with.

    A path of data may be another: whether the data are the same, their fingerprint tells.

    Args:
        wanted: settings as JSON values.
        found: those in `path`, alike.

    Raises:
        InputError: naming the first setting that differs.
    """
    for name, value in wanted.items():
        before = found.get(name)
        if name == "data" and any(os.path.isabs(str(each)) for each in (value, before)):
            continue
        if name not in FREE and before != value:
            raise InputError(
                f"{path} is from another configuration: {name} was {show(before)}, now "
                f"{show(value)}; leave the option out, or start anew"
            )
