"""Images in memory: divided, shuffled, cropped, flipped, normalised, on their own device."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.runtime.settings import Natural, Settings


@dataclass(frozen=True, kw_only=True)
class Augmentation(Settings):
    """Augmentation of training images."""

    crop_padding: Natural = 0
    """Pixels of zeros put around an image before a crop of the old size is taken at random."""
    flip: bool = False
    """Flip one image in two, left to right."""
    cutout: Natural = 0
    """Side in pixels of a square that is erased at random; 0 for none (arXiv:1708.04552)."""


@lru_cache(maxsize=16)
def scale_and_shift(
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
    scale, shift = scale_and_shift(mean, std, images.device)
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


def shrink(x: Tensor, factor: int) -> Tensor:
    """Averages squares of pixels.

    Args:
        x: float (batch, channels, height, width).
        factor: side of the squares, >= 1; what is left at the borders is averaged, too.
    """
    return x if factor == 1 else F.avg_pool2d(x, factor, ceil_mode=True, count_include_pad=False)
