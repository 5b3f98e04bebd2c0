"""Folders of images: which files there are, and their pixels."""

import glob
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cells.errors import InputError, unknown
from cells.input_files import open_regular

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""Formats that are read, whatever a file's name ends with."""
MAX_PIXELS = 80_000_000
FREE_PIXELS, PIXELS_PER_BYTE = 4_000_000, 4
"""An image may have so many pixels, and so many more for each byte of its file."""


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


def decode(file: Path, channels: int, height: int, width: int) -> np.ndarray[Any, Any]:
    """Decodes one file to bytes (channels, height, width), as `decode_all` does for training.

    An image of another size is resized without regard to its aspect. For 1 channel a coloured one
    becomes grey, for 3 a grey one fills them all.

    Raises:
        InputError: as `decode_all`, for the file alone.
    """
    image = _read(file)
    pixels = _pixels(image.convert("L") if channels == 1 else image, (width, height))
    return np.broadcast_to(pixels.transpose(2, 0, 1), (channels, height, width))


def decode_all(files: Sequence[Path], image_size: int | None) -> np.ndarray[Any, Any]:
    """Decodes files to bytes (n, channels, height, width), 1 channel if all are grey, else 3.

    Images stand as their EXIF orientation says, transparent ones lie on white, and of an animation
    the first picture is taken.

    Raises:
        InputError: for a file that is damaged, not of `FORMATS`, or no regular file; more than 8
            bits per channel; far more pixels than bytes; or images of different sizes.
    """
    size = None if image_size is None else (image_size, image_size)
    images = [_pixels(_read(file), size) for file in files]
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


def _pixels(image: Image.Image, size: tuple[int, int] | None) -> np.ndarray[Any, Any]:
    """Returns the bytes (height, width, 1 if grey else 3), resized to (width, height) if given."""
    if size is not None:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(image.height, image.width, -1)


def _read(file: Path) -> Image.Image:
    """Decodes one file to an image in grey or RGB."""
    try:
        with open_regular(file) as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of a damaged file is told in one line
            # Named formats only: by its content, Pillow would hand a file to Ghostscript as well.
            with Image.open(opened, formats=FORMATS) as image:
                _check_header(image, os.fstat(opened.fileno()).st_size)
                return _flatten(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise InputError(
            f"cannot read the image {str(file)!r} (none of {known}): repair or remove it"
        ) from None
    except Exception as error:  # a damaged file makes Pillow's plugins raise almost anything
        raise InputError(
            f"cannot read the image {str(file)!r} ({first_line(error)}): repair or remove it"
        ) from error


def _check_header(image: Image.Image, num_bytes: int) -> None:
    """Refuses an image before it is decoded, if it is too large or has more than 8 bits."""
    pixels = image.width * image.height
    if pixels > min(MAX_PIXELS, FREE_PIXELS + PIXELS_PER_BYTE * num_bytes):
        raise ValueError(f"{pixels} pixels in {num_bytes} bytes are too many: make it smaller")
    # Of 16-bit colours Pillow would drop the low byte, and say so here alone.
    layouts = [str(tile[3]) for tile in getattr(image, "tile", ())]
    if image.mode[0] in "IF" or any(";16" in each and "BGR;16" not in each for each in layouts):
        raise ValueError("more than 8 bits per channel: save it with 8")


def _flatten(image: Image.Image) -> Image.Image:
    """Makes an image grey or coloured, without transparency: what shines through is white."""
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        below = Image.new("RGBA", image.size, "white")
        below.alpha_composite(image.convert("RGBA"))
        image = below
    return image.convert(mode)


def first_line(error: Exception) -> str:
    """What went wrong in at most 100 characters of one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
