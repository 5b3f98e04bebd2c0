"""Images and labels as arrays of an `.npz` file: bytes with the channels first, numbered classes.

What had to be guessed or converted is said on stderr; what cannot be told is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cells.errors import InputError
from cells.strict_json import show
from nas.data.batches import Split
from nas.data.labels import Labels
from nas.data.npz import read_arrays
from nas.runtime.output import note

KEYS = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("x_val", "y_val", "channels")
MOST_CHANNELS = 4
"""Beside a larger number, one up to this is that of channels."""
FINE = 128
"""Fractions between 0 and 255 are worth rounding if they reach this; below, too few levels are
left."""
AT_ONCE = 1024
"""Images that are converted together, to spare memory."""

Array = np.ndarray[Any, Any]


class Arrays(NamedTuple):
    """What an `.npz` file holds."""

    train: Split
    val: Split | None
    test: Split
    classes: tuple[str, ...]


def read_npz(path: Path) -> Arrays:
    """Reads x_train y_train x_test y_test, and x_val y_val if they are there.

    Images are (n, height, width), or have channels in the place that an array `channels`, "first"
    or "last", names, else in the only place where they can be; numbers are bytes, or converted to
    such. Labels count from 0, or are names.

    Raises:
        InputError: if the file is damaged, lacks an array, or an array is not such.
    """
    arrays = read_arrays(path, KEYS, OPTIONAL)
    if ("x_val" in arrays) != ("y_val" in arrays):
        raise InputError(f"{str(path)!r} has one of x_val and y_val: add the other")
    images = {name: x for name, x in arrays.items() if name.startswith("x_")}
    for name, x in images.items():
        if x.ndim not in (3, 4) or 0 in x.shape:
            raise InputError(
                f"{name} of {str(path)!r} has shape {x.shape}: images are (n, height, width), "
                "or have channels as well, none of them 0"
            )
    first = _channels_first(path, images, arrays.get("channels"))
    convert = _conversion(path, images)
    pixels = {
        name.removeprefix("x_"): np.ascontiguousarray(_place(convert(x), first))
        for name, x in images.items()
    }
    labels, classes = _labels(path, arrays)
    splits = {
        part: Split(torch.from_numpy(x), torch.from_numpy(labels[part]))
        for part, x in pixels.items()
    }
    return Arrays(splits["train"], splits.get("val"), splits["test"], classes)


def _place(x: Array, first: bool) -> Array:
    """Brings (n, height, width), or with channels, to (n, channels, height, width)."""
    if x.ndim == 3:
        return x[:, None]
    return x if first else x.transpose(0, 3, 1, 2)


def _channels_first(path: Path, images: Mapping[str, Array], told: Array | None) -> bool:
    """Tells whether channels come before rows and columns.

    They do, or come last, where only one of the two can be: a number up to `MOST_CHANNELS` beside a
    larger one is that of channels, and two equal sides are those of a square.
    """
    if told is not None:
        place = str(told) if told.ndim == 0 else ""
        if place not in ("first", "last"):
            raise InputError(f"channels of {str(path)!r} must be 'first' or 'last': it is {told!s}")
        return place == "first"
    for name, x in images.items():
        if x.ndim == 3 or x.shape[1:] == (1, 1, 1):
            continue
        before, middle, after = x.shape[1:]
        last = after <= MOST_CHANNELS < before or before == middle != after
        first = before <= MOST_CHANNELS < after or middle == after != before
        if first == last:
            raise InputError(
                f"{name} of {str(path)!r} has shape {x.shape}, which does not tell whether "
                "channels come first or last: add an array to the file, "
                'numpy.savez(…, channels="first") or "last"'
            )
        if first:
            note(f"{str(path)!r}: {name} of shape {x.shape} is read with its channels first")
            return True
        return False
    return False


class _Conversion(NamedTuple):
    """Bytes as `rint((x + shift) * scale)`."""

    shift: float = 0.0
    scale: float = 1.0

    def __call__(self, x: Array) -> Array:
        if x.dtype == np.uint8:
            return x
        found = np.empty(x.shape, np.uint8)
        for start in range(0, len(x), AT_ONCE):
            part = x[start : start + AT_ONCE].astype(np.float64)
            found[start : start + AT_ONCE] = np.rint((part + self.shift) * self.scale)
        return found


def _conversion(path: Path, images: Mapping[str, Array]) -> _Conversion:
    """Finds out how the numbers of all parts become bytes; says so, or refuses them."""
    kinds = {str(x.dtype) for x in images.values()}
    if len(kinds) > 1:
        found = ", ".join(f"{name} {x.dtype}" for name, x in images.items())
        raise InputError(f"images of {str(path)!r} are {found}: store all of them alike")
    (kind,) = kinds
    if kind == "uint8":
        return _Conversion()
    sort = next(iter(images.values())).dtype.kind
    if sort not in "biuf":
        raise InputError(f"images of {str(path)!r} are {kind}: store the pixels as bytes")
    low = min(float(x.min()) for x in images.values())
    high = max(float(x.max()) for x in images.values())
    told = f"images of {str(path)!r} are {kind} from {low:g} to {high:g}"
    if not np.isfinite(low) or not np.isfinite(high):
        raise InputError(f"{told}: mend or remove what is no finite number")
    if sort == "b" or (sort == "f" and low >= 0 and high <= 1):
        how, conversion = "255 times the value", _Conversion(scale=255)
    elif sort == "f" and low >= -1 and high <= 1:
        how, conversion = "127.5 times the value + 1", _Conversion(1, 127.5)
    elif low >= 0 and high <= 255 and (sort in "iu" or high >= FINE or _whole(images)):
        how, conversion = "the value", _Conversion()
    else:
        raise InputError(
            f"{told}, none of 0 … 1, -1 … 1 and 0 … 255: scale all parts alike, e.g. "
            f"(x - {low:g}) / {high - low:g}" + (" as floats" if sort in "iu" else "")
        )
    note(f"{told}: their bytes are {how}, rounded")
    return conversion


def _whole(images: Mapping[str, Array]) -> bool:
    """Tells whether all numbers are whole."""
    return all(bool((x == np.rint(x)).all()) for x in images.values())


def _labels(path: Path, arrays: Mapping[str, Array]) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Returns the labels of each part, int64 (n,), and the names of the classes."""
    found, names = {}, {}
    for part in ("train", "val", "test"):
        if f"y_{part}" not in arrays:
            continue
        y, what = arrays[f"y_{part}"], f"y_{part} of {str(path)!r}"
        count = len(arrays[f"x_{part}"])
        if y.dtype.kind not in "biuUS" or y.shape not in ((count,), (count, 1)):
            raise InputError(
                f"{what} holds {y.dtype} of shape {y.shape}: labels are integers or texts of "
                f"shape ({count},), one per image"
            )
        y = y.reshape(-1)
        if y.dtype.kind in "US":
            names[part] = _texts(what, y)
        elif y.min() < 0:
            raise InputError(f"{what} holds the label {y.min()}: labels count from 0")
        else:
            found[part] = y.astype(np.int64)
    if names and found:
        raise InputError(f"labels of {str(path)!r} are texts and numbers: store all of them alike")
    if names:
        labels = Labels.of(names["train"])
        for part, texts in names.items():
            what = f"y_{part} of {str(path)!r}"
            found[part] = np.array([labels.index(text, what) for text in texts], np.int64)
        return found, labels.classes
    return found, tuple(str(label) for label in range(len(np.unique(found["train"]))))


def _texts(what: str, y: Array) -> list[str]:
    """Returns an array of texts, or of their bytes in UTF-8, as such."""
    try:
        texts = [text.decode() if isinstance(text, bytes) else str(text) for text in y.tolist()]
        "".join(texts).encode()
    except ValueError as error:
        raise InputError(f"{what} holds what is no text ({show(str(error))}): mend it") from None
    return texts
