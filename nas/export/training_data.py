"""What a network was trained on, as far as its use needs it: images, or a table's form."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from cells.errors import InputError, unknown
from cells.strict_json import typed
from nas.data.augmentation import normalise
from nas.data.datasets import ImageData
from nas.data.pixels import FITS, STRETCH
from nas.runtime.fingerprint import Fingerprint

LEAST_STD = 1e-9
"""One byte of 10¹³ that differs by 1 from all others has a larger deviation."""


@dataclass(frozen=True)
class TrainingData:
    """Images that a network was trained on."""

    name: str
    """Of the data set."""
    classes: tuple[str, ...]
    """Name of each class, by label."""
    mean: tuple[float, ...]
    """Of each channel, in [0, 1] units."""
    std: tuple[float, ...]
    """Of each channel, in [0, 1] units."""
    shape: tuple[int, ...]
    """(channels, height, width) of its images."""
    fingerprint: Fingerprint = field(default_factory=dict)
    """See `nas.runtime.fingerprint`; empty if it was not recorded."""
    fit: str = STRETCH
    """How images of another size are brought to this one, of `nas.data.pixels.FITS`."""

    @classmethod
    def of(cls, data: ImageData) -> "TrainingData":
        """Describes a data set."""
        shape = (data.channels, data.height, data.width)
        return cls(data.name, data.classes, data.mean, data.std, shape, data.fingerprint, data.fit)

    def normalise(self, images: Tensor) -> Tensor:
        """Maps bytes, uint8 (batch, channels, height, width), to what the network takes.

        Raises:
            InputError: if they are of another type or shape than the training images.
        """
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.shape:
            found = f"{images.dtype} {tuple(images.shape)}"
            wanted = ", ".join(map(str, self.shape))
            raise InputError(
                f"images are {found}, this network takes torch.uint8 (batch, {wanted}): convert "
                "or resize them"
            )
        return normalise(images, self.mean, self.std)

    def answers(self, outputs: Tensor) -> Tensor:
        """Returns the probabilities of the classes for what the network returns, alike."""
        return outputs.softmax(dim=1)

    def to_values(self) -> dict[str, Any]:
        """Returns all but the shape as JSON values; `read_training_data` reads them back."""
        return {name: value for name, value in asdict(self).items() if name != "shape"}


def read_training_data(
    values: Mapping[str, Any], shape: tuple[int, ...], num_classes: int
) -> TrainingData:
    """Reads what a stranger's file says of the images.

    Args:
        shape: (channels, height, width) that the network takes.
        num_classes: of its outputs.

    Raises:
        InputError: naming what is absent, of another type or out of its range.
    """
    data = TrainingData(
        typed(values.get("name"), str, "its data's name"),
        _tuple_of(str, values, "classes", num_classes),
        _tuple_of(float, values, "mean", shape[0]),
        _tuple_of(float, values, "std", shape[0]),
        shape,
        {
            name: typed(text, str, f"its {name}")
            for name, text in typed(values.get("fingerprint", {}), dict, "its fingerprint").items()
        },
        typed(values.get("fit", STRETCH), str, "its fit"),
    )
    if data.fit not in FITS:
        raise unknown("fit", data.fit, FITS)
    for mean, std in zip(data.mean, data.std, strict=True):
        if not 0 <= mean <= 1 or not LEAST_STD <= std <= 1:
            raise InputError(
                f"mean {mean} and deviation {std} are none of values from 0 to 1: export it again"
            )
    return data


def _tuple_of(kind: type, values: Mapping[str, Any], key: str, length: int) -> tuple[Any, ...]:
    found = typed(values.get(key), list, f"its {key}")
    if len(found) != length:
        raise InputError(f"its {key} must be {length} values, got {len(found)}")
    return tuple(typed(value, kind, f"its {key}") for value in found)
