"""A network in ONNX with whole numbers of 8 bits, and what that costs in accuracy.

Weights and activations are quantised by ONNX Runtime's static quantiser, into the form with
QuantizeLinear and DequantizeLinear (QDQ) that other runtimes read as well. Ranges of activations
are those of some training images; the accuracy is that of test images, and nothing is chosen by it.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cells.errors import InputError
from cells.network import Network
from nas.data.batches import Split, draw_part
from nas.data.datasets import ImageData
from nas.export.chain import ChainNetwork
from nas.export.predict import training_data
from nas.export.programs import Program, facts, onnx_program
from nas.runtime.fingerprint import require_same_data

CALIBRATION = 256
"""Training images that the ranges are those of, at most."""
TEST = 2000
"""Test images that the accuracy is that of, at most."""
BATCH_SIZE = 32


@dataclass(frozen=True)
class Quantisation:
    """What was quantised, and what it costs."""

    calibration: int
    """Training images that were looked at."""
    tested: int
    """Test images that were looked at."""
    before: float
    """Accuracy in [0, 1] of the network with float32."""
    after: float
    """Likewise, with 8 bits."""


def require_images_of(network: Network | ChainNetwork, data: ImageData) -> None:
    """Makes sure that a data set is what a network was trained on.

    Raises:
        InputError: if it has other images or classes.
    """
    known = training_data(network)
    shape = (data.channels, data.height, data.width)
    if (shape, data.classes) != (known.shape, known.classes):
        raise InputError(
            f"{data.name!r} has images {shape} of {len(data.classes)} classes, the network takes "
            f"{known.shape} and has {len(known.classes)}, or other names: give the --data that it "
            "was trained on"
        )
    remedy = "give the --data that it was trained on"
    require_same_data(known.fingerprint, data.fingerprint, "the network", remedy)


def quantise(
    network: Network | ChainNetwork, program: Program, data: ImageData
) -> tuple[Program, Quantisation]:
    """Quantises a program in ONNX.

    Args:
        program: what `to_onnx` made of the network.
        data: what the network was trained on.

    Raises:
        InputError: if it was trained on something else.
    """
    require_images_of(network, data)
    seen = draw_part(data.train, CALIBRATION, 0).images.cpu()
    test = draw_part(data.test, TEST, 0)
    smaller = onnx_program(_with_8_bits(program.content, seen, facts(network)))
    accuracies = [_accuracy(each.run, test) for each in (program, smaller)]
    return smaller, Quantisation(len(seen), len(test), *accuracies)


def _with_8_bits(content: bytes, images: Tensor, told: dict[str, str]) -> bytes:
    """Quantises, channel by channel, a model that takes `images`."""
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Tensor] = iter(images.split(BATCH_SIZE))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch.numpy()}

    with tempfile.TemporaryDirectory() as folder:
        source, fused, made = (str(Path(folder, name)) for name in ("a.onnx", "b.onnx", "c.onnx"))
        Path(source).write_bytes(content)
        logging.disable(logging.WARNING)  # on weights of one axis, which have no channels
        # Normalisations become part of the convolutions before them.
        quantization.quant_pre_process(source, fused, skip_symbolic_shape=True)
        quantization.quantize_static(
            fused,
            made,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,  # sums overflow on processors without VNNI
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        logging.disable(logging.NOTSET)
        model = onnx.load(made)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, told)
    return bytes(model.SerializeToString())


@torch.no_grad()
def _accuracy(run: Callable[[Tensor], Tensor], test: Split) -> float:
    """Returns the share of images whose most probable class is right."""
    pairs = zip(test.images.split(BATCH_SIZE), test.labels.split(BATCH_SIZE), strict=True)
    right = sum(int((run(x.cpu()).argmax(dim=1) == y.cpu()).sum()) for x, y in pairs)
    return right / len(test)
