"""Hypernetworks: λ -> logits of the architecture distribution.

Every form maps a batch of unit positions u ∈ [0, 1] of log λ, (n, costs), to logits
(n, edges, ops) in one vectorised call; `q(γ|λ) = Π_e Cat(softmax(h(u)_e))`. Equations 6 and 7
are those of Grebenkova, Bakhteev, Strijov: Variational deep learning model optimization with
complexity control, with u in the place of λ and logits in the place of weights.

A new form is a subclass of `Hypernet` and a line in `HYPERNETS`.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from cells.errors import InputError, unknown

_LOGIT_STD = 1e-3  # DARTS starts its logits at 1e-3 · N(0, 1).


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a hypernetwork is built from; each form reads the fields it needs.

    Raises:
        InputError: if `knots`, `hidden` or `rank` is too small.
    """

    num_edges: int
    """Rows of the logits."""
    num_ops: int
    """Columns of the logits."""
    num_costs: int
    """Number of λs, one per cost."""
    knots: int
    """Knots of a piecewise linear function of u, >= 2: evenly spaced, both ends included."""
    hidden: int
    """Width of a hidden layer, >= 1."""
    rank: int
    """Rank of the product of equation 6, >= 1."""
    costs: Tensor | None
    """Cost tables (costs, edges, ops), for the Gibbs form."""
    betas: Tensor | None
    """Initial β of the Gibbs form at the low and the high end of λ, (costs, 2), positive."""

    def __post_init__(self) -> None:
        for name, least in (("knots", 2), ("hidden", 1), ("rank", 1)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"a hypernetwork's {name} must be at least {least}, got {value}")


def rises(unit_lams: Tensor, num_knots: int) -> Tensor:
    """Returns the share of each interval between evenly spaced knots that lies below u.

    A piecewise linear function with values v_0 … v_{K-1} at the knots is
    `v_0 + Σ_i rises_i(u) (v_{i+1} − v_i)`.

    Args:
        unit_lams: (n, costs) in [0, 1].
        num_knots: K >= 2; knot j lies at j / (K − 1).

    Returns:
        (n, costs, K − 1) in [0, 1]: 1 for intervals below u, 0 for those above. At a knot
        (rounded to the dtype of `unit_lams`) every entry is exactly 0 or 1, and a derivative with
        respect to u the mean of those on either side.
    """
    knots = torch.arange(num_knots, dtype=unit_lams.dtype, device=unit_lams.device)
    knots = knots / (num_knots - 1)
    shares = (unit_lams[..., None] - knots[:-1]) / knots.diff()
    # Not `clamp`, whose derivative is 0 at a knot: λ̂ could never leave it (nas.best_response).
    return shares.maximum(torch.zeros_like(shares)).minimum(torch.ones_like(shares))


def _normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(std * torch.randn(shape, generator=generator, device=generator.device))


def _hidden_layer(
    sizes: Sizes, gain: float, generator: torch.Generator
) -> tuple[nn.Parameter, nn.Parameter]:
    """Weight (costs, hidden) and bias (hidden,) of a layer on u.

    Each unit's zero passes through a random point of [0, 1]^costs, so that no unit is dead (or
    linear) over the whole range.
    """
    shape = (sizes.num_costs, sizes.hidden)
    weight = _normal(shape, gain, generator)
    zeros = torch.rand(shape, generator=generator, device=generator.device)
    return weight, nn.Parameter(-(weight.detach() * zeros).sum(dim=0))


class Hypernet(nn.Module, ABC):
    """Maps λ to the logits of the architecture distribution.

    Args:
        sizes: of the logits and of the form.
        generator: the only source of randomness; the parameters lie on its device.
    """

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__()
        self.num_costs = sizes.num_costs

    def forward(self, unit_lams: Tensor) -> Tensor:
        """Computes the logits for a batch of λs.

        Args:
            unit_lams: unit positions, (n, costs) in [0, 1], of any float dtype.

        Returns:
            Logits (n, edges, ops), in the dtype of the parameters.
        """
        assert unit_lams.ndim == 2 and unit_lams.shape[1] == self.num_costs
        return self.logits(unit_lams.to(next(self.parameters())))

    @abstractmethod
    def logits(self, unit_lams: Tensor) -> Tensor:
        """Does `forward`, with `unit_lams` in the dtype and on the device of the parameters."""

    @torch.no_grad()
    def add_line(self, low: Tensor, high: Tensor) -> None:
        """Adds a function of u that is linear from `low` at 0 to `high` at 1, in place.

        A form that has no linear part adds the mean of both to its table. For a single cost.

        Args:
            low: (edges, ops).
            high: (edges, ops).
        """
        self.get_parameter("table").add_((low + high) / 2)


