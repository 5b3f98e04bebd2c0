"""Images in memory: divided, shuffled, cropped, flipped, normalised, on their own device."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from cells.errors import InputError
from nas.runtime import stream


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images, one part of a data set."""

    images: Tensor
    """uint8 (n, channels, height, width)."""
    labels: Tensor
    """int64 (n,)."""

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str | torch.device) -> "Split":
        """Returns the same images and labels on `device`."""
        return Split(self.images.to(device), self.labels.to(device))


def stratified_split(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Divides labelled images at random, class by class.

    Args:
        split: the images to divide.
        fraction: share of each class that goes to the second part, in (0, 1); rounded to whole
            images, but never to none or all.
        seed: fixes who goes where, whatever the device.

    Returns:
        The first and the second part, disjoint, each in the order of `split`.

    Raises:
        InputError: if `fraction` is not inside (0, 1) or a class has fewer than 2 images.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the fraction to split off must lie between 0 and 1, got {fraction}")
    order = torch.randperm(len(split), generator=stream(seed, "split", 0))
    labels = split.labels.cpu()[order]
    in_second = torch.zeros(len(split), dtype=torch.bool)
    for label in labels.unique().tolist():
        members = order[labels == label]
        if len(members) < 2:
            raise InputError(
                f"class {label} has a single image, which cannot be in both parts of a split: "
                "add images or remove the class"
            )
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        in_second[members[:count]] = True
    chosen = in_second.to(split.images.device)
    first, second = (Split(split.images[part], split.labels[part]) for part in (~chosen, chosen))
    return first, second


@dataclass(frozen=True)
class Augmentation:
    """What happens to a training image besides normalisation; the default is nothing."""

    crop_padding: int = 0
    """Pixels of zeros put around the image before a crop of the old size is taken at random."""
    flip: bool = False
    """Whether one image in two is mirrored left to right."""
    cutout: int = 0
    """Side in pixels of the square that is zeroed (DeVries & Taylor 2017, arXiv:1708.04552)."""

    def __post_init__(self) -> None:
        for name in ("crop_padding", "cutout"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be 0 or more pixels, got {getattr(self, name)}")


@lru_cache(maxsize=16)
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    """The two (channels, 1, 1) constants that normalise bytes; kept, as a copy to a GPU waits."""
    means, stds = torch.tensor((mean, std), dtype=torch.float64)[..., None, None]
    return (1 / (255 * stds)).to(device, torch.float32), (-means / stds).to(device, torch.float32)


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Returns `(images / 255 - mean) / std`.

    Args:
        images: uint8 (batch, channels, height, width).
        mean: per channel, in [0, 1] units.
        std: per channel, in [0, 1] units, positive.

    Returns:
        float32 (batch, channels, height, width) in channels-last memory.
    """
    scale, shift = _scale_and_shift(mean, std, images.device)
    return images.to(torch.float32, memory_format=torch.channels_last).mul_(scale).add_(shift)


def draw_noise(
    augmentation: Augmentation, shape: Sequence[int], generator: torch.Generator
) -> Tensor:
    """Draws all that `apply_noise` leaves to chance.

    Everything is drawn whether used or not, so that switching one transformation on leaves the
    draws of the others as they were.

    Args:
        augmentation: gives the range of the crop.
        shape: of the images, (batch, channels, height, width).
        generator: source of all draws.

    Returns:
        int64 (5, batch) on the generator's device: top and left of the crop in
        0 … 2 crop_padding, flip in 0 … 1, row and column of the centre of the cut square.
    """
    batch, _, height, width = shape
    offsets = 2 * augmentation.crop_padding + 1
    device = generator.device
    return torch.stack(
        [
            torch.randint(choices, (batch,), generator=generator, device=device)
            for choices in (offsets, offsets, 2, height, width)
        ]
    )


def _crop_and_flip(images: Tensor, augmentation: Augmentation, noise: Tensor) -> Tensor:
    """Crops and flips bytes: one gather, as fast as the memory and the same for every channel."""
    _, channels, height, width = images.shape
    padding = augmentation.crop_padding
    top, left, flip = noise[:3, :, None]  # (batch, 1) each
    rows = top + torch.arange(height, device=images.device)  # (batch, height)
    columns = torch.arange(width, device=images.device)
    if augmentation.flip:
        columns = torch.where(flip == 1, width - 1 - columns, columns)
    columns = left + columns  # (batch, width)
    padded = F.pad(images, (padding, padding, padding, padding)).flatten(2)
    index = rows[:, :, None] * (width + 2 * padding) + columns[:, None, :]
    index = index.flatten(1)[:, None, :].expand(-1, channels, -1)
    return padded.gather(2, index).view(images.shape)


def _cut_out(x: Tensor, side: int, noise: Tensor) -> Tensor:
    """Zeroes one square per image in place, clipped where it crosses the border."""
    first_row, first_column = noise[3:, :, None] - side // 2  # (batch, 1) each
    rows = torch.arange(x.shape[2], device=x.device)
    columns = torch.arange(x.shape[3], device=x.device)
    in_rows = (rows >= first_row) & (rows < first_row + side)  # (batch, height)
    in_columns = (columns >= first_column) & (columns < first_column + side)  # (batch, width)
    return x.masked_fill_((in_rows[:, :, None] & in_columns[:, None, :])[:, None], 0.0)


def apply_noise(
    images: Tensor,
    augmentation: Augmentation,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    noise: Tensor,
) -> Tensor:
    """Pad-crops, flips, normalises and cuts out; arguments as in `augment` and `draw_noise`."""
    if augmentation.crop_padding or augmentation.flip:
        images = _crop_and_flip(images, augmentation, noise)
    x = normalise(images, mean, std)
    return _cut_out(x, augmentation.cutout, noise) if augmentation.cutout else x


def augment(
    images: Tensor,
    augmentation: Augmentation,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    generator: torch.Generator,
) -> Tensor:
    """Returns the images normalised, each changed in its own way.

    Args:
        images: uint8 (batch, channels, height, width).
        augmentation: what may change.
        mean: per channel, in [0, 1] units.
        std: per channel, in [0, 1] units, positive.
        generator: on the images' device; source of all draws.

    Returns:
        float32 (batch, channels, height, width) in channels-last memory. The cut square is 0,
        the mean of the training images, while the border of a crop is black.
    """
    noise = draw_noise(augmentation, images.shape, generator)
    return apply_noise(images, augmentation, mean, std, noise)


class Batches:
    """An endless sequence of training batches in which each batch follows from its number.

    An epoch visits the images in an order of its own and leaves out the last `n % batch_size`.
    With several processes each takes its slice of the batch that one process would see.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int,
        name: str,
        augmentation: Augmentation,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Prepares the sequence; `split` stays where it is, and batches come on its device.

        Args:
            split: the images, at least one.
            batch_size: images per step over all processes; all of them if there are fewer.
            seed: the run's seed.
            name: of the sequence, e.g. `"train"`; names have independent orders and noise.
            augmentation: what may change in an image.
            mean: per channel, in [0, 1] units.
            std: per channel, in [0, 1] units, positive.
            rank: this process, in 0 … world-1.
            world: number of processes.

        Raises:
            InputError: if the batch is empty or does not divide by `world`.
        """
        if batch_size < 1:
            raise InputError(f"batch size must be 1 or more, got {batch_size}")
        size = min(batch_size, len(split))
        if size % world:
            raise InputError(
                f"a batch of {size} images does not divide among {world} processes: choose a "
                f"batch size that is a multiple of {world} and at most {len(split)}"
            )
        self.steps_per_epoch = len(split) // size
        self._split, self._size, self._seed, self._name = split, size, seed, name
        self._augmentation, self._mean, self._std = augmentation, mean, std
        self._share = slice(rank * size // world, (rank + 1) * size // world)
        self._epoch, self._order = -1, torch.empty(0)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Returns batch number `step`: 0, 1, …, across epochs.

        Returns:
            Images, float32 (batch / world, channels, height, width), augmented and normalised,
            and labels, int64 (batch / world,).
        """
        return self.build(*self.draw(step))

    def draw(self, step: int) -> tuple[Tensor, Tensor]:
        """Draws which images batch number `step` has, int64 (batch / world,), and their noise.

        Returns:
            What `build` takes; the noise is (5, batch / world), see `draw_noise`.
        """
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self._order_of(epoch)
        index = order[position * self._size : (position + 1) * self._size][self._share]
        # Noise is drawn for the joint batch: what an image gets must not depend on `world`.
        device = self._split.images.device
        generator = stream(self._seed, f"{self._name}/augment", step, device)
        shape = (self._size, *self._split.images.shape[1:])
        return index, draw_noise(self._augmentation, shape, generator)[:, self._share]

    def build(self, index: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Makes the batch that was drawn, without a look at its numbers; see `batch`."""
        images = self._split.images[index]
        x = apply_noise(images, self._augmentation, self._mean, self._std, noise)
        return x, self._split.labels[index]

    def _order_of(self, epoch: int) -> Tensor:
        """The epoch's permutation (n,), kept for its other steps; the same on every device."""
        if epoch != self._epoch:
            generator = stream(self._seed, f"{self._name}/order", epoch)
            order = torch.randperm(len(self._split), generator=generator)
            self._epoch, self._order = epoch, order.to(self._split.images.device)
        return self._order


def shrink(x: Tensor, factor: int) -> Tensor:
    """Averages squares of pixels.

    Args:
        x: float (batch, channels, height, width).
        factor: side of the squares, >= 1; what is left at the borders is averaged, too.
    """
    return x if factor == 1 else F.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False)


def draw_part(split: Split, count: int, seed: int) -> Split:
    """At most `count` examples in random order, whatever the order of the source."""
    order = torch.randperm(len(split), generator=stream(seed, "report", 0))[:count]
    order = order.to(split.labels.device)
    return Split(split.images[order], split.labels[order])


def evaluation_batches(
    split: Split, batch_size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields every image once, in order and normalised, with its label.

    The last batch holds what is left; shapes are those of `Batches.batch`.
    """
    parts = zip(split.images.split(batch_size), split.labels.split(batch_size), strict=True)
    for images, labels in parts:
        yield normalise(images, mean, std), labels
