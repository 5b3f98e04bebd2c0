"""Cells of the prior in exact proportions: every edge trains each operation as often as it is due.

In the manner of strict fairness (Chu, Zhang, Xu: FairNAS, 2021), where every operation of an edge
is drawn once in each round; here as often as its probability says, and the weights move after
every cell.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cells.errors import InputError
from cells.space import SearchSpace
from nas.runtime import stream

ATTEMPTS = 10_000
"""Exchanges, at most, that make the cells of a round connected."""


def proportions(probs: Sequence[float], total: int) -> list[int]:
    """Whole numbers that add up to `total`, nearest to probabilities: the largest remainders.

    Args:
        probs: (n,), which add up to 1.
    """
    due = [round(p * total, 6) for p in probs]  # 0.35 · 20 must not be a little more than 7
    counts = [math.floor(each) for each in due]
    by_remainder = sorted(range(len(due)), key=lambda n: counts[n] - due[n])  # stable: first wins
    for n in by_remainder[: total - sum(counts)]:
        counts[n] += 1
    return counts


class FairCells:
    """An endless sequence of connected cells, a function of the seed, in rounds.

    In each round every edge has every operation as often as its probability says, in an order of
    its own. Where that cuts a cell's output off from its inputs, two cells of the round exchange
    the operations of an edge.
    """

    def __init__(self, space: SearchSpace, probs: Sequence[float], size: int, seed: int) -> None:
        """
        Args:
            probs: probability of each operation of the space, which add up to 1.
            size: cells of a round, at least 1.

        Raises:
            InputError: if some operation would never be drawn.
        """
        counts = proportions(probs, size)
        if 0 in counts:
            op = counts.index(0)
            raise InputError(
                f"{space.ops[op]} has no place among {size} fair cells at its probability of "
                f"{probs[op]:.4g}: make fair_cells at least {math.ceil(1 / min(probs))}"
            )
        self.space = space
        self.size = size
        self.seed = seed
        self._bag = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))

    def __getitem__(self, number: int) -> Tensor:
        """(edges,) int64, column numbers of a cell; the first is number 0.

        Raises:
            InputError: see `round`.
        """
        which, place = divmod(number, self.size)
        return self.round(which)[place]

    def round(self, which: int) -> Tensor:
        """(size, edges) int64, the cells of one round.

        Raises:
            InputError: if they cannot all be connected.
        """
        generator = stream(self.seed, "fair", which)
        space, size = self.space, self.size
        orders = [torch.randperm(size, generator=generator) for _ in range(space.num_edges)]
        cells = torch.stack([self._bag[order] for order in orders], dim=1)
        for _ in range(ATTEMPTS):
            cut = next((n for n, c in enumerate(cells.tolist()) if not space.connected(c)), None)
            if cut is None:
                return cells
            edge = int(torch.randint(space.num_edges, (), generator=generator))
            other = int(torch.randint(size, (), generator=generator))
            pair = torch.tensor([cut, other])
            cells[pair, edge] = cells[pair.flip(0), edge]
        raise InputError(
            f"{size} fair cells leave some without a path from input to output, however their "
            "operations are exchanged: lower the first of op_probs, that of none"
        )
