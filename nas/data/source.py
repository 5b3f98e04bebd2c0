"""What `--data` names: a data set by its name, or a file or folder by its path."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cells.errors import InputError, unknown

DIGITS = "digits"

TORCHVISION = {
    "mnist": ("MNIST", "MNIST/raw"),
    "fashion": ("FashionMNIST", "FashionMNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
}
"""Name here -> class in torchvision, folder under the data root in which it keeps its files."""

Config = TypeVar("Config", bound=Any)


def is_named(source: str) -> bool:
    """Tells whether a source is a data set's name, rather than a path."""
    return source == DIGITS or source in TORCHVISION


def is_here(name: str, root: Path) -> bool:
    """Tells whether a data set of `TORCHVISION` lies in the folder of named data sets, `root`."""
    return (root / TORCHVISION[name][1]).is_dir() or (
        name == "cifar10" and (root / "cifar10.npz").exists()
    )


def locate(source: str, root: Path) -> str:
    """Returns a path in full, without links, so that it means the same from every folder.

    Args:
        source: as `--data` takes it; a name stays as it is, and so does a path with nothing there.
        root: folder of the named data sets, where a file that is not here may lie as well.
    """
    if not source or is_named(source):
        return source
    try:
        for path in (Path(source).expanduser(), root / source):
            if path.exists():
                return str(path.resolve())
    except (OSError, ValueError, RuntimeError):  # no path at all, as whoever reads it will say
        pass
    return source


def located(config: Config) -> Config:
    """Returns settings with `data`, if there are any, as `locate` gives them."""
    if config.data is None:
        return config
    return replace(config, data=locate(config.data, Path(config.data_root)))


def require_there(source: str) -> None:
    """Makes sure that a path leads to a file or folder.

    Raises:
        InputError: saying from where it was looked for; for what looks like a name, with the
            nearest one.
    """
    if not source:
        raise InputError("the data set's name is empty: name one, e.g. --data digits")
    if Path(source).expanduser().exists():
        return
    absolute = os.path.isabs(source) or source.startswith("~")
    sought = "" if absolute else f", looked for in {str(Path.cwd())!r}"
    if absolute or "/" in source or Path(source).suffix:
        raise InputError(f"no such file or folder: {source!r}{sought}; check the path")
    named = unknown("data set", source, [DIGITS, *TORCHVISION])
    raise InputError(f"{named}; nor is there a folder {source!r}{sought}")
