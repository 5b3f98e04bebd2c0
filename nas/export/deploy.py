"""Trained networks on their way into use: checked beside the original, then written."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from cells.cost import cost_table
from cells.errors import InputError, unknown
from cells.network import Network
from cells.output_files import write_atomically
from nas.data.datasets import ImageData
from nas.data.image_folder import find_images
from nas.data.table_form import TableForm
from nas.data.tables import open_table, read_rows
from nas.export import chain_source
from nas.export.chain import ChainNetwork
from nas.export.predict import image_batches, training_data
from nas.export.programs import Program, to_onnx, to_torch, to_torchscript
from nas.export.quantise import Quantisation, quantise, require_images_of
from nas.export.safetensors import load
from nas.export.source import to_source
from nas.runtime.streams import stream


def _to_source(network: Network | ChainNetwork) -> Program:
    """Writes a network as Python of its own."""
    if isinstance(network, ChainNetwork):
        return chain_source.to_source(network)
    return to_source(network)


TARGETS: dict[str, tuple[str, Callable[[Network | ChainNetwork], Program]]] = {
    "onnx": (".onnx", to_onnx),
    "torch": (".pt2", to_torch),
    "torchscript": (".pt", to_torchscript),
    "source": (".py", _to_source),
}
"""Name of a form -> suffix of its file, what makes it."""

NOT_HERE = {
    "safetensors": "the model is such a file already",
    "executorch": "it is made by a package of its own, which this program does not use",
    "litert": "it is made by a package of its own, which this program does not use",
}
"""Forms that a user may look for, and why they are none of `TARGETS`."""

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
    """Largest difference of a probability from the network's, or of a value, in deviations of a
    regression's target."""
    answers: str
    """What that is a difference of."""
    inputs: str
    """What it was checked with."""
    latency: float
    """Median time of one image in the runtime, of `RUNS`, in milliseconds."""
    threads: int
    """CPU threads of the runtime."""
    quantisation: Quantisation | None = None
    """What 8 bits cost, if it has them."""


@torch.no_grad()
def export(
    model: Path,
    target: str,
    out: Path | None = None,
    images: Sequence[str | Path] = (),
    data: ImageData | None = None,
) -> Deployment:
    """Writes a trained network in another form, whole or not at all.

    Args:
        model: a file that `nas.load` reads.
        target: a name in `TARGETS`.
        out: the file; by default the model's path with another suffix.
        images: files, folders or globs to check with, CSV files for a network for a table; by
            default 16 images of random bytes, or rows of random numbers.
        data: what the network was trained on, to quantise it to 8 bits once it is checked; None to
            leave it as it is. For ONNX and images alone.

    Raises:
        InputError: as `nas.load`; for an unknown target, a file that exists, a package that is not
            installed, an image that cannot be read, or if the exported network's probabilities
            differ by more than `TOLERANCE`.
        OSError: naming the file, e.g. if no space is left.
    """
    if target in NOT_HERE:
        others = ", ".join(TARGETS)
        raise InputError(f"no form {target!r}: {NOT_HERE[target]}; choose from {others}")
    if target not in TARGETS:
        raise unknown("form", target, TARGETS)
    suffix, convert = TARGETS[target]
    if data is not None:
        suffix = f".int8{suffix}"
    out = out or model.with_suffix(suffix)
    if out.exists():
        raise InputError(f"{out} exists: choose another --out")
    network = load(model)
    form = form_of(network)
    if data is not None and (target != "onnx" or form is not None):
        raise InputError(
            f"8 bits are for images in ONNX, not for {target!r} or rows: leave --int8 out"
        )
    if data is not None:
        require_images_of(network, data)
    batches: Iterable[Tensor] = [random_inputs(network)]
    inputs = "16 images of random bytes" if form is None else "16 rows of random numbers"
    inputs += ", always the same"
    if images and form is not None:
        read = [read_rows(open_table(Path(path)), form.columns)[0] for path in images]
        batches = torch.from_numpy(np.concatenate(read)).split(BATCH_SIZE)
        inputs = "the rows given"
    elif images:
        found = image_batches(training_data(network), find_images(images), BATCH_SIZE)
        batches, inputs = (each for _, each in found), "the images given"
    program = convert(network)
    difference = largest_difference(network, program.run, batches)
    if not difference <= TOLERANCE:  # or no number at all
        raise InputError(
            f"answers of the exported network differ from the network's by {difference:.2g}, "
            f"more than {TOLERANCE:g}, and nothing was written: choose another --to"
        )
    quantisation = None
    if data is not None:
        program, quantisation = quantise(network, program, data)
    latency = _milliseconds(program.run, random_inputs(network)[:1])
    write_atomically(out, program.content)
    threads = torch.get_num_threads()  # of ONNX Runtime, too
    if isinstance(network, ChainNetwork):
        flops = network.chain.flops
    else:
        flops = int(cost_table("flops", network.skeleton).total(network.genotype.choices()))
    params = sum(parameter.numel() for parameter in network.parameters())
    answers = "a probability"
    if form is not None and form.regression:
        answers = "a value, in deviations of the target"
    return Deployment(
        out,
        len(program.content),
        params,
        flops,
        difference,
        answers,
        inputs,
        latency,
        threads,
        quantisation,
    )