@final
class Constant(Hypernet):
    """h(u) = B: one distribution for every λ, as in DARTS (Liu, Simonyan, Yang, 2019)."""

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__(sizes, generator)
        self.table = _normal((sizes.num_edges, sizes.num_ops), _LOGIT_STD, generator)

    def logits(self, unit_lams: Tensor) -> Tensor:
        return self.table.expand(len(unit_lams), -1, -1)


@final
class Linear(Hypernet):
    """Equation 7: h(u) = Σ_k u_k b2_k + b3."""

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__(sizes, generator)
        table = (sizes.num_edges, sizes.num_ops)
        self.slopes = _normal((sizes.num_costs, *table), _LOGIT_STD, generator)  # b2
        self.table = _normal(table, _LOGIT_STD, generator)  # b3

    def logits(self, unit_lams: Tensor) -> Tensor:
        return torch.einsum("nk,keo->neo", unit_lams, self.slopes) + self.table

    @torch.no_grad()
    def add_line(self, low: Tensor, high: Tensor) -> None:
        self.table.add_(low)
        self.slopes[0].add_(high - low)


@final
class LowRank(Hypernet):
    """Equation 6: h(u) = (f(u) U1)ᵀ (f(u) U2) + B1, f(u) = ReLU(u W + b) of `hidden` units.

    f(u) is a vector, so U1 : hidden -> (rank, edges) and U2 : hidden -> (rank, ops) each give a
    matrix of `rank` rows; their product, (edges, ops), has at most that rank.
    """

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__(sizes, generator)
        hidden, rank = sizes.hidden, sizes.rank
        edges, ops = sizes.num_edges, sizes.num_ops
        self.weight, self.bias = _hidden_layer(sizes, 1.0, generator)
        # Both factors about 0.1: their product is near 0, so that every λ starts near the
        # uniform distribution, yet neither is 0, so that each passes gradients to the other.
        std = 0.3 / math.sqrt(hidden)
        self.edge_factors = _normal((hidden, rank, edges), std, generator)  # U1
        self.op_factors = _normal((hidden, rank, ops), std, generator)  # U2
        self.table = _normal((edges, ops), _LOGIT_STD, generator)  # B1

    def logits(self, unit_lams: Tensor) -> Tensor:
        features = torch.relu(unit_lams @ self.weight + self.bias)  # (n, hidden)
        by_edge = torch.einsum("nh,hre->nre", features, self.edge_factors)
        by_op = torch.einsum("nh,hro->nro", features, self.op_factors)
        return by_edge.mT @ by_op + self.table


@final
class PiecewiseLinear(Hypernet):
    """h(u) = Σ_k p_k(u_k), each p_k linear between free logits at evenly spaced knots."""

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__(sizes, generator)
        shape = (sizes.num_costs, sizes.knots, sizes.num_edges, sizes.num_ops)
        self.values = _normal(shape, _LOGIT_STD, generator)

    def logits(self, unit_lams: Tensor) -> Tensor:
        below = rises(unit_lams, self.values.shape[1])
        # Weight of each knot, (n, costs, knots): one-hot at a knot.
        weights = pad(below, (1, 0), value=1.0) - pad(below, (0, 1))
        return torch.einsum("nki,kieo->neo", weights, self.values)

    @torch.no_grad()
    def add_line(self, low: Tensor, high: Tensor) -> None:
        for knot, value in enumerate(self.values[0]):
            value.add_(torch.lerp(low, high, knot / (self.values.shape[1] - 1)))


@final
class Mlp(Hypernet):
    """h(u) = tanh(u W + b) V + B, with `hidden` units."""

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__(sizes, generator)
        hidden = sizes.hidden
        table = (sizes.num_edges, sizes.num_ops)
        # Gain 3 lets a unit's bend fit inside [0, 1].
        self.weight, self.bias = _hidden_layer(sizes, 3.0, generator)
        self.readout = _normal((hidden, *table), 1e-2 / math.sqrt(hidden), generator)
        self.table = _normal(table, _LOGIT_STD, generator)

    def logits(self, unit_lams: Tensor) -> Tensor:
        features = torch.tanh(unit_lams @ self.weight + self.bias)  # (n, hidden)
        return torch.einsum("nh,heo->neo", features, self.readout) + self.table


