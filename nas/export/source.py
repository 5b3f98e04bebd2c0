"""Networks as Python of their own: a file that imports torch alone and reads the weights.

Operations are the source of `cells` itself, with all they use of it; cells and what is around them
are written out from the genotype.
"""

import ast
import importlib.util
import inspect
import json
import pprint
import re
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from cells.cell import Cell, ReductionBlock
from cells.conv import DepthwiseConv2d
from cells.network import Network
from cells.ops import OPS, FactorizedReduce, Halving, relu_conv_norm
from cells.space import SearchSpace
from nas.export.predict import training_data
from nas.export.programs import Program
from nas.export.safetensors import save_network

NORM = "nn.BatchNorm2d"

HEAD = '''"""A trained network of the space {space}, which needs nothing but torch and its weights.

    network = load("model.safetensors")              # what this file was exported from
    probabilities = network.probabilities(images)    # uint8 (batch, {shape})
    names = [CLASSES[label] for label in probabilities.argmax(dim=1)]

Written by lambda-nas.
"""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[..., nn.Module]
'''

BODY = '''
class Body(nn.Module):
    """Stem, cells, head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d({in_channels}, {stem}, 3, {stem_stride}, 1, bias=False),
            nn.BatchNorm2d({stem}),
        )
        self.layers = nn.ModuleList(
            [
{layers}
            ]
        )
        self.tail = {tail}
        self.classifier = nn.Linear({width}, {classes})

    def forward(self, x: Tensor) -> Tensor:
        states = [self.stem(x)] * {inputs}  # the outputs that a layer reads
        for layer in self.layers:
            states = [*states[1:], layer(*states)]
        return self.classifier(self.tail(states[-1]).mean((2, 3)))


class Network(nn.Module):
    """The whole network."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Body()

    def forward(self, x: Tensor) -> Tensor:
        """Maps what `normalise` returns to logits (batch, classes)."""
        return self.body(x)

    def probabilities(self, images: Tensor) -> Tensor:
        """Maps uint8 (batch, {shape}) to probabilities (batch, classes)."""
        return self(normalise(images)).softmax(dim=1)


def normalise(images: Tensor) -> Tensor:
    """Maps uint8 (batch, {shape}) to what the network was trained on."""
    mean, std = torch.tensor([MEAN, STD], device=images.device)[..., None, None]
    return (images / 255 - mean) / std


def load(path: str | Path) -> Network:
    """Reads the weights from a safetensors file; the network is in evaluation mode."""
    network = Network()
    network.load_state_dict(read(path))
    return network.eval()
'''

READ = '''
def read(path: str | Path) -> dict[str, Tensor]:
    """Reads the tensors of a safetensors file by name."""
    content = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    kinds = {"F32": torch.float32, "I64": torch.int64}
    found = {}
    for name, told in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in told["data_offsets"])
            numbers = torch.frombuffer(bytearray(content[begin:end]), dtype=kinds[told["dtype"]])
            found[name] = numbers.reshape(told["shape"])
    return found
'''


def to_source(network: Network) -> Program:
    """Writes a network as Python, with the facts as constants."""
    text = source(network)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder, "model.safetensors")
        save_network(weights, network, training_data(network))
        return Program(text.encode(), imported(text, folder).load(weights).probabilities)


