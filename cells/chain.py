"""Networks without cells: layers in a row, many networks at a time.

The degenerate cell has one operation on every edge: a multilayer perceptron or a small convolution
network, in which nothing is left to choose but the weights.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells.errors import InputError

KERNEL = 3
"""Side of every convolution, in pixels."""

MLP = "mlp"
"""Name of the space whose networks are layers in a row."""


@dataclass(frozen=True)
class Affine:
    """A layer with weights: a linear one, or a 3×3 convolution with padding 1 and stride 1."""

    conv: bool
    inputs: int
    """Features, or channels, that come in."""
    outputs: int

    @property
    def fan_in(self) -> int:
        """Counts the numbers that one output is a weighted sum of."""
        return self.inputs * (KERNEL**2 if self.conv else 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape of the weight, as in `torch.nn`."""
        kernel = (KERNEL, KERNEL) if self.conv else ()
        return (self.outputs, self.inputs, *kernel)

    @property
    def num_params(self) -> int:
        """Counts weights and biases."""
        return self.outputs * (self.fan_in + 1)


@dataclass(frozen=True)
class Chain:
    """Layers in a row, a ReLU after each but the last.

    Attributes:
        steps: what happens to an input, in order: a layer with weights, or None for a 2×2 maximum
            pool.
        input_shape: (features,) or (channels, height, width) of one example.
    """

    steps: tuple[Affine | None, ...]
    input_shape: tuple[int, ...]

    @classmethod
    def parse(cls, layers: Sequence[str], input_shape: Sequence[int], outputs: int) -> "Chain":
        """Reads a description such as `("conv16", "pool", "100")`.

        Args:
            layers: `conv` and a number of channels, `pool`, or a number of hidden units, which no
                convolution can follow.
            input_shape: (features,) or (channels, height, width) of one example.
            outputs: of the last layer, which is linear and added here.

        Raises:
            InputError: for a layer that is none of these or does not fit its place.
        """
        shape, steps = tuple(input_shape), list[Affine | None]()
        for layer in layers:
            found = re.fullmatch(r"(?:(pool)|(conv)?([1-9][0-9]{0,6}))", layer)
            if found is None:
                raise InputError(
                    f"layer {layer!r} is unknown: write conv32 for a convolution with 32 channels, "
                    "pool, or 100 for 100 hidden units"
                )
            pool, conv, width = found.groups()
            if (pool or conv) and len(shape) != 3:
                raise InputError(f"layer {layer!r} needs an image: put it before hidden units")
            if pool:
                shape = (shape[0], shape[1] // 2, shape[2] // 2)
                if 0 in shape:
                    raise InputError(f"layer {layer!r} leaves nothing of an image: use fewer pools")
                steps.append(None)
            elif conv:
                steps.append(Affine(True, shape[0], int(width)))
                shape = (int(width), *shape[1:])
            else:
                steps.append(Affine(False, math.prod(shape), int(width)))
                shape = (int(width),)
        steps.append(Affine(False, math.prod(shape), outputs))
        return cls(tuple(steps), tuple(input_shape))

    @property
    def layers(self) -> list[Affine]:
        """Lists the layers with weights."""
        return [step for step in self.steps if step is not None]

    @property
    def output_shapes(self) -> list[tuple[int, ...]]:
        """Lists the shape of each output, (outputs,) or (outputs, height, width)."""
        shapes, size = [], self.input_shape[1:]
        for step in self.steps:
            if step is None:
                size = tuple(side // 2 for side in size)
            else:
                shapes.append((step.outputs, *size) if step.conv else (step.outputs,))
        return shapes

    @property
    def num_params(self) -> int:
        """Counts weights and biases of one network."""
        return sum(layer.num_params for layer in self.layers)

    @property
    def flops(self) -> int:
        """Counts the multiply–adds of one network for one example."""
        pairs = zip(self.layers, self.output_shapes, strict=True)
        return sum(layer.fan_in * math.prod(shape) for layer, shape in pairs)

    def narrowed(
        self, names: Sequence[str], widths: Sequence[int]
    ) -> "tuple[Chain, tuple[str, ...]]":
        """Returns the same layers with other numbers of outputs, and what they are parsed from.

        Args:
            names: what this one was parsed from.
            widths: outputs of each layer with weights.
        """
        left = iter(widths)
        found = tuple(
            name if name == "pool" else re.sub("[0-9]+$", str(next(left)), name) for name in names
        )
        return Chain.parse(found, self.input_shape, next(left)), found

    def propagate(self, x: Tensor, apply: Callable[[int, Affine, Tensor], Tensor]) -> Tensor:
        """Passes inputs through any number of networks at a time.

        Args:
            x: (…, batch, *input_shape).
            apply: the layer of a number, with weights, on such a tensor; it may add dimensions in
                front.

        Returns:
            (…, batch, outputs).
        """
        number, last, images = 0, len(self.layers) - 1, len(self.input_shape) == 3
        for step in self.steps:
            if step is None:
                x = F.max_pool2d(x.flatten(0, -4), 2).unflatten(0, x.shape[:-3])
                continue
            if images and not step.conv:
                x, images = x.flatten(-3), False
            x = apply(number, step, x)
            if number < last:
                x = x.relu()
            number += 1
        return x

    def module(self) -> nn.Sequential:
        """Builds one network as an ordinary module, its weights drawn by torch's defaults."""
        modules: list[nn.Module] = []
        flat = not self.layers[0].conv
        if flat:
            modules.append(nn.Flatten())
        for number, step in enumerate(self.steps):
            if step is None:
                modules.append(nn.MaxPool2d(2))
                continue
            if not step.conv and not flat:
                modules.append(nn.Flatten())
                flat = True
            modules.append(
                nn.Conv2d(step.inputs, step.outputs, KERNEL, padding=KERNEL // 2)
                if step.conv
                else nn.Linear(step.inputs, step.outputs)
            )
            if number < len(self.steps) - 1:
                modules.append(nn.ReLU())
        return nn.Sequential(*modules)


def affine(layer: Affine, x: Tensor, table: Tensor) -> Tensor:
    """Applies one layer of several networks, each to its own inputs.

    Args:
        x: (*networks, batch, inputs), or with (height, width) behind for a convolution; dimensions
            of 1 among the networks serve all.
        table: (*networks, outputs, fan_in + 1): each row the weights and the bias of one output.

    Returns:
        (*networks, batch, outputs), with (height, width) for a convolution.
    """
    weight, bias = table[..., :-1], table[..., -1]
    if not layer.conv:
        return x @ weight.mT + bias[..., None, :]
    networks = table.shape[:-2]
    count, size = networks.numel(), x.shape[-2:]
    batch = x.shape[-4]
    x = x.expand(*networks, *x.shape[-4:]).flatten(0, -5).transpose(0, 1)
    kernels = weight.reshape(count * layer.outputs, layer.inputs, KERNEL, KERNEL)
    y = F.conv2d(
        x.reshape(batch, count * layer.inputs, *size),
        kernels,
        bias.reshape(-1),
        padding=KERNEL // 2,
        groups=count,
    )
    y = y.reshape(batch, count, layer.outputs, *size).transpose(0, 1)
    return y.reshape(*networks, batch, layer.outputs, *size)


@torch.no_grad()
def module_of(chain: Chain, tables: Sequence[Tensor]) -> nn.Sequential:
    """Returns an ordinary module with given weights, (outputs, inputs + 1) for each layer."""
    module = chain.module()
    layers = [layer for layer in module if isinstance(layer, nn.Linear | nn.Conv2d)]
    for layer, table in zip(layers, tables, strict=True):
        layer.weight.copy_(table[:, :-1].reshape(layer.weight.shape))
        assert layer.bias is not None
        layer.bias.copy_(table[:, -1])
    return module
