"""Run folders, made once and never overwritten, and the kinds of files in them."""

import csv
import errno
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cells.errors import InputError
from cells.input_files import MIB, read_text
from cells.output_files import draft_of, replace_synced, write_atomically
from cells.strict_json import unique_keys

CHECKPOINT = "checkpoint.pt"
CONFIG = "config.json"
MAX_CONFIG = MIB


def make_folder(
    path: Path,
    *,
    exact: bool,
    config: dict[str, Any],
    fill: Callable[[Path], Any] = lambda folder: None,
) -> Path:
    """Makes the folder of a run, whole or not at all, and returns it.

    Args:
        exact: whether it must be `path`; otherwise `path-2`, `path-3`, … where that is taken.
        config: the settings, as JSON values.
        fill: writes what else it holds from the beginning into the folder that it is given.

    Raises:
        InputError: if it exists and `exact` is set.
    """
    with draft_of(path) as draft:
        write_json(draft / CONFIG, config)
        fill(draft)
        if exact:
            refuse_existing(path)
        made = path if exact else free_name(path)
        replace_synced(draft, made)
        return made


def free_name(path: Path) -> Path:
    """Returns a path where nothing is yet: `path`, or `path-2`, `path-3`, … where it is taken."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def refuse_existing(path: Path) -> None:
    """Makes sure that there is nothing at a path.

    Raises:
        InputError: if there is.
    """
    if path.exists():
        raise InputError(f"{path} exists: choose another --out, or go on with --resume {path}")


def require_folder(run: Path) -> Path:
    """Returns the folder of a run.

    Raises:
        InputError: if there is none.
    """
    if not run.is_dir():
        raise InputError(f"no folder {run}: name that of a search, e.g. runs/digits")
    return run


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes settings or results, whole or not at all."""
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def csv_bytes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Returns a table with a line of names as CSV.

    Args:
        rows: at least one; values by the names of the columns, in the order of the first row.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table, whole or not at all; see `csv_bytes`."""
    write_atomically(path, csv_bytes(rows))


def read_config(path: Path) -> dict[str, Any]:
    """Reads a `config.json`.

    Raises:
        InputError: if it is not a JSON object, or of more than 1 MiB.
    """
    text = read_text(path, MAX_CONFIG)
    try:
        values = json.loads(text, object_pairs_hook=unique_keys)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): repair it or start anew") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a JSON object: repair it or start anew")
    return values


REMEDIES = {
    errno.ENOENT: "check the path",
    errno.EEXIST: "choose another name, or remove it first",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file, not a folder",
    errno.EACCES: "check its permissions, or choose another place",
    errno.EPERM: "check its permissions, or choose another place",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOSPC: "free some space, then try again",
    errno.EDQUOT: "free some space, then try again",
}
"""What a user can do about each error of the file system."""


def describe(error: OSError) -> str:
    """Returns what happened to which file, and what to do about it."""
    if error.errno is None or error.strerror is None:
        return str(error) or type(error).__name__
    parts = [error.strerror, str(error.filename or ""), REMEDIES.get(error.errno, "")]
    return ": ".join(part for part in parts if part)
