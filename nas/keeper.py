"""Keeps a search within its bounds, after every step of the architecture."""

import torch
from torch import Tensor

from nas.bounds import adapted, level, project
from nas.problem import Problem

LAMS = 9
"""λs, evenly spaced, at which a projection looks."""


class Keeper:
    """Projects the hypernetwork's parameters, or adapts the multipliers of the bounds.

    Attributes:
        multipliers: μ, (num_bounds,) float32, nats per example; zeros for a projection.
    """

    def __init__(self, problem: Problem) -> None:
        assert problem.bounds is not None
        self.problem = problem
        self.bounds = problem.bounds
        self.unit_lams = problem.lam_range.unit(problem.lam_range.grid(LAMS)).float()
        tables = self.bounds.tables.sum(dim=0)
        dearest = torch.nn.functional.one_hot(tables.argmax(dim=1), tables.shape[1])
        self.start = float(self.bounds.expected(dearest.double()).max())
        self.set(torch.zeros(len(self.bounds.limits)))

    def set(self, multipliers: Tensor) -> None:
        """Sets the multipliers."""
        self.multipliers = multipliers.to(self.problem.processes.device)
        if self.problem.config.constraint == "multiplier":
            self.problem.objective.multipliers = (self.bounds, self.multipliers)

    def excess(self, unit_lams: Tensor) -> Tensor:
        """Expected costs as multiples of their bounds, less 1, (lams, num_bounds)."""
        weights = self.problem.objective.expected_weights(unit_lams)
        return self.bounds.expected(weights) - 1

    def keep(self, unit_lams: Tensor, finished: float) -> None:
        """Does what the constraint asks for after a step of the architecture.

        Args:
            unit_lams: (lams, num_costs), those of the step: a multiplier looks at their mean.
            finished: share of the search after the warm-up that is over, in [0, 1].
        """
        config = self.problem.config
        if config.constraint == "projection":
            allowed = level(self.start, finished, config.bound_levels)
            grid = self.unit_lams.to(unit_lams)
            parameters = list(self.problem.hypernet.parameters())
            project(lambda: (self.excess(grid) + 1) / allowed - 1, parameters)
        else:
            with torch.no_grad():
                self.set(adapted(self.multipliers, self.excess(unit_lams).mean(dim=0)))

    @torch.no_grad()
    def row(self) -> dict[str, list[float]]:
        """What is logged: costs as multiples of their bounds, the mean over λ, and multipliers."""
        device = self.problem.processes.device
        spent = (self.excess(self.unit_lams.to(device)) + 1).mean(dim=0)
        return {"bounded": spent.tolist(), "multipliers": self.multipliers.tolist()}
