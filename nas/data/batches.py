"""Parts of a data set and the batches drawn from them, the same at every run and resume."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cells.errors import InputError
from nas.data.augmentation import Augmentation, apply_noise, draw_noise, normalise
from nas.runtime.streams import stream


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


@dataclass(frozen=True, eq=False)
class Examples:
    """One part of a data set."""

    x: Tensor
    """float32 (n, features) or (n, channels, height, width)."""
    y: Tensor
    """int64 (n,) classes, or float32 (n,) targets in units of their standard deviation."""

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device) -> "Examples":
        """The same on a device."""
        return Examples(self.x.to(device), self.y.to(device))

    def at(self, index: Tensor) -> "Examples":
        """Some of them."""
        return Examples(self.x[index], self.y[index])

    def split(self, size: int) -> "list[Examples]":
        """All of them in order, so many at a time; fewer at the end."""
        parts = zip(self.x.split(size), self.y.split(size), strict=True)
        return [Examples(x, y) for x, y in parts]


class RunBatches:
    """Endless training batches for several runs, each in an order of its own by its seed.

    An epoch leaves out the last `n % batch_size`. With several processes each takes its slice of
    the batch that one process would see.
    """

    def __init__(
        self,
        examples: Examples,
        batch_size: int,
        seeds: Sequence[int],
        *,
        rank: int = 0,
        world: int = 1,
        name: str = "train",
    ) -> None:
        """
        Args:
            examples: on the device of the batches.
            batch_size: examples per step over all processes; all if there are fewer.
            seeds: one for each run.
            name: of the part, which has an order of its own.

        Raises:
            InputError: if the batch does not divide by `world`.
        """
        self._size = min(batch_size, len(examples))
        if self._size % world:
            raise InputError(
                f"a batch of {self._size} examples does not divide among {world} processes: "
                "choose another batch_size"
            )
        self.steps_per_epoch = len(examples) // self._size
        self._examples, self._seeds, self._name = examples, seeds, name
        self._share = slice(rank * self._size // world, (rank + 1) * self._size // world)
        self._epoch, self._orders = -1, torch.empty(0)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Inputs (runs, batch / world, …) and targets (runs, batch / world) of one step."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            orders = [
                torch.randperm(
                    len(self._examples), generator=stream(seed, f"{self._name}/order", epoch)
                )
                for seed in self._seeds
            ]
            self._epoch, self._orders = epoch, torch.stack(orders).to(self._examples.y.device)
        index = self._orders[:, position * self._size : (position + 1) * self._size][:, self._share]
        return self._examples.x[index], self._examples.y[index]