def imported(text: str, folder: str) -> ModuleType:
    """Imports what `source` has written: whatever is from a stranger's file is a literal there."""
    path = Path(folder, "network.py")
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("exported", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def source(network: Network) -> str:
    """Returns the text of the file."""
    skeleton, data = network.skeleton, training_data(network)
    space, choices = skeleton.space, network.genotype.choices()
    used: list[Any] = [OPS[space.ops[choice]] for choice in choices if choice != space.none]
    used += [FactorizedReduce, relu_conv_norm] if space.concat else []
    cells, layers = {}, []
    for layer, width in zip(network.body.layers, network.body.widths, strict=True):
        if isinstance(layer, Cell):
            kind = next(k for k in space.kinds if space.first_edge(k) == layer.first_row)
            cells[kind] = _cell(space, kind, layer.stride, choices)
            layers.append(_call(kind, layer, width))
        else:
            used.append(ReductionBlock)
            layers.append(f"ReductionBlock({width // 2}, {width}, {NORM})")
    width = network.body.widths[-1]
    shape = ", ".join(map(str, data.shape))
    constants = {
        "CLASSES": data.classes,
        "MEAN": data.mean,
        "STD": data.std,
        "DATA": data.name,
        "GENOTYPE": json.loads(network.genotype.to_json()),
    }
    body = BODY.format(
        in_channels=skeleton.in_channels,
        stem=space.stem_multiplier * skeleton.channels,
        stem_stride=skeleton.stem_stride,
        layers=textwrap.indent(",\n".join(layers), " " * 16) + ",",
        tail="nn.Identity()" if space.concat else f"nn.Sequential({NORM}({width}), nn.ReLU())",
        width=width,
        classes=skeleton.num_classes,
        inputs=space.num_inputs,
        shape=shape,
    )
    parts = [
        HEAD.format(space=space.name, shape=shape),
        "\n".join(f"{name} = {literal(value)}" for name, value in constants.items()),
        *definitions(used),
        *cells.values(),
        READ,
        body,
    ]
    return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"


def literal(value: Any) -> str:
    return pprint.pformat(value, width=99, sort_dicts=False)


def definitions(things: list[Any]) -> list[str]:
    """Returns the source of functions and classes of `cells`, each behind what it uses of them."""
    found: dict[str, str] = {}

    def visit(thing: Any) -> None:
        if thing.__name__ in found:
            return
        text, module = inspect.getsource(thing), sys.modules[thing.__module__]
        if thing is DepthwiseConv2d:  # its own way to convolve is for training
            text = text.partition("    def _conv_forward")[0]
        text = re.sub(r"\A@operation\(.*\)\n", "", text)
        for node in ast.walk(ast.parse(text)):
            used = getattr(module, node.id, None) if isinstance(node, ast.Name) else None
            of_cells = getattr(used, "__module__", "").startswith("cells.")
            if of_cells and (inspect.isfunction(used) or inspect.isclass(used)):
                visit(used)
        found[thing.__name__] = text

    for thing in things:
        visit(thing)
    return list(found.values())


def _class(kind: str) -> str:
    return "Cell" if kind == "cell" else f"{kind.capitalize()}Cell"


def _call(kind: str, cell: Cell, width: int) -> str:
    """Returns how a cell of so many output channels is made."""
    if not cell.space.concat:
        return f"{_class(kind)}({width})"
    channels = width // cell.space.num_nodes
    arguments = []
    for layers in cell.inputs:
        _, convolution, _ = layers.children()
        if isinstance(convolution, nn.Conv2d):
            made = f"relu_conv_norm({convolution.in_channels}, {channels}, 1, 1, {NORM})"
        else:
            assert isinstance(convolution, Halving)
            made = f"FactorizedReduce({convolution.even.in_channels}, {channels}, {NORM})"
        arguments.append(made)
    inside = "".join(f"    {argument},\n" for argument in [*arguments, channels])
    return f"{_class(kind)}(\n{inside})"


def _cell(space: SearchSpace, kind: str, stride: int, choices: Sequence[int]) -> str:
    """Returns the class of a kind of cell, edge by edge."""
    inputs = [f"s{number}" for number in range(space.num_inputs)]
    sums: list[list[str]] = [[] for _ in range(space.num_nodes)]
    edges = []
    for number, (begin, end) in enumerate(space.cell_edges):
        choice = choices[space.first_edge(kind) + number]
        if choice != space.none:
            builder = OPS[space.ops[choice]].__name__
            call = f"{builder}(channels, {stride if begin < space.num_inputs else 1}, {NORM})"
            edges.append(f'        self.edges["{number}"] = {call}')
            sums[end - space.num_inputs].append(f'self.edges["{number}"](s{begin})')
    nodes = [f"s{number}" for number in range(space.num_inputs, space.num_inputs + len(sums))]
    nothing = f"torch.zeros_like(s0[:, :, ::{stride}, ::{stride}])"
    projections = [f"        {s} = self.inputs[{i}]({s})" for i, s in enumerate(inputs)]
    sized = [f"{name}: nn.Module" for name in inputs] if space.concat else []
    return "\n".join(
        (
            f"class {_class(kind)}(nn.Module):",
            f'    """A cell of the kind {kind}, of the nodes {", ".join(nodes)}."""',
            "",
            f"    def __init__(self, {', '.join([*sized, 'channels: int'])}) -> None:",
            "        super().__init__()",
            *([f"        self.inputs = nn.ModuleList([{', '.join(inputs)}])"] if sized else []),
            "        self.edges = nn.ModuleDict()",
            *edges,
            "",
            f"    def forward(self, {', '.join(f'{name}: Tensor' for name in inputs)}) -> Tensor:",
            *(projections if sized else []),
            *(
                f"        {node} = {' + '.join(terms) or nothing}"
                for node, terms in zip(nodes, sums, strict=True)
            ),
            f"        return torch.cat([{', '.join(nodes)}], dim=1)"
            if sized
            else f"        return {nodes[-1]}",
        )
    )
