"""Wiring that mixed and discrete networks share: cells, stem, reductions, head.

What stands on an edge is the caller's: `make_edge` builds it and `run_edge` calls it. The mixed
network puts every candidate there, the discrete one a single operation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from cells.conv import Subsample
from cells.errors import InputError
from cells.ops import FactorizedReduce, Norm, relu_conv_norm
from cells.space import SearchSpace

MakeEdge = Callable[[int, int, int], nn.Module | None]
"""(row of the architecture table, channels, stride) -> module, or None for an absent edge."""


COMMON: dict[type[nn.Module], tuple[str, ...]] = {
    nn.ReLU: ("inplace",),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode"),
    nn.AvgPool2d: (
        *("kernel_size", "stride", "padding", "ceil_mode"),
        *("count_include_pad", "divisor_override"),
    ),
    nn.BatchNorm2d: ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    Subsample: ("stride", "start"),
}
"""Layers that operations may have in common, with all that tells two of a type apart."""

Key = tuple[object, ...]


def _key(layer: nn.Module) -> Key | None:
    """Returns the same for layers that compute the same; None for one that is not common."""
    names = COMMON.get(type(layer))
    if names is None or next(chain(layer.parameters(), layer.buffers()), None) is not None:
        return None
    return type(layer), *(getattr(layer, name) for name in names)


class State:
    """A tensor between operations, and what they have in common.

    Operations that leave one state begin with the same rectifiers and pools, which are computed
    once: layers of the types in `COMMON` without parameters and buffers.

    Attributes:
        x: (batch, channels, height, width).
    """

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self._made: dict[Key, Tensor] = {}
        self._firsts: dict[int, State] = {}

    def first(self, channels: int) -> "State":
        """Returns the state of the first channels alone."""
        if channels not in self._firsts:
            self._firsts[channels] = State(self.x[:, :channels])
        return self._firsts[channels]

    def begin(self, op: nn.Module) -> tuple[Tensor, list[nn.Module]]:
        """Runs the common layers that an operation begins with, unless that has been done.

        Returns:
            What these layers make of x, which is not to be changed in place, and the layers to
            come.
        """
        layers = list(op) if isinstance(op, nn.Sequential) else [op]
        x = self.x
        path: Key = ()
        while layers and (key := _key(layers[0])) is not None:
            layer, path = layers.pop(0), (*path, key)
            if path not in self._made:
                self._made[path] = layer(x)
            x = self._made[path]
        return x, layers

    def run(self, op: nn.Module) -> Tensor:
        """Returns op(x), which is not to be changed in place."""
        x, layers = self.begin(op)
        for layer in layers:
            x = layer(x)
        return x


RunEdge = Callable[[nn.Module, int, State], Tensor | None]
"""(edge module, row, input) -> output, or None for zeros."""


SIZES = (
    *("in_channels", "num_classes", "height", "width"),
    *("channels", "num_cells", "stem_stride"),
)
"""The numbers that make up a skeleton."""


@dataclass(frozen=True)
class Skeleton:
    """Everything about a network but its cells' operations."""

    space: SearchSpace
    in_channels: int
    num_classes: int
    height: int
    """Image height in pixels."""
    width: int
    """Image width in pixels."""
    channels: int
    """Width of the first cells; doubled at each of the two reductions."""
    num_cells: int
    """Searched cells from stem to head."""
    stem_stride: int = 1
    """Stride of the stem's convolution: 2 or more makes all cells work on smaller images."""

    def __post_init__(self) -> None:
        for name in SIZES:
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def reductions(self) -> frozenset[int]:
        """Cells at which the image is halved: at one and two thirds of the depth."""
        n = self.num_cells
        return frozenset({n // 3, 2 * n // 3}) if n >= 3 else frozenset(range(1, n))

    def rough_bytes(self, batch_size: int) -> int:
        """Returns bytes that a training step in float32 does not exceed, by a factor of 5 or more.

        As if every operation of every cell kept 32 images of the first cells' size and width.
        """
        ops = self.num_cells * self.space.num_edges * len(self.space.ops)
        pixels = -(-self.height // self.stem_stride) * -(-self.width // self.stem_stride)
        return 4 * 32 * batch_size * pixels * self.channels * ops


def _channels_last(grad: Tensor) -> Tensor:
    return grad.contiguous(memory_format=torch.channels_last)


class Cell(nn.Module):
    """One cell of `space`; every node is the sum of its incoming edges."""

    def __init__(
        self,
        space: SearchSpace,
        kind: str,
        in_channels: tuple[int, ...],
        halved: tuple[bool, ...],
        channels: int,
        stride: int,
        norm: Norm,
        make_edge: MakeEdge,
    ) -> None:
        """
        Args:
            in_channels: channels of each of the cell's inputs.
            halved: which inputs are twice as large as the last one and have to be halved first.
            channels: channels of every node.
            stride: stride of the edges that leave the cell's inputs.
        """
        super().__init__()
        self.space = space
        self.stride = stride
        self.first_row = space.first_edge(kind)
        self.inputs = nn.ModuleList()
        if space.concat:
            self.inputs.extend(
                FactorizedReduce(c, channels, norm)
                if half
                else relu_conv_norm(c, channels, 1, 1, norm)
                for c, half in zip(in_channels, halved, strict=True)
            )
        self.edges = nn.ModuleDict()
        for i, (source, _) in enumerate(space.cell_edges):
            edge_stride = stride if source < space.num_inputs else 1
            edge = make_edge(self.first_row + i, channels, edge_stride)
            if edge is not None:
                self.edges[str(i)] = edge

    def forward(self, inputs: list[State], run_edge: RunEdge) -> Tensor:
        """Maps the cell's inputs (batch, channels, height, width) to its output."""
        if self.space.concat:
            pairs = zip(self.inputs, inputs, strict=True)
            inputs = [State(state.run(project)) for project, state in pairs]
        states = list(inputs)
        edge = 0
        for target in range(self.space.num_nodes):
            node: Tensor | None = None
            for source in range(self.space.num_inputs + target):
                if str(edge) in self.edges:
                    module = self.edges[str(edge)]
                    row = self.first_row + edge
                    out = run_edge(module, row, states[source])
                    if out is not None:
                        node = out if node is None else node + out
                edge += 1
            if node is None:  # every incoming edge is absent
                node = torch.zeros_like(inputs[0].x[:, :, :: self.stride, :: self.stride])
            if node.requires_grad:  # the concatenation's gradient comes in slices, slow to work on
                node.register_hook(_channels_last)
            states.append(State(node))
        nodes = [state.x for state in states[self.space.num_inputs :]]
        return torch.cat(nodes, 1) if self.space.concat else nodes[-1]


class ReductionBlock(nn.Module):
    """Residual block that halves the image, doubles the channels (NAS-Bench-201, section 2.1)."""

    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            relu_conv_norm(in_channels, out_channels, 3, 2, norm),
            relu_conv_norm(out_channels, out_channels, 3, 1, norm),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(in_channels, out_channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class Body(nn.Module):
    """Stem, cells with two reductions, head: a whole network around its edges.

    `forward(x, run_edge)` maps images (batch, in_channels, height, width) to logits
    (batch, num_classes).
    """

    def __init__(self, skeleton: Skeleton, norm: Norm, make_edge: MakeEdge) -> None:
        super().__init__()
        self.skeleton = skeleton
        space = skeleton.space
        channels = skeleton.channels
        stem_channels = space.stem_multiplier * channels
        self.stem = nn.Sequential(
            nn.Conv2d(skeleton.in_channels, stem_channels, 3, skeleton.stem_stride, 1, bias=False),
            norm(stem_channels),
        )
        self.layers = nn.ModuleList()
        self.widths: list[int] = []
        """Channels of each layer's output."""
        history = [stem_channels] * space.num_inputs
        halved = [False] * space.num_inputs  # is this input still of the size before a reduction?
        for i in range(skeleton.num_cells):
            reduces = i in skeleton.reductions
            channels = 2 * channels if reduces else channels
            if reduces and "reduce" not in space.kinds:
                self.layers.append(ReductionBlock(history[-1], channels, norm))
                self.widths.append(channels)
                history, halved = [*history[1:], channels], [False] * space.num_inputs
                reduces = False
            kind = "reduce" if reduces else space.kinds[0]
            cell = Cell(
                space,
                kind,
                tuple(history),
                tuple(halved),
                channels,
                2 if reduces else 1,
                norm,
                make_edge,
            )
            self.layers.append(cell)
            self.widths.append(channels * (space.num_nodes if space.concat else 1))
            history = [*history[1:], self.widths[-1]]
            halved = [reduces] * (space.num_inputs - 1) + [False]
        # A space of constant width ends its cells with a bare sum, which has to be normalised.
        self.tail = nn.Identity() if space.concat else nn.Sequential(norm(history[-1]), nn.ReLU())
        self.classifier = nn.Linear(history[-1], skeleton.num_classes)

    def features(self, x: Tensor, run_edge: RunEdge) -> list[Tensor]:
        """Returns the output of every layer."""
        history = [State(self.stem(x))] * self.skeleton.space.num_inputs
        outputs = []
        for layer in self.layers:
            out = layer(history, run_edge) if isinstance(layer, Cell) else layer(history[-1].x)
            outputs.append(out)
            history = [*history[1:], State(out)]
        return outputs

    def head(self, features: Tensor) -> Tensor:
        """Maps the last layer's output to class logits (batch, num_classes)."""
        features = self.tail(features)
        pooled = features.permute(0, 2, 3, 1).mean((1, 2))  # its gradient is channels-last, too
        return self.classifier(pooled)

    def forward(self, x: Tensor, run_edge: RunEdge) -> Tensor:
        return self.head(self.features(x, run_edge)[-1])
