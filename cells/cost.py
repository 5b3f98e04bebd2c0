"""What an architecture costs: (edges, ops) tables of parameters, multiply–adds and latency.

A cost is additive: a network costs `base` (stem, projections, reductions, head) plus one entry of
the table per edge, summed over all cells of the edge's kind.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cells.cell import Body, Skeleton, State
from cells.errors import InputError
from cells.ops import Zero, build_op
from cells.space import SearchSpace


def show_cost(value: float) -> str:
    """Writes a cost for people: 15,510,016 parameters, 7.78935 ms."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"


@dataclass(frozen=True, eq=False)
class CostTable:
    """One additive cost.

    Attributes:
        name: `params` (numbers), `flops` (multiply–adds per image), `latency` (milliseconds per
            batch) or `kl` (nats).
        base: cost of the network without any operation.
        table: (edges, ops) float64, what an operation adds.
    """

    name: str
    base: float
    table: Tensor

    def total(self, choices: Sequence[int]) -> float:
        """Returns the cost of a discrete network, one column number per edge."""
        return self.base + float(self.table[range(len(choices)), list(choices)].sum())

    def totals(self, choices: Tensor) -> Tensor:
        """Returns the costs (n,) float64 of discrete networks (n, edges)."""
        rows = self.table.expand(len(choices), -1, -1)
        return self.base + rows.gather(2, choices[:, :, None]).sum(dim=(1, 2))

    def expected(self, probs: Tensor) -> Tensor:
        """Returns the expected cost (…) of architecture distributions (…, edges, ops)."""
        return self.base + (probs.double() * self.table).sum(dim=(-2, -1))

    @property
    def low(self) -> float:
        """Returns the cost of the least expensive architecture with one operation on each edge."""
        return self.base + float(self.table.min(dim=1).values.sum())

    @property
    def high(self) -> float:
        """Returns the cost of the most expensive architecture with one operation on each edge."""
        return self.base + float(self.table.max(dim=1).values.sum())

    def unit(self) -> tuple[Tensor, float]:
        """Returns table and base rescaled: the least expensive network costs 0, the most 1.

        Raises:
            InputError: if all architectures cost the same.
        """
        span = self.high - self.low
        if span <= 0:
            raise InputError(f"every cell costs the same {self.name}: choose another cost")
        return self.table / span, (self.base - self.low) / span

    def raw(self) -> tuple[Tensor, float]:
        """Returns table and base by the piece: parameters, multiply–adds, microseconds."""
        scale = 1e3 if self.name == "latency" else 1.0
        return scale * self.table, scale * self.base

    def priced(self, lam_unit: str) -> tuple[Tensor, float]:
        """Returns table and base of what λ multiplies.

        Args:
            lam_unit: a name in `LAM_UNITS`.

        Raises:
            InputError: as `unit`, for `"range"`.
        """
        return {"range": self.unit, "raw": self.raw}[lam_unit]()


@dataclass(frozen=True)
class Site:
    """Where an operation stands: everything its cost depends on."""

    row: int
    channels: int
    stride: int
    height: int
    width: int


def sites(skeleton: Skeleton) -> list[Site]:
    """Returns the size of every edge's input in every cell, by a pass without data."""
    found = []

    def make_edge(row: int, channels: int, stride: int) -> nn.Module:
        return Zero(stride)

    def run_edge(edge: nn.Module, row: int, state: State) -> Tensor:
        assert isinstance(edge, Zero)
        found.append(Site(row, state.x.shape[1], edge.stride, *state.x.shape[2:]))
        return edge(state.x)

    with torch.device("meta"):
        image = torch.empty(1, skeleton.in_channels, skeleton.height, skeleton.width)
        # In evaluation mode a single image of a single pixel can be normalised, too.
        Body(skeleton, nn.BatchNorm2d, make_edge).eval()(image, run_edge)
    return found


class _Empty(nn.Module):
    """The network of a skeleton without any operation."""

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        self.body = Body(skeleton, nn.BatchNorm2d, lambda row, channels, stride: None)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, lambda *_: None)


