"""Settings as JSON values and back: frozen dataclasses are the only place one is written."""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from cells.errors import InputError, unknown
from cells.strict_json import show

Settings = TypeVar("Settings")

PRECISIONS = ("auto", "float32", "bfloat16")
FREE = ("device", "data_root")
"""Settings that may change when a run goes on: they say where it runs, not what it does."""

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


def read_settings(kind: type[Settings], values: dict[str, Any]) -> Settings:
    """Rebuilds settings from their JSON values.

    Raises:
        InputError: if a field is unknown, or its value is of another type or refused.
    """
    types = get_type_hints(kind)
    settings: dict[str, Any] = {}
    for name, value in values.items():
        if name not in types:
            raise unknown("setting", name, types)
        settings[name] = tuple(value) if isinstance(value, list) else value
        sorts = get_args(types[name]) if isinstance(types[name], UnionType) else (types[name],)
        if not any(_is(settings[name], sort) for sort in sorts):
            wanted = " or ".join(_SORTS[sort] for sort in sorts)
            raise InputError(f"setting {name!r} must be {wanted}, got {show(value)}")
    return kind(**settings)


def check_choices(*named: tuple[str, str, Collection[str]]) -> None:
    """Refuses values that are not among their choices.

    Args:
        named: what it is, its value, and the choices.

    Raises:
        InputError: for the first of them.
    """
    for what, value, choices in named:
        if value not in choices:
            raise unknown(what, value, choices)


def _is(value: Any, sort: Any) -> bool:
    """Whether a value is of a type in `_SORTS`; some programs write whole floats as integers."""
    if get_origin(sort) is tuple:
        return type(value) is tuple and all(_is(item, get_args(sort)[0]) for item in value)
    return type(value) is sort or (sort is float and type(value) is int)


def require_same(wanted: Mapping[str, Any], found: Mapping[str, Any], path: Path) -> None:
    """Makes sure that a run goes on with the settings it began with.

    Args:
        wanted: settings as JSON values.
        found: those in `path`, alike.

    Raises:
        InputError: naming the first setting that differs.
    """
    for name, value in wanted.items():
        if name not in FREE and found.get(name) != value:
            raise InputError(
                f"{path} is from another configuration: {name} was {found.get(name)!r}, now "
                f"{value!r}; leave the option out, or start anew"
            )
