"""Folders of images: which files there are, and their pixels."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cells.errors import InputError, unknown


def visible(folder: Path) -> list[Path]:
    """What a folder holds, in the order of names; hidden files are a file manager's own."""
    return sorted(item for item in folder.iterdir() if not item.name.startswith("."))


def list_files(folder: Path, classes: Sequence[str]) -> list[tuple[Path, int]]:
    """Every (file, label) below a folder of classes, by class and name."""
    files = []
    for class_folder in visible(folder):
        if not class_folder.is_dir():
            continue
        if class_folder.name not in classes:
            raise unknown(f"class in {str(folder)!r}", class_folder.name, classes)
        found = visible(class_folder)
        if not found:
            raise InputError(
                f"class folder {str(class_folder)!r} is empty: add images or remove it"
            )
        files += [(file, classes.index(class_folder.name)) for file in found]
    return files


def decode_all(files: Sequence[Path], image_size: int | None) -> np.ndarray[Any, Any]:
    """Decodes files to bytes (n, channels, height, width), 1 channel if all are grey, else 3."""
    images = [_decode(file, image_size) for file in files]
    for file, image in zip(files, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            (height, width), (first_height, first_width) = image.shape[:2], images[0].shape[:2]
            raise InputError(
                f"{str(file)!r} has {height}x{width} pixels, {str(files[0])!r} "
                f"{first_height}x{first_width}: give one image size for all"
            )
    channels = max(image.shape[2] for image in images)
    stacked = np.empty((len(images), channels, *images[0].shape[:2]), np.uint8)
    for place, image in zip(stacked, images, strict=True):
        place[:] = image.transpose(2, 0, 1)  # a grey image fills all three channels
    return stacked


def _decode(file: Path, image_size: int | None) -> np.ndarray[Any, Any]:
    """Decodes one file to bytes (height, width, 1 if grey else 3)."""
    try:
        with warnings.catch_warnings():
            # Pillow only warns of images between one and two times its limit of 89 megapixels.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                if image.mode[0] in "IF":
                    raise ValueError("more than 8 bits per pixel")
                decoded = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
    except Exception as error:  # a damaged file makes Pillow's plugins raise almost anything
        raise InputError(
            f"cannot read the image {str(file)!r} ({first_line(error)}): repair or remove it"
        ) from error
    if image_size is not None:
        decoded = decoded.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(decoded).reshape(decoded.height, decoded.width, -1)


def first_line(error: Exception) -> str:
    """What went wrong in at most 100 characters of one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