@final
class Gibbs(Hypernet):
    """h(u) = a − Σ_k β_k(u_k) ĉ_k: a larger λ never asks for a more expensive architecture.

    `a` (edges, ops) is learned. ĉ_k is the table of cost k, less the least expensive operation of
    each edge (which no softmax sees), over the largest range within an edge: ĉ_k ∈ [0, 1]. β_k is
    learned, positive and increasing, its logarithm piecewise linear in u: `first_k` at u = 0, plus
    softplus of an increment for every interval between knots that is passed. (β = λ / κ, the exact
    solution for costs that add and a price κ of the distribution's KL, is of this form.)

    Why the form: for fixed a, the maximiser of E_π[a] − β E_π[c] + H(π) over distributions π is
    π ∝ exp(a − β c), the Gibbs distribution.

    Expected cost. On one edge, π_o = exp(a_o − β c_o) / Z gives d log π_o / dβ = E[c] − c_o, so

        dE[c]/dβ = Σ_o c_o π_o (E[c] − c_o) = E[c]² − E[c²] = −Var(c) ≤ 0.

    Edges are independent and costs add over them, so the cell's derivative is the sum of the
    edges'. β rises with λ, hence the expected cost never does. With several costs, put
    a − Σ_{j≠k} β_j c_j for a: raising λ_k alone never raises the expected cost k.

    Most probable architecture. Let Γ be any set of allowed architectures (any constraints), and
    a(γ), c(γ) sums over edges. log q(γ) = a(γ) − β c(γ) − const. If γ is best in Γ at β and γ' at
    β' > β, then a(γ) − β c(γ) ≥ a(γ') − β c(γ') and a(γ') − β' c(γ') ≥ a(γ) − β' c(γ). Adding,
    (β' − β) (c(γ) − c(γ')) ≥ 0: γ' is not more expensive. Other rules of discretisation do not
    promise that (`nas/architecture/discretise.py`), nor do probabilities other than the softmax of
    h, as those of Dirichlet and sigmoid relaxations, where a node keeps some of its edges.

    Both hold for fixed `a`, first and increments, that is at every moment of a search.
    """

    costs: Tensor
    """ĉ (costs, edges, ops), a buffer."""

    def __init__(self, sizes: Sizes, generator: torch.Generator) -> None:
        super().__init__(sizes, generator)
        assert sizes.costs is not None, "the Gibbs form needs cost tables"
        self.scores = _normal((sizes.num_edges, sizes.num_ops), _LOGIT_STD, generator)  # a
        betas = torch.tensor([0.05, 3.0]) if sizes.betas is None else sizes.betas
        logs = betas.double().log().expand(sizes.num_costs, 2).to(self.scores)
        self.first = nn.Parameter(logs[:, :1].clone())
        # At least a little, as softplus is never zero; a single λ has no slope to learn.
        steps = (logs[:, 1:] - logs[:, :1]).clamp_min(1e-3) / (sizes.knots - 1)
        raw = steps.expm1().log()  # inverse of softplus
        self.increments = nn.Parameter(raw.expand(-1, sizes.knots - 1).clone())
        self.register_buffer("costs", self.scores.new_zeros(sizes.num_costs, *self.scores.shape))
        self.set_costs(sizes.costs)

    @torch.no_grad()
    def set_costs(self, costs: Tensor) -> None:
        """Replaces the cost tables, which move while weights train when the cost is `kl`.

        Args:
            costs: (costs, edges, ops), in any unit; no gradient flows into them.
        """
        assert costs.shape == self.costs.shape
        costs = costs - costs.amin(dim=2, keepdim=True)
        widest = costs.amax(dim=(1, 2), keepdim=True)
        # A new tensor, since the graph of an earlier call may still hold the one before.
        self.costs = (costs / torch.where(widest > 0, widest, 1)).to(self.scores)

    def beta(self, unit_lams: Tensor) -> Tensor:
        """Returns β_k(u_k), (n, costs), > 0, for unit positions (n, costs)."""
        below = rises(unit_lams, self.increments.shape[1] + 1)
        risen = torch.einsum("nki,ki->nk", below, softplus(self.increments))
        return (self.first[:, 0] + risen).exp()

    def logits(self, unit_lams: Tensor) -> Tensor:
        return self.scores - torch.einsum("nk,keo->neo", self.beta(unit_lams), self.costs)


HYPERNETS: dict[str, type[Hypernet]] = {
    "constant": Constant,
    "linear": Linear,
    "lowrank": LowRank,
    "piecewise": PiecewiseLinear,
    "mlp": Mlp,
    "gibbs": Gibbs,
}


def build_hypernet(
    name: str,
    num_edges: int,
    num_ops: int,
    num_costs: int,
    *,
    knots: int = 5,
    hidden: int = 32,
    rank: int = 2,
    costs: Tensor | None = None,
    betas: Tensor | None = None,
    generator: torch.Generator,
) -> Hypernet:
    """Builds a hypernetwork by name; see `Sizes` for the arguments.

    Raises:
        InputError: if there is no such form or a size is too small.
    """
    if name not in HYPERNETS:
        raise unknown("hypernetwork", name, HYPERNETS)
    sizes = Sizes(
        num_edges=num_edges,
        num_ops=num_ops,
        num_costs=num_costs,
        knots=knots,
        hidden=hidden,
        rank=rank,
        costs=costs,
        betas=betas,
    )
    return HYPERNETS[name](sizes, generator)
