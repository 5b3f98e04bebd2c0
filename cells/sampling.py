"""Cells at random: uniform, with a share of convolutions, of about a given cost, evenly over cost;
their neighbours.

All draws come from a `random.Random`, which a run seeds from a stream of its own.
"""

import math
import random
from collections.abc import Sequence
from itertools import combinations, islice
from typing import NamedTuple

import torch
from torch import Tensor

from cells.cost import CostTable, show_cost
from cells.errors import InputError
from cells.space import SearchSpace

Choices = tuple[int, ...]
"""Operation of each edge, `num_edges` column numbers; `none` where there is no edge."""

TRIES = 5000
"""Draws for each cell of a given cost before there seem to be too few."""
STEEPEST = 1e3
"""Largest tilt towards low or high costs, nats per largest difference between operations."""
FLATTEST, TILTS = 1e-2, 30
"""Smallest tilt that differs from none, alike; tilts between the two, to either side."""


def random_cell(
    space: SearchSpace,
    draw: random.Random,
    *,
    convolutions: float | None = None,
    connected: bool = True,
) -> Choices:
    """Draws a cell of the space, each as likely as any other.

    Args:
        convolutions: probability in [0, 1] that an edge of the cell carries a convolution, each
            kind of them alike, and not one of the other operations; None makes all operations
            alike.
        connected: draw again as long as the output does not depend on the inputs.
    """
    ops = _candidates(space)
    heavy = [op for op in ops if "conv" in space.ops[op]]
    light = [op for op in ops if op not in heavy]
    while True:
        cell = [space.none] * space.num_edges
        for rows in space.incoming:
            for row in draw.sample(rows, space.inputs_per_node) if space.inputs_per_node else rows:
                among = ops
                if convolutions is not None:
                    among = heavy if draw.random() < convolutions else light
                cell[row] = among[draw.randrange(len(among))]
        if not connected or space.connected(cell):
            return tuple(cell)


def mutate(
    space: SearchSpace, cell: Choices, draw: random.Random, *, connected: bool = True
) -> Choices:
    """Draws a neighbour: a cell that differs in one edge.

    The edge gets another operation or, where a node keeps some of its edges only and with
    probability one half, reads another state that its node does not read yet: the two mutations of
    Real, Aggarwal, Huang, Le (2019).

    Args:
        connected: draw again as long as the output does not depend on the inputs.
    """
    while True:
        mutant = _mutant(space, list(cell), draw)
        if not connected or space.connected(mutant):
            return tuple(mutant)


def random_cells_at(
    space: SearchSpace,
    table: CostTable,
    cost: float,
    count: int,
    draw: random.Random,
    *,
    within: float = 0.05,
) -> list[Choices]:
    """Draws connected cells of about a given cost, equally likely where costs are equal.

    Cells are drawn with probabilities ∝ exp(−β · cost), where β makes `cost` their mean, until
    enough of them lie in the window: a probability that depends on nothing but the cost.

    Args:
        table: of a cost that an absent edge has none of.
        cost: of the whole network, in the table's unit, > 0.
        count: how many; they need not be different.
        within: how far the cost may be off, as a share of it.

    Raises:
        InputError: if `TRIES` draws for each are not enough.
    """
    cells: list[Choices] = []
    nearest = math.inf
    tilt = _tilt_to(space, table, cost)
    for _ in range(TRIES * count):
        cell = _tilted_cell(space, tilt, draw)
        found = table.total(cell)
        if space.connected(cell) and abs(found - cost) < abs(nearest - cost):
            nearest = found
        if space.connected(cell) and abs(found - cost) <= within * cost:
            cells.append(cell)
            if len(cells) == count:
                return cells
    raise InputError(
        f"{len(cells)} of {TRIES * count} cells are within {100 * within:g}% of {table.name} "
        f"{show_cost(cost)}, {count} are wanted, and the nearest has {show_cost(nearest)}: "
        "ask for another cost or a wider window"
    )


