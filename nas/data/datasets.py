"""Data sets: where images come from.

Everything is read at once into uint8 tensors. What becomes of those, from the division into
parts to batches, is in `nas.data.batches` and `nas.data.augmentation`.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cells.errors import InputError
from nas.data.batches import Split, stratified_split
from nas.data.hub import is_of_hub, is_saved, list_hub
from nas.data.image_arrays import read_npz
from nas.data.image_folder import TEST, TRAIN, VAL, Listing, list_folder
from nas.data.image_list import read_list
from nas.data.pixels import STRETCH, decode_all, first_line
from nas.data.source import DIGITS, TORCHVISION, is_named, require_there
from nas.runtime.fingerprint import Fingerprint, of_array, of_names

TEST_FRACTION = 0.2
"""Share of each class held out as test part where a source has none of its own."""

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


@dataclass(frozen=True, eq=False)
class ImageData:
    """A data set: a training part, from which validation is split off, and a test part."""

    name: str
    train: Split
    test: Split
    num_classes: int
    classes: tuple[str, ...]
    """Name of each class, by label."""
    mean: tuple[float, ...]
    """Of each channel over the training part, in [0, 1] units."""
    std: tuple[float, ...]
    """Of each channel over the training part, in [0, 1] units; 1 for a constant channel."""
    flip: bool
    """Whether a mirrored image still shows its class."""
    fingerprint: Fingerprint = field(default_factory=dict)
    """Of what was read."""
    val: Split | None = None
    """The validation part, where the source has one of its own."""
    fit: str = STRETCH
    """How pictures of another size are brought to this one, of `nas.data.pixels.FITS`."""

    def whole(self) -> "ImageData":
        """Returns the same with a validation part of its own as part of the training part."""
        if self.val is None:
            return self
        images, labels = (
            torch.cat([getattr(self.train, part), getattr(self.val, part)])
            for part in ("images", "labels")
        )
        return replace(self, train=Split(images, labels), val=None)

    @property
    def channels(self) -> int:
        """Channels of every image."""
        return self.train.images.shape[1]

    @property
    def height(self) -> int:
        """Height of every image in pixels."""
        return self.train.images.shape[2]

    @property
    def width(self) -> int:
        """Width of every image in pixels."""
        return self.train.images.shape[3]


def load_data(
    source: str,
    root: Path,
    *,
    split_seed: int = 0,
    image_size: int | None = None,
    image_fit: str = STRETCH,
) -> ImageData:
    """Reads a data set into memory.

    Args:
        source: `digits` (bundled with scikit-learn, 8x8), `mnist`, `fashion`, `cifar10`,
            `cifar100`, a `.npz` file (see `nas.data.image_arrays`), a folder of images (see
            `nas.data.image_folder`), a list of such in a CSV or JSON file (see
            `nas.data.image_list`), or a data set of Hugging Face (see `nas.data.hub`).
        root: folder of the named data sets; they are downloaded to it if absent.
        split_seed: fixes the test part where the source has none of its own.
        image_size: side in pixels to which images from files are brought; None if all have the
            same size already.
        image_fit: how, of `nas.data.pixels.FITS`.

    Raises:
        InputError: for an unknown source, or data that are absent, damaged or inconsistent.
    """
    path = Path(source).expanduser()
    arrays = is_named(source) or (path.suffix == ".npz" and not path.is_dir())
    if not is_named(source) and not is_of_hub(source):
        require_there(source)
    if arrays and image_size is not None:
        raise InputError(f"image size {image_size} is only for files of images: leave it out")
    if image_size is not None and image_size < 1:
        raise InputError(f"image size must be 1 or more pixels, got {image_size}")
    if source == DIGITS:
        return _load_digits(split_seed)
    if source == "cifar10" and (root / "cifar10.npz").exists():
        parts = read_npz(root / "cifar10.npz")
        return _image_data(
            source, parts.train, parts.test, CIFAR10_CLASSES, val=parts.val, flip=True
        )
    if is_named(source):
        return _load_torchvision(source, root)
    if arrays:
        parts = read_npz(path)
        return _image_data(
            path.stem, parts.train, parts.test, parts.classes, val=parts.val, flip=False
        )
    name = path.resolve().name if path.is_dir() else path.stem
    if is_of_hub(source) or is_saved(path):
        listing = list_hub(source)
        name = source if is_of_hub(source) else name
    elif path.is_dir():
        listing = list_folder(path)
    elif path.suffix.lower() in (".csv", ".json"):
        listing = read_list(path)
    else:
        raise InputError(
            f"{source!r} is neither a .npz file nor a folder of images, nor a list of them in a "
            ".csv or .json file"
        )
    return _from_files(name, listing, split_seed, image_size, image_fit)


def _from_files(
    name: str, listing: Listing, split_seed: int, image_size: int | None, image_fit: str
) -> ImageData:
    """Decodes what is listed, and splits off a test part where there is none."""
    order = [part for part in (TRAIN, TEST, VAL) if part in listing.parts]
    listed = [each for part in order for each in listing.parts[part]]
    labels = np.array([label for _, label in listed], np.int64)
    images = decode_all([picture for picture, _ in listed], image_size, image_fit)
    parts, start = {}, 0
    for part in order:
        end = start + len(listing.parts[part])
        parts[part] = _split(images[start:end], labels[start:end])
        start = end
    train, test = parts[TRAIN], parts.get(TEST)
    if test is None:
        train, test = stratified_split(train, TEST_FRACTION, split_seed)
    data = _image_data(name, train, test, listing.classes, val=parts.get(VAL), flip=True)
    return replace(data, fingerprint=listing.fingerprint, fit=image_fit)


def _load_digits(split_seed: int) -> ImageData:
    """Reads scikit-learn's 1797 digits, whose pixels count 0 … 16 dots of a 4x4 raster."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    train, test = stratified_split(_split(images, digits.target), TEST_FRACTION, split_seed)
    return _image_data("digits", train, test, tuple("0123456789"), flip=False)


