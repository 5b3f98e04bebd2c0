"""Folders of images: which files there are, and of which class."""

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cells.errors import InputError, unknown
from nas.data.pixels import Picture
from nas.runtime.fingerprint import Fingerprint, of_files

TRAIN, VAL, TEST = "train", "val", "test"
PARTS = {
    TRAIN: (TRAIN, "training"),
    VAL: (VAL, "valid", "validation", "dev"),
    TEST: (TEST, "testing"),
}
"""Parts of a data set, and what their owners call them."""


class Listing(NamedTuple):
    """Pictures with their classes, before any is decoded."""

    classes: tuple[str, ...]
    parts: Mapping[str, Sequence[tuple[Picture, int]]]
    """(picture, label) of `TRAIN`, and of `VAL` and `TEST` where there are such parts."""
    fingerprint: Fingerprint


def visible(folder: Path) -> list[Path]:
    """What a folder holds, in the order of names; hidden files are a file manager's own."""
    return sorted(item for item in folder.iterdir() if not item.name.startswith("."))


def list_folder(path: Path) -> Listing:
    """Lists `<part>/<class>/**`, or `<class>/**` alone.

    Parts are train, and test, val or both; a val without a test is the test part.

    Raises:
        InputError: if there are fewer than 2 classes, one is empty, or a part has a class that the
            training part lacks.
    """
    folders = {
        part: folder
        for part, names in PARTS.items()
        for name in reversed(names)
        if (folder := path / name).is_dir()
    }
    if TRAIN not in folders or len(folders) == 1 < len(visible(path)):
        folders = {TRAIN: path}
    elif VAL in folders and TEST not in folders:
        folders[TEST] = folders.pop(VAL)
    train = folders[TRAIN]
    classes = tuple(folder.name for folder in visible(train) if folder.is_dir())
    if len(classes) < 2:
        raise InputError(
            f"folders of classes in {str(train)!r}: {len(classes)}, at least 2 are needed; "
            "lay images out as train/<class>/* and test/<class>/*, or <class>/* alone"
        )
    parts = {part: _list_files(folder, classes) for part, folder in folders.items()}
    # Of the files, as another version of a decoder may give other pixels.
    files = [file for part in (TRAIN, TEST) for file, _ in parts.get(part, [])]
    fingerprint = {"files of images": of_files(files, path)}
    if VAL in parts:
        fingerprint["files for validation"] = of_files([file for file, _ in parts[VAL]], path)
    return Listing(classes, parts, fingerprint)


def _list_files(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """Every (file, label) below a folder of classes, by class and name."""
    files = []
    for class_folder in visible(folder):
        if not class_folder.is_dir():
            continue
        if class_folder.name not in classes:
            raise unknown(f"class in {str(folder)!r}", class_folder.name, classes)
        found = list(_files_below(class_folder, ()))
        if not found:
            raise InputError(
                f"class folder {str(class_folder)!r} is empty: add images or remove it"
            )
        files += [(file, classes.index(class_folder.name)) for file in found]
    return files


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """Lists the files that paths name: files, folders with all that is below them, and globs.

    Hidden files and folders are left out, unless they are named. What is named twice counts once.
    A file need not exist.

    Raises:
        InputError: if there is no path, or no file in a folder or behind a glob.
    """
    if not paths:
        raise InputError("no image is named: name files, folders or globs")
    files: dict[str, Path] = {}
    for path in map(str, paths):
        is_glob = not os.path.lexists(path) and any(sign in path for sign in "*?[")
        named = sorted(glob.glob(path, recursive=True)) if is_glob else [path]
        found = [file for each in named for file in _files_below(Path(each), ())]
        if not found:
            raise InputError(f"no image in {path!r}: name files, folders or globs")
        for file in found:
            files.setdefault(os.path.join(os.path.realpath(file.parent), file.name), file)
    return list(files.values())


def _files_below(path: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """Yields a file itself, or a folder's visible files; links to folders above are left out."""
    if not os.path.isdir(path):
        yield path
    elif (folder := os.path.realpath(path)) not in above:
        for item in visible(path):
            yield from _files_below(item, (*above, folder))
