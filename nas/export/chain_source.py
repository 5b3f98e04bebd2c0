"""Networks of layers in a row as Python of their own: a file that imports torch alone."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nas.data.table_form import TableForm
from nas.export.chain import LOG_SIGMAS, ChainNetwork
from nas.export.programs import Program
from nas.export.reproducible import serialise
from nas.export.source import READ, imported, literal

HEAD = '''"""A trained network of layers in a row, which needs nothing but torch and its weights.

    network = load("network.safetensors")    # what this file was exported from
{usage}

Written by lambda-nas.
"""

import json
import struct
from pathlib import Path

import torch
from torch import Tensor, nn
'''

IMAGES = """    probabilities = network.probabilities(images)    # uint8 (batch, {shape})
    names = [CLASSES[label] for label in probabilities.argmax(dim=1)]"""

ROWS = """    rows = encode([{{column: a number, a text or None}}, …])
    {made} = network.{made}(rows)"""

BODY = '''
class Network(nn.Module):
    """The whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
{layers}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps what `{prepare}` returns to outputs (batch, {outputs})."""
        return self.layers(x)
{answer}


def load(path: str | Path) -> Network:
    """Reads the weights from a safetensors file; the network is in evaluation mode."""
    network = Network()
    tensors = read(path).items()
    weights = {{name: each for name, each in tensors if not name.startswith("{deviations}")}}
    network.layers.load_state_dict(weights)
    return network.eval()
'''

PROBABILITIES = '''
    def probabilities(self, {given}: Tensor) -> Tensor:
        """Maps {what} to probabilities (batch, classes)."""
        return self({prepare}({given})).softmax(dim=1)
'''

VALUES = '''
    def values(self, rows: Tensor) -> Tensor:
        """Maps rows, float64 (batch, columns), to values (batch,) of the target, float64."""
        return self(features(rows))[:, 0].double() * TARGET["std"] + TARGET["mean"]
'''

NORMALISE = '''
def normalise(images: Tensor) -> Tensor:
    """Maps uint8 (batch, {shape}) to what the network was trained on."""
    mean, std = torch.tensor([MEAN, STD], device=images.device)[..., None, None]
    return (images / 255 - mean) / std
'''

FEATURES = '''
def features(rows: Tensor) -> Tensor:
    """Maps float64 (batch, columns) to what the network was trained on, float32."""
    parts = []
    for column, values in zip(COLUMNS, rows.double().unbind(dim=1)):
        absent = values.isnan()
        if column["categories"] is None:
            parts.append(((values - column["mean"]) / column["std"]).masked_fill(absent, 0))
            continue
        parts += [(values == code).double() for code in range(len(column["categories"]))]
        parts += [absent.double()] if column["missing"] else []
    return torch.stack(parts, dim=1).float()


def encode(rows: list[dict[str, str | float | None]]) -> Tensor:
    """Maps rows to float64 (batch, columns); what a row lacks, or None, is missing."""
    encoded = []
    for row in rows:
        values = [row.get(column["name"]) for column in COLUMNS]
        encoded.append(
            [
                float("nan")
                if value is None
                else float(value)
                if column["categories"] is None
                else float(column["categories"].index(value))
                for column, value in zip(COLUMNS, values)
            ]
        )
    return torch.tensor(encoded, dtype=torch.float64)
'''


def to_source(network: ChainNetwork) -> Program:
    """Writes a network as Python, with what it was trained on as constants."""
    text = source(network)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "network.safetensors")
        weights.write_bytes(serialise(network.state_dict(), {}))
        read = imported(text, folder).load(weights)
    regression = isinstance(network.data, TableForm) and network.data.regression
    return Program(text.encode(), read.values if regression else read.probabilities)


def source(network: ChainNetwork) -> str:
    """Returns the text of the file."""
    data = network.data
    if isinstance(data, TableForm):
        columns = [asdict(column) for column in data.columns]
        constants: dict[str, Any] = {"COLUMNS": columns, "TARGET": asdict(data.target)}
        made = "values" if data.regression else "probabilities"
        usage, prepare = ROWS.format(made=made), "features"
        given, what = "rows", "rows, float64 (batch, columns),"
        before, answer = FEATURES, VALUES if data.regression else PROBABILITIES
    else:
        shape = ", ".join(map(str, data.shape))
        constants = {"CLASSES": data.classes, "MEAN": data.mean, "STD": data.std}
        usage, prepare = IMAGES.format(shape=shape), "normalise"
        given, what = "images", f"uint8 (batch, {shape})"
        before, answer = NORMALISE.format(shape=shape), PROBABILITIES
    if answer is PROBABILITIES:
        answer = answer.format(given=given, what=what, prepare=prepare)
    body = BODY.format(
        layers="\n".join(f"            nn.{layer}," for layer in network),
        prepare=prepare,
        outputs=network.chain.layers[-1].outputs,
        answer=answer.rstrip(),
        deviations=LOG_SIGMAS,
    )
    parts = [
        HEAD.format(usage=usage),
        "\n".join(f"{name} = {literal(value)}" for name, value in constants.items()),
        READ,
        before,
        body,
    ]
    return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"
