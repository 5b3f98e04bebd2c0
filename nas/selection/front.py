"""A finished search as a function of λ or of a budget: cells at once, without training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cells.cost import CostTable, show_cost
from cells.errors import InputError, unknown
from cells.genotype import Genotype
from cells.space import SearchSpace
from nas.architecture.budgets import Budgets
from nas.architecture.discretise import discretise
from nas.architecture.distribution import ArchitectureDistribution, edge_shares
from nas.hypernets.forms import Hypernet
from nas.hypernets.lambda_range import LambdaRange
from nas.selection.finalists import Finalists, budgets_at, networks, pick

BUDGET_GRID = 2001
"""λs among which a cell within a budget is sought."""


@dataclass(kw_only=True)
class Front:
    """The cells of one search.

        front = nas.load_front("runs/x")
        genotype = front.at(0.3)
        genotype = front.within(params=100_000)

    A λ or a budget is answered at once, without training.
    """

    space: SearchSpace
    """Where the cells are from."""
    lam_range: LambdaRange
    """λs that were searched, an axis for each of `costs`."""
    costs: tuple[str, ...]
    """Names of the costs that have a λ."""
    hypernet: Hypernet
    """λ -> architecture logits."""
    distribution: ArchitectureDistribution
    """What these mean, on the CPU."""
    tables: Mapping[str, CostTable]
    """All costs, by name."""
    rule: str = "most_probable"
    """Name of the rule of discretisation, in `RULES`."""
    bounds: Budgets | None = None
    """What every cell keeps within, if the search has bounds."""
    finalists: Finalists | None = None
    """Cells to choose from, if the search scored any."""
    arch_kl_price: float = 0.0
    """κ at the end of the search: what log q̄ of a finalist counts."""
    naswot: float = 0.0
    """What one unit of a finalist's NASWOT score is worth, nats per example."""
    seed: int = 0
    """Seed of the search, noted in genotypes."""
    search: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the search, noted in genotypes."""

    @torch.no_grad()
    def _raw(self, lams: Tensor) -> Tensor:
        """What the hypernetwork says, (n, edges, columns) float64 on the CPU."""
        device = next(self.hypernet.parameters()).device
        # A view of a parameter, as a constant table gives, needs gradients even under no_grad.
        return self.hypernet(self.lam_range.unit(lams).to(device)).detach().double().cpu()

    def log_probs(self, lams: Tensor) -> Tensor:
        """Returns the logarithms of the operations' expected weights for λs (n, num_costs).

        Returns:
            (n, edges, ops) float64 on the CPU, −∞ for candidates that were removed.
        """
        return self.distribution.log_probs(self._raw(lams))

    def likely(self, lams: Tensor) -> Tensor:
        """Returns the likeliest cells (n, edges) of q(γ|λ), for λs (n, num_costs)."""
        raw = self._raw(lams)
        log_probs = self.distribution.log_probs(raw)
        edges = self.distribution.edge_logits(raw)
        if edges is not None:
            log_probs = log_probs + edge_shares(self.space, edges).log()[..., None]
        if self.bounds is not None:
            return self.bounds.likeliest(log_probs, self.rule)
        return discretise(self.space, log_probs, self.rule)

    def choices(self, lams: Tensor) -> Tensor:
        """Chooses discrete architectures (n, edges) for λs (n, num_costs).

        They are the most probable ones, or, where there are finalists, the best that spend the
        budgets of these λs.
        """
        if self.finalists is None:
            return self.likely(lams)
        choices = self.finalists.choices
        losses = self.finalists.losses(self.arch_kl_price, self.naswot)
        if self.bounds is not None:
            inside = self.bounds.hold(choices)
            if not inside.any():
                return self.likely(lams)
            choices, losses = choices[inside], losses[inside]
        _, number = networks(self.space, choices)
        return choices[pick(losses, self.costs_of(choices), self.budgets(lams), number)]

    def budgets(self, lams: Tensor) -> Tensor:
        """Returns what the finalist for each λ may cost, (n, num_costs), in the costs' units.

        Evenly spaced in log cost along the range of a λ; where a search has a single λ, what the
        hypernetwork asks for at it: the cost of the most probable cell.
        """
        assert self.finalists is not None
        budgets = budgets_at(self.lam_range.unit(lams), self.costs_of(self.finalists.choices))
        fixed = torch.tensor(self.lam_range.low) == torch.tensor(self.lam_range.high)
        return torch.where(fixed, self.costs_of(self.likely(lams)), budgets)

    def costs_of(self, choices: Tensor) -> Tensor:
        """Returns the costs with a λ of cells (n, edges), (n, num_costs) float64."""
        return torch.stack([self.tables[c].totals(choices) for c in self.costs], dim=1)

    def genotype(self, lam: Sequence[float], choices: Sequence[int]) -> Genotype:
        """Writes one discrete architecture down, with its λ, its costs and its search."""
        return Genotype.from_choices(
            self.space,
            list(choices),
            lam=dict(zip(self.costs, map(float, lam), strict=True)),
            costs={name: table.total(choices) for name, table in self.tables.items()},
            seed=self.seed,
            search=dict(self.search),
        )

    def at(self, *lam: float) -> Genotype:
        """Returns the cell for a λ, one per cost of the search.

        Raises:
            InputError: if λ lies outside the range that was searched.
        """
        self.lam_range.check(lam)
        lams = torch.tensor([lam], dtype=torch.float64)
        return self.genotype(lam, self.choices(lams)[0].tolist())

    def within(self, /, **bounds: float) -> Genotype:
        """Returns the cell for a budget: of those within it, the one at the smallest λ.

        Args:
            bounds: largest cost by name, in the cost's own unit, e.g. `params=100_000`.

        Raises:
            InputError: for an unknown cost, or if no cell of the front fits.
        """
        for name in bounds:
            if name not in self.tables:
                raise unknown("cost", name, self.tables)
        lams = self.lam_range.grid(BUDGET_GRID)
        choices = self.choices(lams)
        costs = {name: self.tables[name].totals(choices) for name in bounds}
        fits = torch.ones(len(lams), dtype=torch.bool)
        for name, bound in bounds.items():
            fits &= costs[name] <= bound
        if not fits.any():
            least = ", ".join(f"{name} {show_cost(float(c.min()))}" for name, c in costs.items())
            asked = ", ".join(f"{name} {show_cost(bound)}" for name, bound in bounds.items())
            raise InputError(
                f"no cell of this search is within {asked}: its least are {least}; "
                "allow more, or search with fewer channels or cells"
            )
        pressure = self.lam_range.unit(lams).sum(dim=1).where(fits, torch.inf)
        best = int(pressure.argmin())
        return self.genotype(lams[best].tolist(), choices[best].tolist())
