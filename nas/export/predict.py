"""What a trained network sees in files of images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from cells.errors import InputError
from cells.network import Network
from nas.data.image_folder import find_images
from nas.data.pixels import Remarks, decode
from nas.export.safetensors import TrainingData, load

BATCH_SIZE = 64
"""Images that are decoded and looked at together."""


@dataclass(frozen=True)
class Prediction:
    """What a network sees in one image."""

    path: Path
    probabilities: dict[str, float]
    """Of each class by its name, the most probable first."""

    @property
    def class_name(self) -> str:
        """Name of the most probable class."""
        return next(iter(self.probabilities))


def predict(model: str | Path, paths: Sequence[str | Path]) -> Iterator[Prediction]:
    """Classifies images, batch after batch, in the order of `find_images`.

        for found in nas.predict("model.safetensors", ["photos"]):
            print(found.path, found.class_name, found.probabilities)

    Args:
        model: a file that `nas.load` reads.
        paths: files, folders with all that is below them, or globs.

    Raises:
        InputError: as `nas.load`; if no image is named; or, while the result is read, for a file
            that is no image.
    """
    return predict_files(load(model), find_images(paths))


def _refuse(error: InputError) -> NoReturn:
    raise error


def predict_files(
    network: Network, files: Sequence[Path], on_error: Callable[[InputError], None] = _refuse
) -> Iterator[Prediction]:
    """Classifies the images in files.

    Args:
        network: as `nas.load` returns it.
        on_error: called for a file that cannot be read, which is then left out.

    Raises:
        InputError: if the network takes other images than grey or RGB ones; what `on_error` raises.
    """
    data = training_data(network)
    for batch, images in image_batches(data, files, BATCH_SIZE, on_error):
        with torch.no_grad():
            probabilities = network(data.normalise(images)).softmax(dim=1)
        values, labels = probabilities.sort(dim=1, descending=True, stable=True)
        for path, each, order in zip(batch, values.tolist(), labels.tolist(), strict=True):
            names = [data.classes[label] for label in order]
            yield Prediction(path, dict(zip(names, each, strict=True)))


def training_data(network: Network) -> TrainingData:
    """Returns what a loaded network was trained on."""
    data = network.data
    assert isinstance(data, TrainingData)
    return data


def image_batches(
    data: TrainingData,
    files: Sequence[Path],
    batch_size: int,
    on_error: Callable[[InputError], None] = _refuse,
) -> Iterator[tuple[list[Path], Tensor]]:
    """Decodes files as images like those of the training, a batch at a time.

    Yields:
        The files that could be read, and their images, uint8 (batch, channels, height, width).

    Raises:
        InputError: as `predict_files`.
    """
    channels, height, width = data.shape
    if channels not in (1, 3):
        raise InputError(
            f"the network takes images of {channels} channels, files of images have 1 or 3: call "
            "it from Python, see nas.load"
        )
    remarks = Remarks()
    for start in range(0, len(files), batch_size):
        paths, images = [], []
        for file in files[start : start + batch_size]:
            try:
                images.append(decode(file, channels, height, width, data.fit, remarks))
                paths.append(file)
            except InputError as error:
                on_error(error)
        if paths:
            yield paths, torch.from_numpy(np.stack(images))
    remarks.tell()
