"""Trained networks as safetensors files that hold all there is to know to use them."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from cells.cell import SIZES, Skeleton
from cells.errors import InputError
from cells.genotype import Genotype
from cells.input_files import open_regular
from cells.network import Network
from cells.output_files import write_atomically
from cells.space import find_space
from cells.strict_json import show
from nas.export import chain
from nas.export.chain import ChainNetwork, read_chain
from nas.export.metadata import check_tensors, json_object, text_of
from nas.export.reproducible import HASH, digest, serialise
from nas.export.training_data import TrainingData, read_training_data
from nas.runtime.files import describe

FORMAT = "nas-network"
VERSION = "1"
LIMITS = dict.fromkeys(SIZES, 100_000) | {"num_cells": 1000}
"""Largest sizes of a network; from a damaged file, larger ones would take hours to build."""


def save_network(path: Path, network: Network, data: TrainingData) -> None:
    """Writes a network without its auxiliary head, whole or not at all.

    The file's metadata hold `format`, `version` and, as JSON, `genotype`, `skeleton` (the sizes
    and the name of the space), `data` and `sha256` (see `nas.export.reproducible.digest`).

    Raises:
        OSError: naming the file, e.g. if no space is left.
    """
    skeleton = {"space": network.skeleton.space.name}
    skeleton |= {name: getattr(network.skeleton, name) for name in SIZES}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "genotype": network.genotype.to_json(),
        "skeleton": json.dumps(skeleton),
        "data": json.dumps(data.to_values()),
    }
    tensors = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    write_atomically(path, serialise(tensors, metadata))


def load(path: str | Path) -> Network | ChainNetwork:
    """Reads a network, of cells or of layers in a row, in evaluation mode on the CPU.

        network = nas.load("model.safetensors")
        logits = network(network.data.normalise(images))    # uint8 (batch, channels, h, w)
        names = [network.data.classes[i] for i in logits.argmax(dim=1)]

        network = nas.load("network-1.safetensors")         # generated for a table
        outputs = network(network.data.features(rows))      # float64 (batch, columns)
        values = network.data.answers(outputs)              # (batch,), or probabilities

    Its attribute `data`, a `TrainingData` or a `TableForm`, has the names of classes or columns and
    the normalisation. Nothing in the file is ever executed.

    Warns:
        UserWarning: if it was written before networks had a hash, so that nothing tells whether
            its weights are still what they were.

    Raises:
        InputError: if there is no such file, or it is cut short, damaged, of another version or
            of another make, or its numbers cannot be those of a trained network.
    """
    path = Path(path)
    try:
        open_regular(path).close()
    except FileNotFoundError:
        raise InputError(f"no network file {str(path)!r}: check the path") from None
    except OSError as error:
        raise InputError(describe(error)) from error
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            _check_format(metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if HASH in metadata and metadata[HASH] != digest(tensors, metadata):
            raise InputError("it differs from its hash, a bit or more has flipped: restore a copy")
        if metadata["format"] == chain.FORMAT:
            network: Network | ChainNetwork = read_chain(metadata, tensors)
        else:
            network = _network(metadata, tensors)
    except SafetensorError as error:
        message = f"{path} is cut short, damaged or no safetensors file ({error})"
        raise InputError(f"{message}: restore a copy") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if HASH not in metadata:
        warnings.warn(
            f"{path} has no hash: export it again to have flipped bits noticed",
            stacklevel=2,
        )
    return network


def _network(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Network:
    """Reads a network of cells from what stands in its file."""
    genotype = Genotype.from_json(text_of(metadata, "genotype"))
    skeleton = _skeleton(json_object(metadata, "skeleton"))
    shape = (skeleton.in_channels, skeleton.height, skeleton.width)
    data = read_training_data(json_object(metadata, "data"), shape, skeleton.num_classes)
    _check_number(genotype, skeleton, len(tensors))
    with torch.device("meta"):  # sizes are checked before any memory is taken
        network = Network(genotype, skeleton)
    check_tensors(network.state_dict(), tensors, "genotype")
    network.load_state_dict(tensors, assign=True)
    network.data = data  # type: ignore[assignment]  # torch's annotation knows only modules
    return network.eval()


def _check_format(metadata: dict[str, str]) -> None:
    if metadata.get("format") not in (FORMAT, chain.FORMAT):
        raise InputError(
            f"not a network of this program: its format is not {FORMAT!r} or {chain.FORMAT!r}"
        )
    if metadata["format"] == FORMAT and metadata.get("version") != VERSION:
        found = metadata.get("version", "")[:20]
        raise InputError(f"version {found!r} of the format: this program reads {VERSION!r}")


def _skeleton(values: dict[str, Any]) -> Skeleton:
    for name in SIZES:
        value = values.get(name)
        if type(value) is not int or not 1 <= value <= LIMITS[name]:
            raise InputError(
                f"its {name} must be a whole number from 1 to {LIMITS[name]}, got {show(value)}"
            )
    space = find_space(str(values.get("space")))
    return Skeleton(space, **{name: values[name] for name in SIZES})


def _check_number(genotype: Genotype, skeleton: Skeleton, num_tensors: int) -> None:
    """Refuses more cells than the tensors can be of, before hours go into building them."""
    if skeleton.num_cells <= 20:
        return
    with torch.device("meta"):
        few = [len(Network(genotype, replace(skeleton, num_cells=n)).state_dict()) for n in (5, 6)]
    least = (skeleton.num_cells - 6) * (few[1] - few[0])  # of each further cell
    if num_tensors < least:
        raise InputError(
            f"it has {num_tensors} tensors, too few for {skeleton.num_cells} cells: genotype and "
            "weights differ"
        )
