"""Keeps a search within its bounds, after every step of the architecture."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from nas.architecture.budgets import Budgets
from nas.hypernets.lambda_range import LambdaRange
from nas.objective.elbo import NegativeElbo

CONSTRAINTS = ("none", "projection", "multiplier")
LAMS = 9
"""λs, evenly spaced, at which a projection looks."""
MARGIN = 1e-3
"""Share of a bound by which a projection stays below it."""
PROJECTIONS = 200
"""Steps of one projection, at most."""
LONGEST = 1.0
"""Largest Euclidean length of such a step."""
SETTLED = 0.02
"""A step that ends a projection is so short, as a share of the way that the projection has come."""
ADAPTATION = 0.1
"""By how much a step moves a multiplier, nats per squared unit of cost."""


class CostConstraint:
    """Projects the hypernetwork's parameters, or adapts the multipliers of the bounds.

    Attributes:
        multipliers: μ, (num_bounds,) float32, nats per example; zeros for a projection.
        start: the largest cost there is, as a multiple of its bound.
    """

    def __init__(
        self,
        kind: str,
        bounds: Budgets,
        objective: NegativeElbo,
        lam_range: LambdaRange,
        levels: int,
        device: torch.device,
    ) -> None:
        """
        Args:
            kind: `projection` or `multiplier`.
            bounds: on expected costs.
            objective: whose hypernetwork is projected, or which the multipliers enter.
            lam_range: of the search.
            levels: in which a projection tightens the bounds.
            device: of the multipliers.
        """
        self.kind, self.bounds, self.objective = kind, bounds, objective
        self.levels, self.device = levels, device
        self.unit_lams = lam_range.unit(lam_range.grid(LAMS)).float()
        tables = self.bounds.tables.sum(dim=0)
        most_expensive = torch.nn.functional.one_hot(tables.argmax(dim=1), tables.shape[1])
        self.start = float(self.bounds.expected(most_expensive.double()).max())
        self.set(torch.zeros(len(self.bounds.limits)))

    def set(self, multipliers: Tensor) -> None:
        """Sets the multipliers."""
        self.multipliers = multipliers.to(self.device)
        if self.kind == "multiplier":
            self.objective.multipliers = (self.bounds, self.multipliers)

    def excess(self, unit_lams: Tensor) -> Tensor:
        """Returns expected costs as multiples of their bounds, less 1, (lams, num_bounds)."""
        return self.bounds.expected(self.objective.expected_weights(unit_lams)) - 1

    def enforce(self, unit_lams: Tensor, finished: float) -> None:
        """Projects, or adapts the multipliers, after a step of the architecture.

        Args:
            unit_lams: (lams, num_costs), those of the step: a multiplier looks at their mean.
            finished: share of the search after the warm-up that is over, in [0, 1].
        """
        if self.kind == "projection":
            allowed = level(self.start, finished, self.levels)
            grid = self.unit_lams.to(unit_lams)
            parameters = list(self.objective.hypernet.parameters())
            project(lambda: (self.excess(grid) + 1) / allowed - 1, parameters)
        else:
            with torch.no_grad():
                self.set(adapted(self.multipliers, self.excess(unit_lams).mean(dim=0)))

    @torch.no_grad()
    def row(self) -> dict[str, list[float]]:
        """Returns what is logged: costs as multiples of bounds, the mean over λ; multipliers."""
        spent = (self.excess(self.unit_lams.to(self.device)) + 1).mean(dim=0)
        return {"bounded": spent.tolist(), "multipliers": self.multipliers.tolist()}


def level(start: float, finished: float, levels: int) -> float:
    """Returns the multiple of a bound that holds at a moment: RC-DARTS' multi-level search.

    Args:
        start: multiple to begin with; where it is below 1, the bound itself.
        finished: share of the search after its warm-up that is over, in [0, 1].
        levels: number of equal parts, >= 1; each lowers the multiple by the same factor.
    """
    number = min(int(finished * levels) + 1, levels)
    return float(max(1.0, start) ** (1 - number / levels))


def project(excess: Callable[[], Tensor], parameters: Sequence[torch.nn.Parameter]) -> int:
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

    Returns:
        Number of steps taken, at most `PROJECTIONS`.
    """
    start = point = parameters_to_vector(parameters).detach()
    pull, last, holding = 1.0, torch.zeros_like(point), set[int]()
    for step in range(PROJECTIONS):
        values = excess().flatten() + MARGIN
        worst = int(values.argmax())
        inside = float(values[worst].detach()) <= MARGIN
        if 2 * step >= PROJECTIONS:
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
    return PROJECTIONS


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


def adapted(multipliers: Tensor, excess: Tensor) -> Tensor:
    """Returns the multipliers after a step: larger where a bound is exceeded, never below 0."""
    return (multipliers + ADAPTATION * excess).clamp(min=0)
