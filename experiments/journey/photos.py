"""A folder of images as a user would have one, made from CIFAR-10."""

from pathlib import Path

import numpy as np
from PIL import Image

from cells.output_files import draft_of, replace_synced
from nas.data.batches import Split
from nas.data.datasets import load_data
from nas.runtime.streams import stream

TRAIN, TEST = 300, 200
"""Images of each of the 10 classes, from CIFAR-10's training part and from its test part."""
SMALLEST, LARGEST = 32, 64
"""Sides in pixels between which an image is enlarged; its two sides differ."""
QUALITY = 90
"""Of a JPEG; every other image is one, the rest are PNG."""


def make_photos(folder: Path, data_root: Path) -> Path:
    """Writes `folder/train/<class>/*` and `folder/test/<class>/*`, unless the folder exists.

    Raises:
        InputError: if CIFAR-10 is not in `data_root`.
    """
    if folder.exists():
        return folder
    data = load_data("cifar10", data_root)
    with draft_of(folder) as draft:
        for part, split, count in (("train", data.train, TRAIN), ("test", data.test, TEST)):
            for label, name in enumerate(data.classes):
                place = draft / part / name
                place.mkdir(parents=True)
                _write(place, split, label, count)
        if not folder.exists():  # another process may have been quicker
            replace_synced(draft, folder)
    return folder


def _write(place: Path, split: Split, label: int, count: int) -> None:
    """Writes the first images of one class, sizes drawn at random."""
    draw = np.random.default_rng(stream(0, f"photos/{place.parent.name}", label).initial_seed())
    mine = (split.labels == label).nonzero().flatten()[:count]
    for number, pixels in enumerate(split.images[mine].permute(0, 2, 3, 1).numpy()):
        width, height = (int(side) for side in draw.integers(SMALLEST, LARGEST + 1, 2))
        image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        if number % 2:
            image.save(place / f"{number:03d}.jpg", quality=QUALITY)
        else:
            image.save(place / f"{number:03d}.png")
