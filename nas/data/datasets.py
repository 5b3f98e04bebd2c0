"""Data sets: where images come from.

Everything is read at once into uint8 tensors. What becomes of those, from the division into
parts to batches, is in `nas.data.batches` and `nas.data.augmentation`.
"""

import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cells.errors import InputError
from nas.data.batches import Split, stratified_split
from nas.data.image_folder import decode_all, first_line, list_files, visible
from nas.data.npz import read_arrays
from nas.data.source import DIGITS, TORCHVISION, is_named, require_there
from nas.runtime.fingerprint import Fingerprint, of_array, of_files, of_names

TEST_FRACTION = 0.2
"""Share of each class held out as test part where a source has none of its own."""

TEST_FOLDERS = ("test", "val", "valid", "validation")
"""Names of the test part beside a folder `train`; the first that is there counts."""

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)

NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")


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
    source: str, root: Path, *, split_seed: int = 0, image_size: int | None = None
) -> ImageData:
    """Reads a data set into memory.

    Args:
        source: `digits` (bundled with scikit-learn, 8x8), `mnist`, `fashion`, `cifar10`,
            `cifar100`, a `.npz` file with x_train y_train x_test y_test, or a folder of images
            with `train/<class>/*` and `test/<class>/*` (or `val`, `valid`, `validation` in the
            place of `test`), or `<class>/*` alone.
        root: folder of the named data sets; they are downloaded to it if absent.
        split_seed: fixes the test part where the source has none of its own.
        image_size: side in pixels to which the images of a folder are resized, without regard
            to their aspect; None if all have the same size already.

    Raises:
        InputError: for an unknown source, or data that are absent, damaged or inconsistent.
    """
    named = is_named(source)
    path = Path(source).expanduser()
    if not named:
        require_there(source)
    if image_size is not None and (named or not path.is_dir()):
        raise InputError(f"image size {image_size} is only for folders of images: leave it out")
    if source == DIGITS:
        return _load_digits(split_seed)
    if source == "cifar10" and (root / "cifar10.npz").exists():
        return _load_npz(source, root / "cifar10.npz", classes=CIFAR10_CLASSES, flip=True)
    if named:
        return _load_torchvision(source, root)
    if path.is_dir():
        return _load_folder(path, split_seed, image_size)
    if path.suffix == ".npz":
        return _load_npz(path.stem, path)
    raise InputError(f"{source!r} is neither a .npz file nor a folder of images")


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


def _load_npz(
    name: str, path: Path, classes: tuple[str, ...] | None = None, flip: bool = False
) -> ImageData:
    """Reads the four arrays of an `.npz` file; objects in it are refused, never unpickled."""
    arrays = read_arrays(path, NPZ_KEYS)
    parts = []
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        _check_images(f"x_{part} of {str(path)!r}", x)
        _check_labels(f"y_{part} of {str(path)!r}", y, len(x))
        parts.append(_split(_channels_first(x), y))
    train, test = parts
    if classes is None:
        classes = tuple(str(label) for label in range(len(train.labels.unique())))
    return _image_data(name, train, test, classes, flip=flip)


def _check_images(what: str, x: np.ndarray[Any, Any]) -> None:
    """Refuses images that are not bytes with the channels last."""
    if x.dtype != np.uint8:
        raise InputError(f"{what} holds {x.dtype}, not uint8 in 0 … 255: {_as_bytes(x)}")
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise InputError(
            f"{what} has shape {x.shape}: images are (n, height, width) or "
            "(n, height, width, channels), none of them 0"
        )
    if x.ndim == 4 and x.shape[3] > 4 and x.shape[1] != x.shape[2]:
        if x.shape[1] <= 4 or x.shape[2] == x.shape[3]:
            raise InputError(
                f"{what} has shape {x.shape}, channels first: store x.transpose(0, 2, 3, 1)"
            )
        raise InputError(
            f"{what} has shape {x.shape}, which tells rows and channels not apart: of more than 4 "
            "channels, last, images must be square"
        )