@torch.no_grad()
def largest_difference(
    network: Network | ChainNetwork,
    run: Callable[[Tensor], Tensor],
    batches: Iterable[Tensor],
) -> float:
    """Returns the largest difference between a network's answers and those of its exported form.

    Args:
        run: the exported form, see `nas.export.programs`.
        batches: 1 to 16 inputs each, images or rows. They are run together, the first ones again
            until they are 16, and one by one.

    Returns:
        Of a probability, or of a value, in deviations of the target.
    """
    largest, form = torch.zeros(()), form_of(network)
    unit = form.target.std if form is not None else 1.0
    for inputs in batches:
        inputs = inputs[torch.arange(BATCH_SIZE) % len(inputs)]
        if form is not None:
            wanted = form.answers(network(form.features(inputs)))
        else:
            wanted = network(training_data(network).normalise(inputs)).softmax(dim=1)
        for found in (run(inputs), torch.cat([run(each) for each in inputs.split(1)])):
            assert found.shape == wanted.shape, (found.shape, wanted.shape)
            largest = torch.maximum(largest, (found - wanted).abs().max() / unit)
    return float(largest)


def form_of(network: Network | ChainNetwork) -> TableForm | None:
    """Returns how rows of a table enter a network; None if it takes images."""
    chain = isinstance(network, ChainNetwork)
    return network.data if chain and isinstance(network.data, TableForm) else None


def random_inputs(network: Network | ChainNetwork) -> Tensor:
    """Returns 16 images of random bytes, or rows with a gap here and there; always the same."""
    generator, form = stream(0, "export", 0), form_of(network)
    if form is None:
        shape = (BATCH_SIZE, *training_data(network).shape)
        return torch.randint(256, shape, dtype=torch.uint8, generator=generator)
    rows = []
    for column in form.columns:
        if column.categories is None:
            drawn = torch.randn(BATCH_SIZE, generator=generator, dtype=torch.float64)
            values = column.mean + column.std * drawn
        else:
            count = len(column.categories)
            values = torch.randint(count, (BATCH_SIZE,), generator=generator).double()
        if column.categories is None or column.missing:
            values[torch.rand(BATCH_SIZE, generator=generator) < 0.1] = torch.nan
        rows.append(values)
    return torch.stack(rows, dim=1)


def _milliseconds(run: Callable[[Tensor], Tensor], image: Tensor) -> float:
    times = []
    for _ in range(WARMUP + RUNS):
        start = time.perf_counter()
        run(image)
        times.append(time.perf_counter() - start)
    return 1e3 * median(times[WARMUP:])
