"""Bounds on costs: what they are, how a distribution is kept within them, and a cell.

Two ways to keep the expected cost within a bound while a search runs: projection, which moves the
architecture's parameters back whenever they have left (Jin, Wang, Slocum et al.: RC-DARTS, 2019),
and a multiplier that grows as long as the cost exceeds its budget (as in budgeted super networks;
Veniat, Denoyer, 2018). At the end either gives the likeliest cell within the bounds.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from cells.cost import CostTable
from cells.errors import InputError, unknown
from cells.space import SearchSpace
from nas.discretise import discretise

CONSTRAINTS = ("none", "projection", "multiplier")
COUNT_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
TIME_UNITS = {"": 1.0, "us": 1e-3, "ms": 1.0, "s": 1e3}
"""Suffixes of a bound; times are in milliseconds."""
MARGIN = 1e-3
"""Share of a bound by which a projection stays below it."""
PROJECTIONS = 200
"""Steps of one projection, at most."""
LONGEST = 1.0
"""Largest Euclidean length of such a step."""
SETTLED = 0.02
"""A step that ends a projection is so short, as a share of the way that the projection has come."""
STIFFNESS = 10.0
"""ρ of the augmented Lagrangian, nats per squared unit of cost."""
ADAPTATION = 0.1
"""By how much a step moves a multiplier, nats per squared unit of cost."""


def parse_bound(text: str) -> tuple[str, float]:
    """Reads a bound such as `params=100k`, `flops=2.5M` or `latency=2ms`.

    Raises:
        InputError: if it is not a cost's name, `=` and a positive number with a known unit.
    """
    match = re.fullmatch(r"(\w+)=(\d+\.?\d*(?:[eE][+-]?\d+)?)\s*([a-zA-Z]*)", text)
    if match is not None:
        units = TIME_UNITS if match[1] == "latency" else COUNT_UNITS
        bound = float(match[2]) * units.get(match[3], 0.0)
        if bound > 0:
            return match[1], bound
    raise InputError(
        f"cannot read the budget {text!r}: write for example params=100k or latency=2ms"
    )


class Bounds(NamedTuple):
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
    ) -> "Bounds":
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
        cheapest = bounds.totals(bounds.likeliest(flat, "most_probable"))[0]
        for name, limit, least in zip(bounds.names, bounds.limits, cheapest, strict=True):
            if least > limit:
                raise InputError(
                    f"no cell is within {name} <= {float(limit):,.6g}: the cheapest has "
                    f"{float(least):,.6g}"
                )
        return bounds

    def totals(self, choices: Tensor) -> Tensor:
        """Bounded costs (n, num_bounds) of discrete networks (n, edges), in their own units."""
        one_hot = torch.nn.functional.one_hot(choices, self.tables.shape[2]).double()
        return self.bases + one_hot.flatten(1) @ self.tables.flatten(1).T

    def hold(self, choices: Tensor) -> Tensor:
        """Whether discrete networks (n, edges) are within all bounds, (n,) bool."""
        return (self.totals(choices) <= self.limits).all(dim=1)

    def expected(self, probs: Tensor) -> Tensor:
        """Expected costs as multiples of their bounds, (…, num_bounds), for (…, edges, ops)."""
        tables = (self.tables * self.shares[:, None] / self.limits[:, None, None]).flatten(1)
        bases = self.bases / self.limits
        return bases.to(probs) + probs.flatten(-2) @ tables.T.to(probs)

    def likeliest(self, log_probs: Tensor, rule: str) -> Tensor:
        """The likeliest cells within the bounds.

        The costs, as multiples of their bounds, are priced until the cell that the rule chooses is
        within them; the smallest such price is found by bisection.

        Args:
            log_probs: (n, edges, ops).
            rule: a name in `nas.discretise.RULES`.

        Returns:
            (n, edges) int64; the cheapest cells where none is within the bounds.
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


def level(start: float, finished: float, levels: int) -> float:
    """Multiple of a bound that holds at a moment of the search: RC-DARTS' multi-level search.

    Args:
        start: multiple to begin with; where it is below 1, the bound itself.
        finished: share of the search after its warm-up that is over, in [0, 1].
        levels: number of equal parts, >= 1; each lowers the multiple by the same factor.
    """
    number = min(int(finished * levels) + 1, levels)
    return float(max(1.0, start) ** (1 - number / levels))


