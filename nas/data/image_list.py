"""Lists of image files and their classes, in a CSV or JSON file."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cells.errors import InputError
from cells.input_files import MIB, open_regular, read_text
from cells.strict_json import show, unique_keys
from nas.data.image_folder import PARTS, TRAIN, Listing
from nas.data.labels import Labels
from nas.runtime.fingerprint import DIGITS, of_names
from nas.runtime.tables import read_table

MAX_BYTES = 64 * MIB

COLUMNS = {
    "file": ("file", "file_name", "filename", "filepath", "path", "image", "image_path"),
    "label": ("label", "class", "class_name", "category", "target"),
    "part": ("part", "split", "subset", "set"),
}
"""What a list tells of an image, and the names that its owners give it."""


class Entry(NamedTuple):
    """One image of a list."""

    where: str
    file: str
    label: str
    part: str


def is_list(names: Sequence[str]) -> bool:
    """Tells whether columns of these names list files and their classes."""
    return {"file", "label"} <= _columns(names).keys()


def read_list(path: Path) -> Listing:
    """Reads a list: of every image its file, as seen from the list, its class, and maybe its part.

    A CSV file has a line of names and then one per image, a JSON file is an array of objects. The
    names are those of `COLUMNS`; a part is train, val or test.

    Raises:
        InputError: for anything else, a class that the training part lacks, or a file that cannot
            be read.
    """
    entries = list(_from_csv(path) if path.suffix.lower() == ".csv" else _from_json(path))
    parts: dict[str, list[Entry]] = {}
    for entry in entries:
        parts.setdefault(_part(entry), []).append(entry)
    if TRAIN not in parts:
        raise InputError(f"{str(path)!r} lists no image of the training part: add some")
    labels = Labels.of([entry.label for entry in parts[TRAIN]])
    digest = hashlib.sha256()
    for entry in entries:
        try:
            with open_regular(path.parent / entry.file) as opened:
                content = hashlib.file_digest(opened, "sha256").digest()
        except OSError as error:
            raise InputError(
                f"{entry.where}: cannot read {str(path.parent / entry.file)!r} "
                f"({error.strerror}); files lie beside the list, or are named in full"
            ) from None
        name = entry.file.encode("utf-8", "surrogateescape")
        digest.update(hashlib.sha256(name).digest() + content)
    return Listing(
        labels.classes,
        {
            part: [
                (path.parent / entry.file, labels.index(entry.label, entry.where))
                for entry in found
            ]
            for part, found in parts.items()
        },
        {
            "files of images": f"{len(entries)} {digest.hexdigest()[:DIGITS]}",
            "classes and parts": of_names([f"{e.label}\n{_part(e)}" for e in entries]),
        },
    )


def _columns(names: Sequence[str]) -> dict[str, str]:
    """What a list tells -> the name that it has there."""
    found: dict[str, str] = {}
    for what, known in COLUMNS.items():
        for name in names:
            if name.strip().lower() in known:
                found.setdefault(what, name)
    return found


def _require_columns(path: Path, names: Sequence[str]) -> dict[str, str]:
    found = _columns(names)
    for what in ("file", "label"):
        if what not in found:
            raise InputError(
                f"{str(path)!r} has no {what!r} among {', '.join(map(show, names)) or 'nothing'}: "
                "a list of images has file and label, and maybe part"
            )
    return found


def _from_csv(path: Path) -> Iterator[Entry]:
    names, rows = read_table(path, MAX_BYTES)
    places = {what: names.index(name) for what, name in _require_columns(path, names).items()}
    for where, row in rows:
        told = {what: row[place].strip() for what, place in places.items()}
        yield _entry(where, told)


def _from_json(path: Path) -> Iterator[Entry]:
    try:
        rows = json.loads(read_text(path, MAX_BYTES), object_pairs_hook=unique_keys)
    except InputError as error:
        raise InputError(f"{str(path)!r}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is not JSON ({error}): repair it") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(
            f"{str(path)!r} is no list of images: it must be an array of objects, such as "
            '[{"file": "1.png", "label": "cat"}]'
        )
    for number, row in enumerate(rows, 1):
        where = f"{str(path)!r} entry {number}"
        columns = _require_columns(path, list(row))
        yield _entry(where, {what: row[name] for what, name in columns.items()})


def _entry(where: str, told: Mapping[str, Any]) -> Entry:
    """Checks what a list tells of one image; whole numbers are names of classes, too."""
    label = told["label"]
    if type(label) is int and abs(label) < 10**18:
        label = str(label)
    for what, value in {**told, "label": label}.items():
        if type(value) is not str or not (value or what == "part"):
            raise InputError(f"{where}: {what} must be a text, got {show(value)}")
    return Entry(where, told["file"], label, told.get("part") or TRAIN)


def _part(entry: Entry) -> str:
    for part, names in PARTS.items():
        if entry.part.lower() in names:
            return part
    raise InputError(f"{entry.where}: part {show(entry.part)} is none of train, val, test")