def random_cells_over(
    space: SearchSpace,
    table: CostTable,
    costs: Sequence[float],
    draw: random.Random,
    *,
    kept: Tensor | None = None,
) -> list[Choices]:
    """Draws connected cells around given costs, equally likely where costs are equal.

    The cell for a cost is drawn as those of `random_cells_at`, but not held to a window: that cost
    is the mean of its distribution, as nearly as `TILTS` distributions tell.

    Args:
        table: of a cost that an absent edge has none of.
        costs: one for each cell, of the whole network, in the table's unit.
        kept: (edges, n) int64, the operations that an edge may have; None for all.

    Returns:
        The cells, in the order of the costs; they need not be different. One is left out if
        `TRIES` draws were not connected.
    """
    span = float(table.table.max() - table.table.min()) or 1.0
    ratio = (STEEPEST / FLATTEST) ** (1 / (TILTS - 1))
    steep = [FLATTEST * ratio**i / span for i in range(TILTS)]
    betas = [*(-beta for beta in reversed(steep)), 0.0, *steep]
    means = [table.base + _tilt(space, table.table, beta, kept).mean for beta in betas]
    cells: list[Choices] = []
    for cost in costs:
        # The means fall; the first that is no larger than the cost, and the one before it.
        after = next((i for i, mean in enumerate(means) if mean <= cost), len(means) - 1)
        before = max(after - 1, 0)
        gap = means[before] - means[after]
        share = min(1.0, (means[before] - cost) / gap) if gap > 0 else 1.0
        beta = betas[before] + share * (betas[after] - betas[before])
        tilt = _tilt(space, table.table, beta, kept)
        tries = (_tilted_cell(space, tilt, draw) for _ in range(TRIES))
        cells += islice(filter(space.connected, tries), 1)
    return cells


def _candidates(space: SearchSpace) -> list[int]:
    """Columns that may stand on an edge of a discrete cell."""
    every = space.inputs_per_node is None
    return [op for op in range(len(space.ops)) if every or op != space.none]


def _mutant(space: SearchSpace, cell: list[int], draw: random.Random) -> list[int]:
    ops = _candidates(space)
    edges = [row for row, op in enumerate(cell) if op in ops]
    row = edges[draw.randrange(len(edges))]
    free = [
        other for rows in space.incoming if row in rows for other in rows if cell[other] not in ops
    ]
    if free and draw.randrange(2):
        other = free[draw.randrange(len(free))]
        cell[row], cell[other] = cell[other], cell[row]
    else:
        shift = 1 + draw.randrange(len(ops) - 1)
        cell[row] = ops[(ops.index(cell[row]) + shift) % len(ops)]
    return cell


class _Tilt(NamedTuple):
    """A distribution of cells, ∝ exp(−β · cost)."""

    sets: list[list[Choices]]
    """For each node, the sets of edges it may keep."""
    set_probs: list[list[float]]
    """Their probabilities."""
    op_probs: list[list[float]]
    """Probabilities of the operations on each edge that is kept, (edges, ops)."""
    mean: float
    """Expected sum of what operations cost."""


def _tilt(space: SearchSpace, table: Tensor, beta: float, kept: Tensor | None = None) -> _Tilt:
    """The distribution with a given β, for operations' costs (edges, ops) in float64."""
    logits = torch.full_like(table, -torch.inf)
    ops = _candidates(space)
    logits[:, ops] = -beta * table[:, ops]
    if kept is not None:
        removed = torch.ones_like(table, dtype=torch.bool).scatter(1, kept, False)
        logits[removed] = -torch.inf
    probs = logits.softmax(dim=1)
    worth, expected = logits.logsumexp(dim=1), (probs * table).sum(dim=1)
    sets = [list(combinations(r, space.inputs_per_node or len(r))) for r in space.incoming]
    set_probs, mean = [], 0.0
    for rows in map(torch.tensor, sets):  # (sets, edges kept)
        weights = worth[rows].sum(dim=1).softmax(dim=0)
        mean += float(weights @ expected[rows].sum(dim=1))
        set_probs.append(weights.tolist())
    return _Tilt(sets, set_probs, probs.tolist(), mean)


def _tilt_to(space: SearchSpace, table: CostTable, cost: float) -> _Tilt:
    """The distribution of which `cost` is the mean, by bisection: the mean falls as β rises."""
    span = float(table.table.max() - table.table.min())
    low, high = (sign * STEEPEST / span for sign in (-1, 1))
    while high - low > 1e-9 * STEEPEST / span:
        middle = (low + high) / 2
        if table.base + _tilt(space, table.table, middle).mean > cost:
            low = middle
        else:
            high = middle
    return _tilt(space, table.table, high)


def _tilted_cell(space: SearchSpace, tilt: _Tilt, draw: random.Random) -> Choices:
    cell = [space.none] * space.num_edges
    for sets, weights in zip(tilt.sets, tilt.set_probs, strict=True):
        for row in draw.choices(sets, weights)[0]:
            cell[row] = draw.choices(range(len(space.ops)), tilt.op_probs[row])[0]
    return tuple(cell)
