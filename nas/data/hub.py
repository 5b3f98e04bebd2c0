"""Data sets of Hugging Face: by their name on the hub, or saved in a folder with `save_to_disk`.

They are read with the package `datasets`, which is large and is imported only here and only then.
Its tables hold encoded pictures, which are decoded as those in files are.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cells.errors import InputError
from nas.data.image_folder import PARTS, TEST, TRAIN, VAL, Listing
from nas.data.labels import Labels
from nas.data.pixels import Encoded, Picture, first_line
from nas.runtime.fingerprint import DIGITS, of_names
from nas.runtime.output import note

PREFIX = "hf:"
"""What a name on the hub begins with here: hf:owner/name, or hf:owner/name:configuration."""


def is_of_hub(source: str) -> bool:
    """Tells whether a source is a name on the hub."""
    return source.startswith(PREFIX)


def is_saved(path: Path) -> bool:
    """Tells whether a folder was written by `save_to_disk`."""
    return (path / "dataset_dict.json").is_file() or (
        (path / "dataset_info.json").is_file() and (path / "state.json").is_file()
    )


def list_hub(source: str) -> Listing:
    """Lists the pictures of a data set: its column of images, and its column of classes.

    A validation part without a test part is the test part.

    Args:
        source: a name, or the path of a folder.

    Raises:
        InputError: if the package is not installed, the data set cannot be had, or has no such
            columns.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"{source!r} is a data set of Hugging Face: pip install 'lambda-nas[hub]' first"
        ) from None
    try:
        if is_of_hub(source):
            name, _, configuration = source.removeprefix(PREFIX).partition(":")
            found = datasets.load_dataset(name, configuration or None)
        else:
            found = datasets.load_from_disk(str(Path(source).expanduser()))
    except Exception as error:  # it lets through whatever network and files raise
        raise InputError(f"cannot read or download {source!r} ({first_line(error)})") from error
    tables = dict(found) if isinstance(found, dict) else {TRAIN: found}
    parts = {
        part: tables[name]
        for part, names in PARTS.items()
        for name in reversed(names)
        if name in tables
    }
    if TRAIN not in parts:
        raise InputError(f"{source!r} has no part train: it has {', '.join(map(str, tables))}")
    if VAL in parts and TEST not in parts:
        parts[TEST] = parts.pop(VAL)
    image, label = _columns(source, parts[TRAIN].features, datasets)
    pictures, names = {}, {}
    for part, table in parts.items():
        table = table.select_columns([image, label]).cast_column(
            image, datasets.Image(decode=False)
        )
        pictures[part] = list(_pictures(f"{source} {part}", table[image]))
        names[part] = _names(source, table.features[label], table[label])
    feature = parts[TRAIN].features[label]
    labels = Labels(tuple(feature.names)) if hasattr(feature, "names") else Labels.of(names[TRAIN])
    order = [part for part in (TRAIN, TEST, VAL) if part in parts]
    digest = hashlib.sha256()
    for part in order:
        for picture in pictures[part]:
            content = picture.content if isinstance(picture, Encoded) else picture.read_bytes()
            digest.update(hashlib.sha256(content).digest())
    return Listing(
        labels.classes,
        {
            part: [
                (picture, labels.index(name, source))
                for picture, name in zip(pictures[part], names[part], strict=True)
            ]
            for part in order
        },
        {
            "images": f"{sum(map(len, pictures.values()))} {digest.hexdigest()[:DIGITS]}",
            "classes and parts": of_names(
                [f"{name}\n{part}" for part in order for name in names[part]]
            ),
        },
    )


def _columns(source: str, features: Any, datasets: Any) -> tuple[str, str]:
    """Finds the columns of images and of classes."""
    images = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    labels = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    labels += [name for name in ("label", "class") if name in features and name not in labels]
    if not images or not labels:
        raise InputError(
            f"{source!r} has no column of images or none of classes among {', '.join(features)}: "
            "name another data set"
        )
    label = "label" if "label" in labels else labels[0]
    if len(images) > 1 or len(labels) > 1:
        note(f"{source!r}: images are those of {images[0]!r}, classes those of {label!r}")
    return images[0], label


def _pictures(source: str, column: Any) -> Iterator[Picture]:
    """Yields the encoded pictures of a column, or the files that it names."""
    for number, value in enumerate(column):
        if not value or (value["bytes"] is None and not value["path"]):
            raise InputError(f"{source} has no image in row {number}: remove it")
        if value["bytes"] is None:
            yield Path(value["path"])
        else:
            yield Encoded(f"{source} row {number}", value["bytes"])


def _names(source: str, feature: Any, column: Any) -> list[str]:
    """Returns the class of each row by its name."""
    values = list(column)
    if any(value is None or value == -1 for value in values):
        raise InputError(f"{source!r} has rows without a class: remove them")
    if hasattr(feature, "names"):
        return [feature.names[value] for value in values]
    return [str(value) for value in values]