def _as_bytes(x: np.ndarray[Any, Any]) -> str:
    """Returns how to store numbers as bytes without losing what they say."""
    if x.dtype.kind == "b":
        return "store x.astype('uint8') * 255"
    if x.dtype.kind in "iuf" and x.size:
        low, high = x.min(), x.max()
        if x.dtype.kind == "f" and low >= 0 and high <= 1:
            return "store numpy.rint(x * 255).astype('uint8')"
        if x.dtype.kind == "f" and low >= -1 and high <= 1:
            return "store numpy.rint((x + 1) * 127.5).astype('uint8')"
        if low >= 0 and high <= 255:
            return "store numpy.rint(x).astype('uint8')"
        return f"its values reach from {low:g} to {high:g}, scale those of both parts alike"
    return "store the pixels as bytes"


def _check_labels(what: str, y: np.ndarray[Any, Any], num_images: int) -> None:
    """Refuses labels that are not one class index per image."""
    if y.dtype.kind not in "iu" or y.shape not in ((num_images,), (num_images, 1)):
        raise InputError(
            f"{what} holds {y.dtype} of shape {y.shape}: labels are integers of shape "
            f"({num_images},), one per image"
        )
    if y.min() < 0:
        raise InputError(f"{what} holds the label {y.min()}: labels count from 0")


def _load_folder(path: Path, split_seed: int, image_size: int | None) -> ImageData:
    """Reads a folder of images in one of its two layouts."""
    if image_size is not None and image_size < 1:
        raise InputError(f"image size must be 1 or more pixels, got {image_size}")
    tests = [path / name for name in TEST_FOLDERS if (path / name).is_dir()]
    apart = (path / "train").is_dir() and bool(tests)
    train_folder = path / "train" if apart else path
    if apart and len(tests) > 1:
        warnings.warn(
            f"{tests[1]} is left out: {tests[0]} is the test part, and a search holds out its own "
            "validation part",
            stacklevel=2,
        )
    classes = tuple(folder.name for folder in visible(train_folder) if folder.is_dir())
    if len(classes) < 2:
        raise InputError(
            f"folders of classes in {str(train_folder)!r}: {len(classes)}, at least 2 are needed; "
            "lay images out as train/<class>/* and test/<class>/*, or <class>/* alone"
        )
    files = list_files(train_folder, classes)
    num_train = len(files)
    if apart:
        files += list_files(tests[0], classes)
    labels = np.array([label for _, label in files])
    both = _split(decode_all([file for file, _ in files], image_size), labels)
    if apart:
        train = Split(both.images[:num_train], both.labels[:num_train])
        test = Split(both.images[num_train:], both.labels[num_train:])
    else:
        train, test = stratified_split(both, TEST_FRACTION, split_seed)
    data = _image_data(path.resolve().name, train, test, classes, flip=True)
    # Of the files, as another version of a decoder may give other pixels.
    found = {"files of images": of_files([file for file, _ in files], path)}
    return replace(data, fingerprint=found)


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
    name: str, train: Split, test: Split, classes: tuple[str, ...], *, flip: bool
) -> ImageData:
    """Checks the two parts against each other and measures the training part."""
    if len(classes) < 2 or not len(test):
        raise InputError(
            f"{name!r} has too little, classes: {len(classes)}, test images: {len(test)}; "
            "at least 2 classes and 1 test image are needed"
        )
    if train.images.shape[1:] != test.images.shape[1:]:
        sizes = [_describe(*part.images.shape[1:]) for part in (train, test)]
        raise InputError(
            f"{name!r} has {sizes[0]} for training but {sizes[1]} for test: bring all to one size"
        )
    if train.labels.unique().tolist() != list(range(len(classes))):
        raise InputError(
            f"training labels of {name!r} leave out some of 0 … {int(train.labels.max())}: "
            "renumber those of both parts alike, by number = {y: i for i, y in "
            "enumerate(sorted(set(y_train.tolist())))}"
        )
    outside = test.labels[(test.labels < 0) | (test.labels >= len(classes))]
    if len(outside):
        raise InputError(
            f"test label {int(outside[0])} of {name!r} is outside the classes 0 … "
            f"{len(classes) - 1} seen in training: remove those images"
        )
    mean, std = zip(*map(_mean_and_std, train.images.unbind(1)), strict=True)
    fingerprint = {"classes": of_names(classes)}
    for part, split in (("training", train), ("test", test)):
        fingerprint[f"{part} images"] = of_array(split.images)
        fingerprint[f"{part} labels"] = of_array(split.labels)
    return ImageData(name, train, test, len(classes), classes, mean, std, flip, fingerprint)


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
