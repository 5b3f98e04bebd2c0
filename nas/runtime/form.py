"""The form of a checkpoint's parts, checked at the door, before anything is built from them."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cells.errors import InputError
from cells.strict_json import show

LARGEST = sys.float_info.max


class Misfit(InputError):
    """A part of a checkpoint is not what the rest of it, or the program, asks for."""


@contextmanager
def fitting(what: str) -> Iterator[None]:
    """Tells in one line that a part does not fit, however the code that takes it in notices.

    Raises:
        Misfit: instead of the errors of wrong types, shapes and names.
    """
    try:
        yield
    except (InputError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as e:
        raise Misfit(f"its {what} does not fit its own configuration ({type(e).__name__})") from e


@contextmanager
def from_checkpoint(path: Path) -> Iterator[None]:
    """Names the checkpoint whose part does not fit, and a remedy.

    Raises:
        InputError: instead of `Misfit`.
    """
    try:
        yield
    except Misfit as error:
        raise InputError(
            f"{path} is damaged or from another program: {error}; restore a copy, or start anew"
        ) from error


def whole(value: Any, what: str, low: int, high: int) -> None:
    """Refuses what is not a whole number from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise Misfit(f"{what} must be a whole number from {low} to {high}, got {show(value)}")


def finite(value: Any, what: str) -> None:
    """Refuses what is not a finite number of Python."""
    if type(value) not in (int, float) or not abs(value) <= LARGEST:
        raise Misfit(f"{what} must be a finite number, got {show(value)}")


def tensor(value: Any, what: str, shape: Sequence[int | None], *dtypes: torch.dtype) -> None:
    """Refuses what is not a tensor of such a shape and type, all of it numbers.

    Args:
        shape: sizes; None for any but 0.
        dtypes: any of them.
    """
    fits = (
        isinstance(value, Tensor)
        and len(value.shape) == len(shape)
        and all(n == m or (m is None and n > 0) for n, m in zip(value.shape, shape, strict=True))
        and value.dtype in dtypes
    )
    if not fits:
        found = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else show(value)
        raise Misfit(f"{what} must be {dtypes[0]} {list(shape)}, got {found}")
    if bool(value.isnan().any()):
        raise Misfit(f"{what} holds NaN")


def inside(value: Any, what: str, shape: Sequence[int | None], count: int) -> Tensor:
    """Returns whole numbers that must be from 0 to `count` - 1, in a tensor of such a shape."""
    tensor(value, what, shape, torch.int64)
    if bool(((value < 0) | (value >= count)).any()):
        raise Misfit(f"{what} must be from 0 to {count - 1}")
    assert isinstance(value, Tensor)
    return value


def plain(value: Any, what: str) -> dict[str, Any]:
    """Returns settings that must be JSON values by name: no tensors, nothing deep."""
    for name, setting in mapping(value, what).items():
        items = setting if type(setting) is list else [setting]
        if type(name) is not str or any(
            item is not None and type(item) not in (bool, int, float, str) for item in items
        ):
            raise Misfit(f"{what} has {show(name)} {show(setting)}, which is no setting")
    return mapping(value, what)


def weights(value: Any, what: str) -> None:
    """Refuses what are not finite tensors by name."""
    for name, weight in mapping(value, what).items():
        if type(name) is not str or not isinstance(weight, Tensor):
            raise Misfit(f"{what} must be tensors by name, got {show(name)}: {show(weight)}")
        if not bool(weight.isfinite().all()):
            raise Misfit(f"{what} holds what is no number, in {show(name)}")


def room(values: dict[str, Tensor], least: int) -> None:
    """Refuses settings that ask for more weights than there are, before memory is taken for them.

    Args:
        least: numbers that a hypernetwork of these settings has, or fewer.
    """
    found = sum(weight.numel() for weight in values.values())
    if least > found:
        raise Misfit(
            f"its hypernet does not fit its own configuration: {least} weights or more are wanted, "
            f"it has {found}"
        )


def deadline(value: Any) -> None:
    """Refuses what no `Deadline` has left."""
    if value is None:
        return
    names = {"limit", "spent", "after", "phases", "epoch", "share", "others"}
    if mapping(value, "deadline").keys() != names or type(value["phases"]) is not list:
        raise Misfit(f"a deadline has {', '.join(sorted(names))}")
    for name in names - {"phases"}:
        finite(value[name], name)
    for seconds in value["phases"]:
        finite(seconds, "phases")


def averages(value: Any) -> None:
    """Refuses what are not `Average`s by name."""
    for name, average in mapping(value, "averages").items():
        if type(name) is not str or mapping(average, "averages").keys() != {"total", "count"}:
            raise Misfit("averages must be totals and counts by name")
        whole(average["count"], f"the count of {name}", 0, 1 << 62)
        if type(average["total"]) not in (int, float):
            raise Misfit(f"the total of {name} must be a number, got {show(average['total'])}")


def texts(value: Any, what: str) -> None:
    """Refuses what are not texts by name."""
    for name, text in mapping(value, what).items():
        if type(name) is not str or type(text) is not str:
            raise Misfit(f"{what} must be texts by name, got {show(name)}: {show(text)}")


def optimizer(value: Any, what: str) -> None:
    """Refuses what is not the state of an optimiser, whatever its parameters are."""
    found = mapping(value, what)
    groups, state = found.get("param_groups"), mapping(found.get("state"), what)
    for group in groups if type(groups) is list else [None]:
        indices = mapping(group, what).get("params")
        if type(indices) is not list or any(type(index) is not int for index in indices):
            raise Misfit(f"{what} names no parameters")
    for index, values in state.items():
        whole(index, f"a parameter of {what}", 0, 1 << 31)
        for entry in mapping(values, what).values():
            if isinstance(entry, Tensor):
                weights({"buffer": entry}, what)
            elif entry is not None:
                finite(entry, what)


def require_usable(own: torch.optim.Optimizer, what: str) -> None:
    """Refuses an Adam or SGD that was restored with what it would only stumble over at a step."""
    adam = {"step", "exp_avg", "exp_avg_sq"} if isinstance(own, torch.optim.Adam) else None
    for group in own.param_groups:
        for name, default in {"scale": 1.0, **own.defaults}.items():
            if not _alike(group.get(name, 1.0 if name == "scale" else "absent"), default):
                raise Misfit(f"{what} has {show(name)} {show(group.get(name))}")
        for parameter in group["params"]:
            buffers = own.state.get(parameter, {})
            if adam and buffers and set(buffers) != adam:
                raise Misfit(f"{what} has buffers {show(list(buffers))}")
            for name, entry in buffers.items():
                shape = () if name == "step" else parameter.shape
                if entry.shape != shape if isinstance(entry, Tensor) else adam or entry is not None:
                    raise Misfit(f"{what} has {show(name)} of another shape than its parameter")


def _alike(value: Any, default: Any) -> bool:
    """Whether a setting of an optimiser can take the place of its default."""
    if isinstance(default, tuple):
        return (
            type(value) is tuple and len(value) == len(default) and all(map(_alike, value, default))
        )
    if default is None or isinstance(default, bool):
        return value is None or isinstance(value, bool)
    if isinstance(value, Tensor):
        return value.ndim == 0
    return type(value) in (int, float) and abs(value) <= LARGEST


def mapping(value: Any, what: str) -> dict[Any, Any]:
    """Returns what must be a dict."""
    if type(value) is not dict:
        raise Misfit(f"{what} must be a dict, got {show(value)}")
    return value
