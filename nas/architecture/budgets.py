"""Bounds on costs: what they are, how a distribution is kept within them, and a cell.

Two ways to keep the expected cost within a bound while a search runs: projection, which moves the
architecture's parameters back whenever they have left (Jin, Wang, Slocum et al.: RC-DARTS, 2019),
and a multiplier that grows as long as the cost exceeds its budget (as in budgeted super networks;
Veniat, Denoyer, 2018). At the end either gives the likeliest cell within the bounds.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cells.cost import CostTable, show_cost
from cells.errors import InputError, unknown
from cells.space import SearchSpace
from cells.strict_json import show
from nas.architecture.discretise import discretise

COUNT_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
TIME_UNITS = {"": 1.0, "us": 1e-3, "ms": 1.0, "s": 1e3}
"""Suffixes of a bound; times are in milliseconds."""


def parse_bound(text: str) -> tuple[str, float]:
    """Reads a bound such as `params=100k`, `flops=2.5M` or `latency=2ms`.

    Raises:
        InputError: if it is not a cost's name, `=` and a positive number with a known unit.
    """
    match = re.fullmatch(r"(\w+)=(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?) *([a-zA-Z]*)", text[:100])
    if match is not None:
        units = TIME_UNITS if match[1] == "latency" else COUNT_UNITS
        bound = float(match[2]) * units.get(match[3], 0.0)
        if 0 < bound < float("inf") and len(text) <= 100:
            return match[1], bound
    raise InputError(
        f"cannot read the budget {show(text)}: write for example params=100k or latency=2ms"
    )


class Budgets(NamedTuple):
    """Upper bounds on some costs.

    Where a discrete cell keeps only some of its edges, an expected cost counts every edge by the
    share of edges that its node keeps, so that it speaks of discrete cells.
    """

    space: SearchSpace
    names: tuple[str, ...]
    """Costs that are bounded."""
    limits: Tensor
    """(num_bounds,) float64, in the costs' own units."""
    bases: Tensor
    """(num_bounds,) float64, costs of the network without operations."""
    tables: Tensor
    """(num_bounds, edges, ops) float64, costs of the operations."""
    shares: Tensor
    """(edges,) float64 in (0, 1], share of the edges into the same node that a cell keeps."""

    @classmethod
    def read(
        cls, texts: Sequence[str], tables: Mapping[str, CostTable], space: SearchSpace
    ) -> "Budgets":
        """Reads bounds and sees whether a cell can be within them.

        Args:
            texts: at least one, see `parse_bound`.

        Raises:
            InputError: if a text cannot be read, there is no such cost, or no cell is within them.
        """
        pairs = [parse_bound(text) for text in texts]
        for name, _ in pairs:
            if name not in tables:
                raise unknown("bounded cost", name, tables)
        kept = space.inputs_per_node
        degrees = [target for _, target in space.cell_edges] * len(space.kinds)
        bounds = cls(
            space,
            tuple(name for name, _ in pairs),
            torch.tensor([limit for _, limit in pairs], dtype=torch.float64),
            torch.tensor([tables[name].base for name, _ in pairs], dtype=torch.float64),
            torch.stack([tables[name].table for name, _ in pairs]),
            torch.tensor([min(1.0, (kept or d) / d) for d in degrees], dtype=torch.float64),
        )
        flat = torch.zeros(1, space.num_edges, len(space.ops), dtype=torch.float64)
        least_costs = bounds.totals(bounds.likeliest(flat, "most_probable"))[0]
        for name, limit, least in zip(bounds.names, bounds.limits, least_costs, strict=True):
            if least > limit:
                raise InputError(
                    f"no cell is within {name} <= {show_cost(float(limit))}: the least "
                    f"expensive cell has {show_cost(float(least))}"
                )
        return bounds

    def totals(self, choices: Tensor) -> Tensor:
        """Returns the bounded costs (n, num_bounds) of networks (n, edges), in their own units."""
        one_hot = torch.nn.functional.one_hot(choices, self.tables.shape[2]).double()
        return self.bases + one_hot.flatten(1) @ self.tables.flatten(1).T

    def hold(self, choices: Tensor) -> Tensor:
        """Tells which discrete networks (n, edges) are within all bounds, (n,) bool."""
        return (self.totals(choices) <= self.limits).all(dim=1)

    def expected(self, probs: Tensor) -> Tensor:
        """Returns the costs of probs (…, edges, ops) as multiples of bounds, (…, num_bounds)."""
        tables = (self.tables * self.shares[:, None] / self.limits[:, None, None]).flatten(1)
        bases = self.bases / self.limits
        return bases.to(probs) + probs.flatten(-2) @ tables.T.to(probs)

    def likeliest(self, log_probs: Tensor, rule: str) -> Tensor:
        """Finds the likeliest cells within the bounds.

        The costs, as multiples of their bounds, are priced until the cell that the rule chooses is
        within them; the smallest such price is found by bisection.

        Args:
            log_probs: (n, edges, ops).
            rule: a name in `nas.architecture.discretise.RULES`.

        Returns:
            (n, edges) int64; the least expensive cells where none is within the bounds.
        """
        log_probs = log_probs.double()
        prices = (self.tables / self.limits[:, None, None]).sum(dim=0)  # (edges, ops)

        def choose(price: Tensor) -> Tensor:
            return discretise(self.space, log_probs - price[:, None, None] * prices, rule)

        free = choose(log_probs.new_zeros(len(log_probs)))
        low, high = (log_probs.new_full((len(log_probs),), exponent) for exponent in (-6.0, 12.0))
        best = choose(10**high)
        for _ in range(50):
            middle = (low + high) / 2
            cells = choose(10**middle)
            fit = self.hold(cells)
            best = torch.where(fit[:, None], cells, best)
            low, high = torch.where(fit, low, middle), torch.where(fit, middle, high)
        return torch.where(self.hold(free)[:, None], free, best)
