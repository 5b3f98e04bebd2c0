"""A data set of images and the networks for it, as one thing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from torch import Tensor

from cells.cell import Skeleton
from cells.space import find_space
from nas.data.augmentation import Augmentation
from nas.data.batches import Batches, Split, evaluation_batches
from nas.data.datasets import ImageData
from nas.runtime.processes import Processes


@final
@dataclass(frozen=True, eq=False)
class ImageTask:
    """Images to classify, and the sizes of networks that do."""

    data: ImageData
    """The images and how they are normalised."""
    skeleton: Skeleton
    """Everything about a network but its cells' operations."""

    @classmethod
    def of(
        cls, data: ImageData, space: str, channels: int, num_cells: int, stem_stride: int
    ) -> "ImageTask":
        """Joins images and the sizes of networks.

        Args:
            space: name of the search space.
            channels: width of the first cells.
            num_cells: cells from stem to head.
            stem_stride: stride of the stem's convolution.

        Raises:
            InputError: if there is no such space, or a size is below 1.
        """
        shape = (data.channels, data.num_classes, data.height, data.width)
        return cls(data, Skeleton(find_space(space), *shape, channels, num_cells, stem_stride))

    def batches(
        self,
        split: Split,
        batch_size: int,
        *,
        seed: int,
        name: str,
        augmentation: Augmentation,
        processes: Processes,
    ) -> Batches:
        """Returns the training batches of this process, on its device; see `Batches`."""
        return Batches(
            split.to(processes.device),
            batch_size,
            seed=seed,
            name=name,
            augmentation=augmentation,
            mean=self.data.mean,
            std=self.data.std,
            rank=processes.rank,
            world=processes.world,
        )

    def evaluation_batches(self, split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields every image once, normalised, with its label; see `evaluation_batches`."""
        return evaluation_batches(split, batch_size, self.data.mean, self.data.std)
