"""A network of layers in a row, with the deviations of its weights, as a safetensors file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from cells.chain import Chain, module_of
from cells.errors import InputError
from cells.output_files import write_atomically
from nas.export.reproducible import serialise


def save_chain(
    path: Path,
    chain: Chain,
    tables: Sequence[Tensor],
    log_sigmas: Sequence[Tensor | None],
    facts: Mapping[str, Any],
) -> None:
    """Writes a network as safetensors, whole or not at all.

    The metadata hold `format`, `version` and, as JSON, the facts, the shape of an input and the
    number of outputs. Tensors are the weights of the module by their names in it, and
    `log_sigmas` of each layer that has them.

    Args:
        tables: weights of each layer, (outputs, inputs + 1).
        log_sigmas: logarithms of their deviations, alike; None for point weights.
        facts: what else the metadata say, JSON values.

    Raises:
        InputError: if there is such a file.
    """
    if path.exists():
        raise InputError(f"{path} exists: choose another --out")
    tensors: dict[str, Tensor] = dict(module_of(chain, tables).state_dict())
    for number, log_sigma in enumerate(log_sigmas):
        if log_sigma is not None:
            tensors[f"log_sigmas.{number}"] = log_sigma
    shape = {"input_shape": chain.input_shape, "outputs": chain.layers[-1].outputs}
    metadata = {"format": "nas-chain", "version": "1", "network": json.dumps({**facts, **shape})}
    write_atomically(path, serialise(tensors, metadata))
