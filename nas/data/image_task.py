"""A data set of images and the networks for it, as one thing."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from torch import Tensor

from cells.cell import Skeleton
from cells.errors import InputError
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
        shrunk: int = 1,
        auxiliary: bool = False,
    ) -> Batches:
        """Returns the training batches of this process, on its device; see `Batches`.

        Args:
            shrunk: see `nas.data.augmentation.shrink`.
            auxiliary: whether the network has an auxiliary head.

        Raises:
            InputError: as `Batches`, or if a batch leaves one value to be normalised.
        """
        if min(batch_size, len(split)) == processes.world:
            self._require_two_values(shrunk, auxiliary, processes.world)
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

    def _require_two_values(self, shrunk: int, auxiliary: bool, world: int) -> None:
        """Makes sure that one image has more than one value per channel wherever it is normalised.

        That is so if the last cell sees more than a pixel, and so does the auxiliary head.
        """
        skeleton = self.skeleton
        halved = shrunk * skeleton.stem_stride * 2 ** len(skeleton.reductions)
        sides = [-(-side // halved) for side in (skeleton.height, skeleton.width)]
        where = "the last cell"
        if auxiliary and math.prod(sides) > 1:
            quarter = 4 * skeleton.stem_stride  # its pool, then its convolution, see AuxiliaryHead
            sides = [-(-side // quarter) for side in (skeleton.height, skeleton.width)]
            sides = [(side - 5) // 3 for side in sides] if min(sides) >= 8 else [1, 1]
            where = "the auxiliary head"
        if math.prod(sides) <= 1:
            raise InputError(
                f"batches of 1 image per process cannot be normalised, as {where} sees 1×1 pixels: "
                f"take a batch size of {2 * world} or more, or larger images"
            )

    def evaluation_batches(self, split: Split, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields every image once, normalised, with its label; see `evaluation_batches`."""
        return evaluation_batches(split, batch_size, self.data.mean, self.data.std)
