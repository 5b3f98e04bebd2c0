"""What a trained network sees in files of images, or says of rows of a table."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cells.errors import InputError, raise_it
from cells.network import Network
from nas.data.image_folder import find_images
from nas.data.pixels import Remarks, decode
from nas.data.table_form import TableForm
from nas.export.chain import ChainNetwork
from nas.export.predict_rows import RowPrediction, predict_rows
from nas.export.safetensors import load
from nas.export.training_data import TrainingData

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


def predict(
    model: str | Path, paths: Sequence[str | Path]
) -> Iterator[Prediction] | Iterator[RowPrediction]:
    """Classifies images, batch after batch, in the order of `find_images`, or predicts rows.

        for found in nas.predict("model.safetensors", ["photos"]):
            print(found.path, found.class_name, found.probabilities)

        for found in nas.predict("network-1.safetensors", ["rows.csv"]):
            print(found.line, found.value)

    Args:
        model: a file that `nas.load` reads.
        paths: files, folders with all that is below them, or globs; for a network that was
            generated for a table, CSV files.

    Raises:
        InputError: as `nas.load`; if no image is named; or, while the result is read, for a file
            that is no image, or a row that cannot be read.
    """
    network = load(model)
    if isinstance(network, ChainNetwork) and isinstance(network.data, TableForm):
        return predict_rows(network, [Path(path) for path in paths])
    return predict_files(network, find_images(paths))


def predict_files(
    network: Network | ChainNetwork,
    files: Sequence[Path],
    on_error: Callable[[InputError], None] = raise_it,
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


def training_data(network: Network | ChainNetwork) -> TrainingData:
    """Returns the images that a loaded network was trained on."""
    data = network.data
    assert isinstance(data, TrainingData)
    return data


def image_batches(
    data: TrainingData,
    files: Sequence[Path],
    batch_size: int,
    on_error: Callable[[InputError], None] = raise_it,
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
