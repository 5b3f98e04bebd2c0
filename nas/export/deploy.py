"""Trained networks on their way into use: checked beside the original, then written."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from cells.cost import cost_table
from cells.errors import InputError, unknown
from cells.network import Network
from cells.output_files import write_atomically
from nas.data.image_folder import find_images
from nas.export.predict import image_batches, training_data
from nas.export.programs import Program, to_onnx, to_torch, to_torchscript
from nas.export.safetensors import load
from nas.export.source import to_source
from nas.runtime.streams import stream

TARGETS: dict[str, tuple[str, Callable[[Network], Program]]] = {
    "onnx": (".onnx", to_onnx),
    "torch": (".pt2", to_torch),
    "torchscript": (".pt", to_torchscript),
    "source": (".py", to_source),
}
"""Name of a form -> suffix of its file, what makes it."""

TOLERANCE = 1e-4
"""Largest difference of a probability."""
BATCH_SIZE = 16
"""Images of a check, which sees them all together and one by one."""
RUNS, WARMUP = 30, 5
"""How often one image is classified to measure latency, and before that."""


@dataclass(frozen=True)
class Deployment:
    """What was exported."""

    path: Path
    num_bytes: int
    params: int
    flops: int
    """Multiply–adds for one image."""
    difference: float
    """Largest difference of a probability from the network's."""
    latency: float
    """Median time of one image in the runtime, of `RUNS`, in milliseconds."""
    threads: int
    """CPU threads of the runtime."""


@torch.no_grad()
def export(
    model: Path, target: str, out: Path | None = None, images: Sequence[str | Path] = ()
) -> Deployment:
    """Writes a trained network in another form, whole or not at all.

    Args:
        model: a file that `nas.load` reads.
        target: a name in `TARGETS`.
        out: the file; by default the model's path with another suffix.
        images: files, folders or globs to check with; by default 16 images of random bytes.

    Raises:
        InputError: as `nas.load`; for an unknown target, a file that exists, a package that is not
            installed, an image that cannot be read, or if the exported network's probabilities
            differ by more than `TOLERANCE`.
        OSError: naming the file, e.g. if no space is left.
    """
    if target not in TARGETS:
        raise unknown("form", target, TARGETS)
    suffix, convert = TARGETS[target]
    out = out or model.with_suffix(suffix)
    if out.exists():
        raise InputError(f"{out} exists: choose another --out")
    network = load(model)
    files = find_images(images) if images else []
    program = convert(network)
    batches: Iterable[Tensor] = [_random_images(network)]
    if files:
        data = training_data(network)
        batches = (found for _, found in image_batches(data, files, BATCH_SIZE))
    difference = largest_difference(network, program.run, batches)
    if not difference <= TOLERANCE:  # or no number at all
        raise InputError(
            f"probabilities of the exported network differ from the network's by {difference:.2g}, "
            f"more than {TOLERANCE:g}, and nothing was written: choose another --to"
        )
    latency = _milliseconds(program.run, _random_images(network)[:1])
    write_atomically(out, program.content)
    threads = torch.get_num_threads()  # of ONNX Runtime, too
    flops = cost_table("flops", network.skeleton).total(network.genotype.choices())
    params = sum(parameter.numel() for parameter in network.parameters())
    return Deployment(out, len(program.content), params, int(flops), difference, latency, threads)


@torch.no_grad()
def largest_difference(
    network: Network, run: Callable[[Tensor], Tensor], batches: Iterable[Tensor]
) -> float:
    """Returns the largest difference of a probability between a network and its exported form.

    Args:
        run: the exported form, images -> probabilities (batch, classes).
        batches: 1 to 16 images each, uint8 (batch, channels, height, width). They are run together,
            the first ones again until they are 16, and one by one.
    """
    largest = torch.zeros(())
    for images in batches:
        images = images[torch.arange(BATCH_SIZE) % len(images)]
        wanted = network(training_data(network).normalise(images)).softmax(dim=1)
        for found in (run(images), torch.cat([run(image) for image in images.split(1)])):
            assert found.shape == wanted.shape, (found.shape, wanted.shape)
            largest = torch.maximum(largest, (found - wanted).abs().max())
    return float(largest)


def _random_images(network: Network) -> Tensor:
    """Returns 16 images of random bytes, always the same."""
    shape = (BATCH_SIZE, *training_data(network).shape)
    generator = stream(0, "export", 0)
    return torch.randint(256, shape, dtype=torch.uint8, generator=generator)


def _milliseconds(run: Callable[[Tensor], Tensor], image: Tensor) -> float:
    times = []
    for _ in range(WARMUP + RUNS):
        start = time.perf_counter()
        run(image)
        times.append(time.perf_counter() - start)
    return 1e3 * median(times[WARMUP:])