def _table(
    skeleton: Skeleton, name: str, measure: Callable[[nn.Module, Tensor], float], image: Tensor
) -> CostTable:
    """Measures the empty network and each operation at each of its sizes, every size once."""
    space = skeleton.space
    device = image.device
    with device:
        base = measure(_Empty(skeleton), image)
    table = torch.zeros(space.num_edges, len(space.ops), dtype=torch.float64)
    known: dict[tuple[object, ...], float] = {}
    for site in sites(skeleton):
        for column, op in enumerate(space.ops):
            if column == space.none:
                continue
            key = (op, site.channels, site.stride, site.height, site.width)
            if key not in known:
                with device:
                    module = build_op(op, site.channels, site.stride)
                    x = torch.empty(len(image), site.channels, site.height, site.width)
                known[key] = measure(module, x)
            table[site.row, column] += known[key]
    return CostTable(name, base, table)


def _params(module: nn.Module, x: Tensor) -> float:
    return sum(p.numel() for p in module.parameters())


def _flops(module: nn.Module, x: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        module.eval()(x)
    return counter.get_total_flops() / 2  # torch counts a multiply–add as two


def _milliseconds(module: nn.Module, x: Tensor) -> float:
    """Least time of a forward pass in evaluation mode: what else runs can only add to it.

    On one thread of a CPU the time is that of the thread's own clock, which stands while others
    have the processor; elsewhere it is that on the wall. Channels-last, as networks and images are
    wherever this project runs them: in the other layout kernels differ, and what an operation costs
    depends on the layout its neighbours leave behind.
    """
    if isinstance(module, nn.Identity):
        return 0.0
    module.eval().to(memory_format=torch.channels_last)
    x = x.normal_().contiguous(memory_format=torch.channels_last)
    alone = x.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    times = []
    with torch.inference_mode():
        for _ in range(15):
            if x.is_cuda:
                torch.cuda.synchronize()
            start = clock()
            module(x)
            if x.is_cuda:
                torch.cuda.synchronize()
            times.append(clock() - start)
    return 1e3 * min(times)


def fitted_table(
    name: str, space: SearchSpace, choices: Tensor, measured: Tensor, *, ridge: float = 0.3
) -> CostTable:
    """Fits an additive cost to whole networks that were measured, as on a device one has borrowed.

    Least squares with a price for each operation, wherever it stands, and a deviation from it for
    each edge, both shrunk towards 0. An absent edge costs nothing.

    Args:
        choices: (n, edges) int64, the networks' cells.
        measured: (n,) float64, what each costs.
        ridge: weight of the squared prices; of the squared deviations it is eleven times as much.

    Raises:
        InputError: if fewer than two networks were measured.
    """
    if len(choices) < 2:
        raise InputError(f"a cost is fitted to two networks or more, got {len(choices)}")
    edges, ops = space.num_edges, len(space.ops)
    one_hot = torch.nn.functional.one_hot(choices, ops).double()
    one_hot[:, :, space.none] = 0
    deviations = 0.3 * one_hot.flatten(1)
    features = torch.cat([one_hot.new_ones(len(choices), 1), one_hot.sum(dim=1), deviations], dim=1)
    penalty = ridge * torch.eye(features.shape[1], dtype=torch.float64)
    penalty[0, 0] = 0
    solution = torch.linalg.solve(features.T @ features + penalty, features.T @ measured.double())
    prices, deviation = solution[1 : 1 + ops], solution[1 + ops :].reshape(edges, ops)
    table = (prices + 0.3 * deviation).clamp(min=0)
    table[:, space.none] = 0
    return CostTable(name, float(solution[0].clamp(min=0)), table)


COSTS = ("params", "flops", "latency", "kl")
LAM_UNITS = ("range", "raw")
"""What λ is the price of: a space's whole range of costs, or one parameter, multiply–add or
microsecond."""


def cost_table(
    name: str, skeleton: Skeleton, *, device: torch.device | None = None, latency_batch: int = 1
) -> CostTable:
    """Counts or measures one cost of every operation of a skeleton.

    Args:
        name: `params`, `flops` or `latency`.
        device: where latency is measured; by default the CPU.
        latency_batch: images per batch for latency.
    """
    shape = (skeleton.in_channels, skeleton.height, skeleton.width)
    if name == "latency":
        image = torch.empty(latency_batch, *shape, device=device or torch.device("cpu"))
        return _table(skeleton, name, _milliseconds, image)
    measure = {"params": _params, "flops": _flops}[name]
    return _table(skeleton, name, measure, torch.empty(1, *shape, device="meta"))


def tables_from_state(tables: Mapping[str, Any]) -> dict[str, CostTable]:
    """Rebuilds cost tables from a checkpoint."""
    return {name: CostTable(name, t["base"], t["table"]) for name, t in tables.items()}