def _load_torchvision(name: str, root: Path) -> ImageData:
    """Reads one of `TORCHVISION`, downloading it where it is absent."""
    import torchvision.datasets

    class_name, folder = TORCHVISION[name]
    parts = []
    for train in (True, False):
        try:
            part = getattr(torchvision.datasets, class_name)(root, train=train, download=True)
        except Exception as error:  # torchvision lets through whatever network and files raise
            raise InputError(
                f"cannot read or download {name!r} ({first_line(error)}): put its files in "
                f"{str(root / folder)!r}"
            ) from error
        images = np.asarray(part.data)  # (n, 28, 28) or (n, 32, 32, 3)
        parts.append(_split(_channels_first(images), np.asarray(part.targets)))
    return _image_data(name, parts[0], parts[1], tuple(part.classes), flip=name != "mnist")


def _channels_first(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(n, height, width) or (n, height, width, channels) to (n, channels, height, width)."""
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


def _split(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Split:
    """Makes tensors of uint8 images (n, channels, height, width) and integer labels."""
    return Split(
        torch.from_numpy(np.ascontiguousarray(images)),
        torch.from_numpy(labels.astype(np.int64).reshape(-1)),
    )


def _image_data(
    name: str,
    train: Split,
    test: Split,
    classes: tuple[str, ...],
    *,
    val: Split | None = None,
    flip: bool,
) -> ImageData:
    """Checks the parts against each other and measures the training part."""
    if len(classes) < 2 or not len(test):
        raise InputError(
            f"{name!r} has too little, classes: {len(classes)}, test images: {len(test)}; "
            "at least 2 classes and 1 test image are needed"
        )
    if train.labels.unique().tolist() != list(range(len(classes))):
        raise InputError(
            f"training labels of {name!r} leave out some of 0 … {int(train.labels.max())}: "
            "renumber those of all parts alike, by number = {y: i for i, y in "
            "enumerate(sorted(set(y_train.tolist())))}"
        )
    for what, part in (("validation", val), ("test", test)):
        if part is None:
            continue
        if train.images.shape[1:] != part.images.shape[1:]:
            sizes = [_describe(*each.images.shape[1:]) for each in (train, part)]
            raise InputError(
                f"{name!r} has {sizes[0]} for training but {sizes[1]} for {what}: bring all to "
                "one size"
            )
        outside = part.labels[(part.labels < 0) | (part.labels >= len(classes))]
        if len(outside):
            raise InputError(
                f"{what} label {int(outside[0])} of {name!r} is outside the classes 0 … "
                f"{len(classes) - 1} seen in training: remove those images"
            )
    mean, std = zip(*map(_mean_and_std, train.images.unbind(1)), strict=True)
    fingerprint = {"classes": of_names(classes)}
    for what, part in (("training", train), ("validation", val), ("test", test)):
        if part is not None:
            fingerprint[f"{what} images"] = of_array(part.images)
            fingerprint[f"{what} labels"] = of_array(part.labels)
    return ImageData(name, train, test, len(classes), classes, mean, std, flip, fingerprint, val)


def _mean_and_std(channel: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation in [0, 1] units, by histogram: exact and without a float copy."""
    counts = torch.bincount(channel.flatten(), minlength=256).double()
    levels = torch.arange(256, dtype=torch.float64) / 255
    share = counts / counts.sum()
    mean = (share * levels).sum()
    std = (share * (levels - mean) ** 2).sum().sqrt()
    return mean.item(), std.item() if (counts > 0).sum() > 1 else 1.0


def _describe(channels: int, height: int, width: int) -> str:
    """Names a shape of images."""
    return f"{channels}x{height}x{width} images (channels, height, width)"
