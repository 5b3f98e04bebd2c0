"""Every candidate operation of a space at once, weighted or sampled."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells.cell import Body, Cell, Skeleton, State
from cells.ops import build_op

# Statistics of the batch at hand, always: running averages over changing architectures would fit
# none of them, and the passes of a hypergradient must not move any state.
SUPERNET_NORM = partial(nn.BatchNorm2d, affine=False, track_running_stats=False)


def weighted(op: nn.Module, state: State, weight: Tensor) -> Tensor:
    """Returns weight · op(x), a new tensor.

    A normalisation without scale at the operation's end takes the weight as its scale, which
    spares a pass over the images each way.

    Args:
        op: one candidate.
        state: x, (batch, channels, height, width).
        weight: (channels,), the same for all of them, or (batch, 1, 1, 1).
    """
    x, layers = state.begin(op)
    norm = layers[-1] if layers else None
    if (
        weight.ndim == 1
        and isinstance(norm, nn.BatchNorm2d)
        and not norm.affine
        and norm.running_mean is None
    ):
        for layer in layers[:-1]:
            x = layer(x)
        return F.batch_norm(x, None, None, weight, None, True, 0.0, norm.eps)
    for layer in layers:
        x = layer(x)
    return (weight[0] if weight.ndim == 1 else weight) * x


class MixedEdge(nn.Module):
    """All candidates of one edge, on all channels or, as in PC-DARTS, on a share of them.

    With partial channels (Xu et al.: PC-DARTS, 2020) the operations see the first
    1/k of the channels and the others pass by; where the stride is 2, as the maxima of 2 × 2
    pixels. The two are then shuffled, so that the next edge sees other channels.
    """

    def __init__(
        self, op_names: Sequence[str], none: int, channels: int, stride: int, partial: int = 1
    ) -> None:
        """
        Args:
            partial: k >= 1, a divisor of the channels.
        """
        super().__init__()
        self.none = none
        self.channels = channels // partial
        self.stride = stride
        self.partial = partial
        self.ops = nn.ModuleList(
            build_op(o, self.channels, stride, SUPERNET_NORM) for o in op_names
        )

    def forward(
        self,
        state: State,
        weights: Tensor,
        columns: Sequence[int],
        share: Tensor | None = None,
    ) -> Tensor | None:
        """Weights the operations' outputs and adds them up.

        Args:
            state: where the edge begins, (batch, channels, height, width).
            weights: (ops,), or (batch, ops) with weights of its own for each example.
            columns: the operations to compute.
            share: factor of the whole edge, a scalar.

        Returns:
            The mixture, or None where it is zero because nothing but `none` is computed.
        """
        if share is not None and self.partial == 1:
            weights, share = weights * share, None
        mixture = self._mixture(
            state if self.partial == 1 else state.first(self.channels), weights, columns
        )
        if self.partial == 1 or mixture is None:
            return mixture
        rest = state.x[:, self.channels :]
        if self.stride > 1:
            rest = F.max_pool2d(rest, self.stride, ceil_mode=True)
        groups = torch.cat([mixture.to(rest), rest], dim=1).unflatten(1, (self.partial, -1))
        shuffled = groups.transpose(1, 2).flatten(1, 2)
        return shuffled if share is None else shuffled * share

    def _mixture(self, state: State, weights: Tensor, columns: Sequence[int]) -> Tensor | None:
        chosen = [column for column in columns if column != self.none]
        factors: Sequence[Tensor] | dict[int, Tensor]
        if weights.ndim == 2:
            factors = weights.t()[..., None, None, None].unbind()
        elif len(chosen) > 1:
            factors = weights[:, None].repeat(1, self.channels).unbind()
        else:
            factors = {column: weights[column].repeat(self.channels) for column in chosen}
        total: Tensor | None = None
        for column in chosen:
            term = weighted(self.ops[column], state, factors[column])
            total = term if total is None else total.add_(term)
        return total


class Supernet(nn.Module):
    """The network in which every edge is a mixture of its candidates.

    Attributes:
        columns: for each row of the architecture table, the candidates that are left.
    """

    def __init__(self, skeleton: Skeleton, partial: int = 1) -> None:
        """
        Args:
            partial: k of partial channels, a divisor of the channels; 1 for all of them.
        """
        super().__init__()
        self.skeleton = skeleton
        self.partial = partial
        space = skeleton.space
        assert skeleton.channels % partial == 0
        self.columns: list[Sequence[int]] = [range(len(space.ops))] * space.num_edges

        def make_edge(row: int, channels: int, stride: int) -> nn.Module:
            return MixedEdge(space.ops, space.none, channels, stride, partial)

        self.body = Body(skeleton, SUPERNET_NORM, make_edge)

    def forward(
        self,
        x: Tensor,
        weights: Tensor,
        active: Sequence[int] | None = None,
        shares: Tensor | None = None,
    ) -> Tensor:
        """Returns class logits (batch, num_classes).

        Args:
            x: images (batch, in_channels, height, width).
            weights: of the operations, (edges, ops) or (batch, edges, ops).
            active: the one operation to compute on each edge; None computes all that are left.
            shares: factors of whole edges, (edges,); None for 1.
        """

        def run_edge(edge: nn.Module, row: int, state: State) -> Tensor | None:
            columns = self.columns[row] if active is None else (active[row],)
            share = None if shares is None else shares[row]
            return edge(state, weights[..., row, :], columns, share)

        return self.body(x, run_edge)

    def discrete(self, x: Tensor, choices: Sequence[int]) -> Tensor:
        """Returns the logits of one discrete architecture, one operation per edge.

        Args:
            choices: operation of each edge, `num_edges` column numbers.
        """
        space = self.skeleton.space
        dtype = self.body.classifier.weight.dtype
        one_hot = torch.eye(len(space.ops), dtype=dtype, device=x.device)[list(choices)]
        return self(x, one_hot, choices)

    def used(self, choices: Sequence[int]) -> list[bool]:
        """Finds the parameters that the logits of a discrete architecture depend on.

        Args:
            choices: operation of each edge, `num_edges` column numbers.

        Returns:
            Whether they do, for each parameter, in order.
        """
        space, layers = self.skeleton.space, list(self.body.layers)
        live = {len(layers) - 1}  # numbers of the layers that matter; the stem has negative ones
        dead: set[nn.Module] = set()
        for number in range(len(layers) - 1, -1, -1):
            layer = layers[number]
            if number not in live:
                dead.add(layer)
            elif isinstance(layer, Cell):
                rows = range(layer.first_row, layer.first_row + len(space.cell_edges))
                chosen = [choices[row] for row in rows]
                edges = space.leading_out(chosen)
                for edge, mixed in layer.edges.items():
                    assert isinstance(mixed, MixedEdge)
                    dead.update(
                        op
                        for column, op in enumerate(mixed.ops)
                        if int(edge) not in edges or column != chosen[int(edge)]
                    )
                sources = {space.cell_edges[edge][0] for edge in edges}
                for source in range(space.num_inputs):
                    if source in sources:
                        live.add(number - space.num_inputs + source)
                    elif space.concat:
                        dead.add(layer.inputs[source])
            else:
                live.add(number - 1)
        if min(live) >= 0:
            dead.add(self.body.stem)
        lost = {id(parameter) for module in dead for parameter in module.parameters()}
        return [id(parameter) not in lost for parameter in self.parameters()]

    def candidates(self) -> Iterator[tuple[int, int, nn.Module]]:
        """Yields (row, column, module) of every candidate in every cell."""
        for layer in self.body.layers:
            if isinstance(layer, Cell):
                for edge, mixed in layer.edges.items():
                    assert isinstance(mixed, MixedEdge)
                    for column, op in enumerate(mixed.ops):
                        yield layer.first_row + int(edge), column, op