def project(
    excess: Callable[[], Tensor], parameters: Sequence[torch.nn.Parameter], steps: int = PROJECTIONS
) -> int:
    """Moves parameters, in place, to a nearest point at which no bound is exceeded.

    Sequential quadratic programming. From x_0, the parameters as they are, a step leads from x to

        argmin_y ‖y − (x + p (x_0 − x))‖²  subject to  c_i(x) + ∇c_i(x)·(y − x) <= 0

    where c are the excesses plus `MARGIN`, and i the most exceeded bound and those that held the
    step before. It settles where x_0 − x is a sum of these gradients with weights >= 0: at a
    nearest point, of which there may be several, as costs are not convex. p is 1, and halved
    when a step turns back. In the second half of all steps it is 0: those are Newton's and lead
    straight to the bounds.

    Args:
        excess: expected costs as multiples of what is allowed, less 1, of any shape, at the
            parameters as they are.
        steps: at most.

    Returns:
        Number of steps taken.
    """
    start = point = parameters_to_vector(parameters).detach()
    pull, last, holding = 1.0, torch.zeros_like(point), set[int]()
    for step in range(steps):
        values = excess().flatten() + MARGIN
        worst = int(values.argmax())
        inside = float(values[worst].detach()) <= MARGIN
        if 2 * step >= steps:
            pull = 0.0
        if inside and (step == 0 or pull == 0):
            return step
        rows = sorted({*holding, worst})
        gradients = torch.stack([_gradient(values[row], parameters) for row in rows])
        back = pull * (start - point)
        needed = values[rows].detach() + gradients @ back
        if not needed.isfinite().all():
            return step  # the search's next step tells it
        shift, weights = shortest(gradients, needed)
        holding = {row for row, weight in zip(rows, weights, strict=True) if weight > 0}
        move = back - shift
        length = float(move.norm())
        if inside and length <= SETTLED * float(back.norm()):
            return step
        if float(move @ last) < 0 and length > float(last.norm()) / 2:
            pull /= 2
        last = move * min(1.0, LONGEST / (length + 1e-12))
        point = point + last
        with torch.no_grad():
            parts = point.split([parameter.numel() for parameter in parameters])
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.copy_(part.view_as(parameter))
    return steps


def shortest(gradients: Tensor, needed: Tensor) -> tuple[Tensor, list[float]]:
    """Returns the shortest vector z (n,) with gradients (m, n) · z >= needed (m,).

    Least distance programming (Lawson, Hanson: Solving least squares problems, 1974, ch. 23): of
    the least squares problem gradientsᵀ u ≈ 0, needed · u ≈ 1 over u >= 0, z is the first residual
    over the second.

    Returns:
        z = Σ_i w_i gradients_i, very long where no vector will do, and w (m,) up to a factor,
        0 for those that z meets anyway.
    """
    rows, least = gradients.double().cpu().numpy(), needed.double().cpu().numpy()
    weights, _ = nnls(np.vstack([rows.T, least]), np.append(np.zeros(rows.shape[1]), 1.0))
    vector = weights @ rows / max(1 - weights @ least, 1e-12)
    return torch.from_numpy(vector).to(gradients), weights.tolist()


def _gradient(value: Tensor, parameters: Sequence[torch.nn.Parameter]) -> Tensor:
    """Returns the gradient of a scalar as one vector; its graph is kept for others."""
    grads = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
    return torch.cat([grad.flatten() for grad in grads])


def priced(excess: Tensor, multipliers: Tensor) -> Tensor:
    """The augmented Lagrangian's term, a scalar, nats per example.

    Σ_k (max(0, μ_k + ρ e_k)² − μ_k²) / 2ρ for bounds e_k <= 0 (Rockafellar 1973).

    Args:
        excess: e, (num_bounds,), expected costs as multiples of their bounds, less 1.
        multipliers: μ, (num_bounds,), >= 0.
    """
    lifted = (multipliers + STIFFNESS * excess).clamp(min=0)
    return ((lifted.square() - multipliers.square()) / (2 * STIFFNESS)).sum()


def adapted(multipliers: Tensor, excess: Tensor) -> Tensor:
    """Multipliers after a step: larger where the bound is exceeded, never below 0."""
    return (multipliers + ADAPTATION * excess).clamp(min=0)
