"""What data were, in a few words, such that changed data are noticed when a run goes on."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from cells.errors import InputError
from cells.input_files import open_regular
from cells.strict_json import show

Fingerprint = Mapping[str, str]
"""Name of a part of the data -> its size and the start of its SHA-256; empty where not known."""

DIGITS = 16
"""Hex digits kept of a SHA-256: changes by chance or by hand are noticed, forgeries need not be."""


def of_array(array: Tensor | np.ndarray) -> str:
    """Describes an array by its shape, its type and the hash of its values."""
    values = np.ascontiguousarray(array)
    digest = hashlib.sha256(values.reshape(-1).view(np.uint8).data)
    return f"{'×'.join(map(str, values.shape))} {values.dtype} {digest.hexdigest()[:DIGITS]}"


def of_names(names: Sequence[str]) -> str:
    """Describes names in their order."""
    digest = hashlib.sha256("\0".join(names).encode("utf-8", "surrogateescape"))
    return f"{len(names)} {digest.hexdigest()[:DIGITS]}"


def of_files(files: Sequence[Path], folder: Path) -> str:
    """Describes files by how many there are, their paths inside a folder, and their bytes.

    Raises:
        InputError: if one is no regular file.
        OSError: if one cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        name = str(file.relative_to(folder)).encode("utf-8", "surrogateescape")
        with open_regular(file) as opened:
            content = hashlib.file_digest(opened, "sha256").digest()
        digest.update(hashlib.sha256(name).digest() + content)
    return f"{len(files)} {digest.hexdigest()[:DIGITS]}"


def require_same_data(before: Fingerprint, now: Fingerprint, what: str, remedy: str) -> None:
    """Makes sure that data are what they were; what was never recorded is not compared.

    Args:
        what: whose data they were, for the message.
        remedy: what else can be done than to restore them.

    Raises:
        InputError: naming the part that has changed.
    """
    if not before or not now:
        return
    for part in sorted({*before, *now}):
        if before.get(part) != now.get(part):
            raise InputError(
                f"the data of {what} have changed: {part} {_told(before, part)} then, "
                f"{_told(now, part)} now (size and hash); restore them, or {remedy}"
            )


def _told(data: Fingerprint, part: str) -> str:
    return show(data[part]) if part in data else "absent"
