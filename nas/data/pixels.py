"""Pictures in files: their pixels as bytes, for training and for a trained network alike."""

import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cells.errors import InputError
from cells.input_files import open_regular
from nas.runtime.output import note

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""Formats that are read, whatever a file's name ends with."""
MAX_PIXELS = 80_000_000
FREE_PIXELS, PIXELS_PER_BYTE = 4_000_000, 4
"""An image may have so many pixels, and so many more for each byte of its file."""
BELOW = "white"
"""What shines through where an image is transparent."""
STRETCH, CROP, PAD = FITS = ("stretch", "crop", "pad")
"""How an image of another shape becomes one of the size that is asked for: without regard to its
aspect; its middle, as large as fits; or the whole of it, with black borders."""


class Encoded(NamedTuple):
    """A picture that is not in a file of its own."""

    name: str
    content: bytes


Picture = Path | Encoded


@dataclass
class Remarks:
    """Counts of what was done with pictures that their owner may not expect."""

    pictures: int = 0
    transparent: int = 0
    animated: int = 0

    def tell(self) -> None:
        """Says it on stderr, if there is anything to say."""
        of = f"of {self.pictures} images"
        if self.transparent:
            note(f"{self.transparent} {of} are transparent: they lie on {BELOW}")
        if self.animated:
            note(f"{self.animated} {of} hold several pictures: the first is read")


def decode(
    picture: Picture,
    channels: int,
    height: int,
    width: int,
    fit: str = STRETCH,
    remarks: Remarks | None = None,
) -> np.ndarray[Any, Any]:
    """Decodes one picture to bytes (channels, height, width), as `decode_all` does for training.

    For 1 channel a coloured one becomes grey, for 3 a grey one fills them all.

    Args:
        fit: how one of another size is brought to this one, of `FITS`.
        remarks: where it is counted.

    Raises:
        InputError: as `decode_all`, for the picture alone.
    """
    image = _read(picture, remarks or Remarks())
    pixels = _pixels(image.convert("L") if channels == 1 else image, (width, height), fit)
    return np.broadcast_to(pixels.transpose(2, 0, 1), (channels, height, width))


def decode_all(
    pictures: Sequence[Picture], image_size: int | None, fit: str = STRETCH
) -> np.ndarray[Any, Any]:
    """Decodes pictures to bytes (n, channels, height, width), 1 channel if all are grey, else 3.

    Images stand as their EXIF orientation says, transparent ones lie on white, and of an animation
    the first picture is taken; that some do is said on stderr.

    Args:
        image_size: side in pixels to which they are brought; None if all have one size already.
        fit: how, of `FITS`.

    Raises:
        InputError: for a file that is damaged, not of `FORMATS`, or no regular file; more than 8
            bits per channel; far more pixels than bytes; or images of different sizes.
    """
    size = None if image_size is None else (image_size, image_size)
    remarks = Remarks()
    images = [_pixels(_read(picture, remarks), size, fit) for picture in pictures]
    remarks.tell()
    for picture, image in zip(pictures, images, strict=True):
        if image.shape[:2] != images[0].shape[:2]:
            (height, width), (first_height, first_width) = image.shape[:2], images[0].shape[:2]
            raise InputError(
                f"{_name(picture)!r} has {height}x{width} pixels, {_name(pictures[0])!r} "
                f"{first_height}x{first_width}: give one image size for all, e.g. --image-size 32"
            )
    channels = max(image.shape[2] for image in images)
    stacked = np.empty((len(images), channels, *images[0].shape[:2]), np.uint8)
    for place, image in zip(stacked, images, strict=True):
        place[:] = image.transpose(2, 0, 1)  # a grey image fills all three channels
    return stacked


def _open(picture: Picture) -> BinaryIO:
    return io.BytesIO(picture.content) if isinstance(picture, Encoded) else open_regular(picture)


def _name(picture: Picture) -> str:
    return picture.name if isinstance(picture, Encoded) else str(picture)


def _pixels(image: Image.Image, size: tuple[int, int] | None, fit: str) -> np.ndarray[Any, Any]:
    """Returns the bytes (height, width, 1 if grey else 3), brought to (width, height) if given."""
    if size is not None:
        if fit == CROP:
            image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
        elif fit == PAD:
            image = _pad(image, size)
        else:
            image = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(image.height, image.width, -1)


def _pad(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resizes an image to fit inside a size, and centres it on black."""
    width, height = size
    scale = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    below = Image.new(image.mode, size)
    corner = ((width - inner[0]) // 2, (height - inner[1]) // 2)
    below.paste(image.resize(inner, Image.Resampling.BILINEAR), corner)
    return below


def _read(picture: Picture, remarks: Remarks) -> Image.Image:
    """Decodes one picture to an image in grey or RGB."""
    name = _name(picture)
    try:
        with _open(picture) as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of a damaged file is told in one line
            num_bytes = opened.seek(0, os.SEEK_END)
            opened.seek(0)
            # Named formats only: by its content, Pillow would hand a file to Ghostscript as well.
            with Image.open(opened, formats=FORMATS) as image:
                _check_header(image, num_bytes)
                animated = getattr(image, "is_animated", False)
                found, transparent = _flatten(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise InputError(
            f"cannot read the image {name!r} (none of {known}): repair or remove it"
        ) from None
    except Exception as error:  # a damaged file makes Pillow's plugins raise almost anything
        raise InputError(
            f"cannot read the image {name!r} ({first_line(error)}): repair or remove it"
        ) from error
    remarks.pictures += 1
    remarks.animated += animated
    remarks.transparent += transparent
    return found


def _check_header(image: Image.Image, num_bytes: int) -> None:
    """Refuses an image before it is decoded, if it is too large or has more than 8 bits."""
    pixels = image.width * image.height
    if pixels > min(MAX_PIXELS, FREE_PIXELS + PIXELS_PER_BYTE * num_bytes):
        raise ValueError(f"{pixels} pixels in {num_bytes} bytes are too many: make it smaller")
    # Of 16-bit colours Pillow would drop the low byte, and say so here alone.
    layouts = [str(tile[3]) for tile in getattr(image, "tile", ())]
    if image.mode[0] in "IF" or any(";16" in each and "BGR;16" not in each for each in layouts):
        raise ValueError("more than 8 bits per channel: save it with 8")


def _flatten(image: Image.Image) -> tuple[Image.Image, bool]:
    """Makes an image grey or coloured; what shines through is `BELOW`. Tells whether any does."""
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    transparent = False
    if image.has_transparency_data:
        above = image.convert("RGBA")
        transparent = above.getchannel("A").getextrema() != (255, 255)
        image = Image.new("RGBA", image.size, BELOW)
        image.alpha_composite(above)
    return image.convert(mode), transparent


def first_line(error: Exception) -> str:
    """What went wrong in at most 100 characters of one line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
