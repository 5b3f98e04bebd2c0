"""Every candidate operation of a space at once, weighted or sampled."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from cells.cell import Body, Cell, Skeleton
from cells.ops import build_op

# Statistics of the batch at hand, always: running averages over changing architectures would fit
# none of them, and the passes of a hypergradient must not move any state.
SUPERNET_NORM = partial(nn.BatchNorm2d, affine=False, track_running_stats=False)


class MixedEdge(nn.Module):
    """All candidates of one edge."""

    def __init__(self, op_names: Sequence[str], none: int, channels: int, stride: int) -> None:
        super().__init__()
        self.none = none
        self.channels = channels
        self.stride = stride
        self.ops = nn.ModuleList(build_op(o, channels, stride, SUPERNET_NORM) for o in op_names)

    def forward(self, x: Tensor, weights: Tensor, active: int | None) -> Tensor | None:
        """Weights the operations' outputs and adds them up.

        Args:
            x: (batch, channels, height, width).
            weights: (ops,), or (batch, ops) with weights of its own for each example.
            active: the one operation to compute; None computes all.

        Returns:
            The mixture, or None where it is zero because nothing but `none` is computed.
        """
        columns = range(len(self.ops)) if active is None else (active,)
        total: Tensor | None = None
        for column in columns:
            if column != self.none:
                term = weights[..., column].reshape(-1, 1, 1, 1) * self.ops[column](x)
                total = term if total is None else total + term
        return total


class Supernet(nn.Module):
    """The network in which every edge is a mixture of its candidates."""

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        self.skeleton = skeleton
        space = skeleton.space

        def make_edge(row: int, channels: int, stride: int) -> nn.Module:
            return MixedEdge(space.ops, space.none, channels, stride)

        self.body = Body(skeleton, SUPERNET_NORM, make_edge)

    def forward(self, x: Tensor, weights: Tensor, active: Sequence[int] | None = None) -> Tensor:
        """Returns class logits (batch, num_classes).

        Args:
            x: images (batch, in_channels, height, width).
            weights: of the operations, (edges, ops) or (batch, edges, ops).
            active: the one operation to compute on each edge; None computes all.
        """

        def run_edge(edge: nn.Module, row: int, h: Tensor) -> Tensor | None:
            return edge(h, weights[..., row, :], None if active is None else active[row])

        return self.body(x, run_edge)

    def discrete(self, x: Tensor, choices: Sequence[int]) -> Tensor:
        """Returns the logits of one discrete architecture, one operation per edge.

        Args:
            choices: operation of each edge, `num_edges` column numbers.
        """
        space = self.skeleton.space
        one_hot = torch.eye(len(space.ops), device=x.device)[list(choices)]
        return self(x, one_hot, choices)

    def candidates(self) -> Iterator[tuple[int, int, nn.Module]]:
        """Yields (row, column, module) of every candidate in every cell."""
        for layer in self.body.layers:
            if isinstance(layer, Cell):
                for edge, mixed in layer.edges.items():
                    assert isinstance(mixed, MixedEdge)
                    for column, op in enumerate(mixed.ops):
                        yield layer.first_row + int(edge), column, op
