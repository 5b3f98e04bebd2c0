"""Networks of layers in a row as safetensors files that hold all there is to know to use them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cells.chain import Chain, module_of
from cells.errors import InputError
from cells.output_files import write_atomically
from cells.strict_json import typed
from nas.data.examples import Task
from nas.data.table_form import TableForm, from_values, to_values
from nas.export.metadata import check_tensors, json_object
from nas.export.reproducible import serialise
from nas.export.training_data import TrainingData, read_training_data

FORMAT = "nas-chain"
VERSION = "2"
MOST_LAYERS = 1000
LOG_SIGMAS = "log_sigmas."
"""What the names of deviations' logarithms begin with."""


class ChainNetwork(nn.Sequential):
    """Layers in a row, as `nas.load` returns them.

    It takes what `data.normalise` makes of images, uint8 (batch, channels, height, width), or
    `data.features` of a table's rows, float64 (batch, columns), and returns (batch, outputs):
    logits, or a regression's values in units of the target's deviation; `data.answers` reads them.

    Attributes:
        chain: its layers.
        data: what it was trained on.
        log_sigmas: of each layer with weights, logarithms of the deviations of its weights,
            (outputs, inputs + 1), the bias last; empty for point weights.
    """

    data: TrainingData | TableForm

    def __init__(self, chain: Chain, data: TrainingData | TableForm) -> None:
        super().__init__(*chain.module())
        self.chain = chain
        self.data = data
        self.log_sigmas: list[Tensor] = []


def data_of(task: Task) -> TrainingData | TableForm:
    """Describes what a network for a task is trained on; images are only scaled to [0, 1]."""
    if task.form is not None:
        return task.form
    shape = task.input_shape
    channels = shape[0]
    return TrainingData(
        task.name, task.classes, (0.0,) * channels, (1.0,) * channels, shape, task.fingerprint
    )


def data_values(data: TrainingData | TableForm) -> dict[str, Any]:
    """Returns a description of data as JSON values; `read_data` reads them back."""
    return to_values(data) if isinstance(data, TableForm) else data.to_values()


def read_data(values: Mapping[str, Any], chain: Chain) -> TrainingData | TableForm:
    """Reads the description of the data of a network.

    Raises:
        InputError: naming what is absent, of another type or out of its range, or if network and
            data do not fit.
    """
    outputs = chain.layers[-1].outputs
    if len(chain.input_shape) == 3:
        return read_training_data(values, chain.input_shape, outputs)
    form = from_values(values)
    features = len(form.features_of.source)
    if (features,) != chain.input_shape or form.outputs != outputs:
        raise InputError(
            f"its data have {features} features and {form.outputs} outputs, its network has "
            f"{chain.input_shape[0]} and {outputs}: generate it again"
        )
    return form


def save_chain(
    path: Path,
    chain: Chain,
    layers: Sequence[str],
    tables: Sequence[Tensor],
    log_sigmas: Sequence[Tensor | None],
    data: TrainingData | TableForm,
    lam: float,
) -> None:
    """Writes a network as safetensors, whole or not at all.

    The metadata hold `format`, `version`, `sha256` (see `nas.export.reproducible.digest`) and, as
    JSON, `network`: its `layers` as a search takes them, the shape of an input, the number of
    outputs and λ; and `data`: names of classes and the scale of images, or of a table the columns
    with their categories, means and deviations, and the target. Tensors are the weights of the
    module by their names in it, and `log_sigmas` of each layer that has them.

    Args:
        layers: what `chain` was parsed from.
        tables: weights of each layer, (outputs, inputs + 1).
        log_sigmas: logarithms of their deviations, alike; None for point weights.

    Raises:
        InputError: if there is such a file.
    """
    if path.exists():
        raise InputError(f"{path} exists: choose another --out")
    tensors: dict[str, Tensor] = dict(module_of(chain, tables).state_dict())
    for number, log_sigma in enumerate(log_sigmas):
        if log_sigma is not None:
            tensors[f"{LOG_SIGMAS}{number}"] = log_sigma
    network = {
        "layers": [*layers],
        "input_shape": chain.input_shape,
        "outputs": chain.layers[-1].outputs,
        "lam": lam,
    }
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "network": json.dumps(network),
        "data": json.dumps(data_values(data)),
    }
    write_atomically(path, serialise(tensors, metadata))


def read_chain(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> ChainNetwork:
    """Reads a network, in evaluation mode, from what stands in its file.

    Raises:
        InputError: for another version, or what does not fit together.
    """
    if metadata.get("version") != VERSION:
        found = metadata.get("version", "")[:20]
        raise InputError(
            f"version {found!r} of the format, this program reads {VERSION!r}: write it again "
            "with python -m nas generate"
        )
    values = json_object(metadata, "network")
    layers = typed(values.get("layers"), list, "its layers")
    if len(layers) > MOST_LAYERS:
        raise InputError(f"its layers must be at most {MOST_LAYERS}, got {len(layers)}")
    shape = typed(values.get("input_shape"), list, "its input_shape")
    if len(shape) not in (1, 3):
        raise InputError(f"its input_shape must be 1 or 3 numbers, got {len(shape)}")
    sizes = [typed(size, int, "a size of the network") for size in (*shape, values.get("outputs"))]
    if not all(1 <= size < 1 << 24 for size in sizes):
        raise InputError("its sizes must be from 1 to 2^24: generate it again")
    names = [typed(layer, str, "one of its layers") for layer in layers]
    chain = Chain.parse(names, sizes[:-1], sizes[-1])
    data = read_data(json_object(metadata, "data"), chain)
    with torch.device("meta"):  # sizes are checked before any memory is taken
        network = ChainNetwork(chain, data)
        deviations = {
            f"{LOG_SIGMAS}{number}": torch.empty(layer.outputs, layer.fan_in + 1)
            for number, layer in enumerate(chain.layers)
        }
    weights = network.state_dict()
    wide = any(name.startswith(LOG_SIGMAS) for name in tensors)
    check_tensors(weights | deviations if wide else weights, tensors, "layers")
    network.load_state_dict({name: tensors[name] for name in weights}, assign=True)
    network.log_sigmas = [tensors[name] for name in deviations] if wide else []
    return network.eval()
