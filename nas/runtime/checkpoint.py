"""Checkpoints that survive kills, full disks and flipped bits, and never run code.

A checkpoint is a plain dict of tensors, numbers, strings and containers of them. Beside
`checkpoint.pt` lies its SHA-256, as `torch.load` does not notice flipped bits, and the checkpoint
before it, `checkpoint.previous.pt`, with its own.
"""

import hashlib
import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from cells.errors import InputError
from cells.input_files import read_regular
from cells.output_files import replace_synced, temporary, write_atomically, write_synced
from nas.runtime.archive import Code, read_archive

# What `torch.save` writes last: the record that ends a zip archive.
ZIP_END, ZIP_END_SIZE = b"PK\5\6", 22
MAX_BYTES = 1 << 38
"""Of a checkpoint; memory ends before."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint and keeps the one before as `….previous.pt`.

    The process may be killed at any point: after every single operation below, the current or
    the previous file exists together with its own hash. A checkpoint that is already damaged
    never replaces the previous one.

    Args:
        path: where, e.g. `runs/x/checkpoint.pt`.
        state: tensors, numbers, strings, None, and dicts, lists and tuples of them.

    Raises:
        InputError: if a number is not finite; the old checkpoint is intact.
        OSError: naming the file, e.g. if no space is left; the old checkpoint is intact.
    """
    if name := not_finite(state):
        raise InputError(
            f"{name} is not finite any more, {path} is not written over: go on from what was saved "
            "before with a lower learning rate, in a new run"
        )
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    previous = previous_file(path)
    new, new_hash = temporary(path), temporary(_hash_file(path))
    try:
        # All that needs space comes before the first rename.
        write_synced(new, data)
        write_synced(new_hash, _hash_line(data, path))
        if path.exists() and _fault(path, current := path.read_bytes()) is None:
            write_atomically(_hash_file(previous), _hash_line(current, previous))
            replace_synced(path, previous)
        replace_synced(new_hash, _hash_file(path))
        replace_synced(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        new_hash.unlink(missing_ok=True)
        raise


def not_finite(value: Any, name: str = "the state") -> str | None:
    """Returns the name of the first tensor with a NaN or an infinity in a state, None if all are.

    Args:
        value: a state, as `save` takes it.
        name: what it is called.
    """
    if isinstance(value, torch.Tensor):
        return name if value.is_floating_point() and not value.isfinite().all() else None
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    return next(filter(None, (not_finite(each, f"{name}.{key}") for key, each in items)), None)


def exists(path: Path) -> bool:
    """Whether there is a checkpoint, or, after a kill at the wrong moment, only the one before."""
    return path.exists() or previous_file(path).exists()


def load(path: Path) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU, or the one before it, with a warning, if it is damaged.

    Raises:
        InputError: if neither can be used.
    """
    previous = previous_file(path)
    if not exists(path):
        raise InputError(f"no checkpoint {path}: start the run without resuming")
    state, fault = _read(path)
    if state is None:
        state, previous_fault = _read(previous)
        if state is None:
            raise InputError(
                f"checkpoint {path} {fault}, and {previous.name} {previous_fault}: "
                "restore a copy, or start a new run"
            )
        warnings.warn(f"checkpoint {path} {fault}: went back to {previous.name}", stacklevel=2)
    return state


def previous_file(path: Path) -> Path:
    """Returns where the checkpoint before the one at a path lies."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _read(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Returns the state in a file, or None and what is wrong with the file."""
    if not path.exists():
        return None, "is missing"
    data = read_regular(path, MAX_BYTES)
    if fault := _fault(path, data):
        return None, fault
    try:
        state = read_archive(data)
    except Code:
        return None, "holds pickled code, which is never run"
    except Exception:  # zip, pickle and torch have many words for "damaged"
        state = None
    return (state, None) if isinstance(state, dict) else (None, "is no checkpoint at all")


def _fault(path: Path, data: bytes) -> str | None:
    """Returns how the content of a file differs from what was once written, None if not."""
    if not _hash_file(path).exists():
        return f"has no {_hash_file(path).name} beside it"
    if read_regular(_hash_file(path), 1000) == _hash_line(data, path):
        return None
    if not data[-ZIP_END_SIZE:].startswith(ZIP_END):
        return "is cut short, or no checkpoint at all"
    return f"is damaged: it differs from its {_hash_file(path).name}"


def _hash_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _hash_line(data: bytes, path: Path) -> bytes:
    """Returns what `sha256sum` prints for a file, so that `sha256sum --check` can read it."""
    return f"{hashlib.sha256(data).hexdigest()}  {path.name}\n".encode()
