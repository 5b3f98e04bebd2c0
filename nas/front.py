"""A finished search as a function of λ or of a budget: cells at once, without training."""

import csv
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from cells.cost import CostTable
from cells.errors import InputError, unknown
from cells.genotype import Genotype
from cells.space import find_space
from nas import checkpoint
from nas.bounds import Bounds, parse_bound
from nas.commandline import Parser
from nas.config import FREE, SearchConfig, config_from_dict
from nas.discretise import discretise
from nas.finalists import Finalists, dial, networks, pick
from nas.hypernet import Hypernet, build_hypernet
from nas.relax import RELAXATIONS, build_relaxation, edge_shares
from nas.runtime import run_script, stream

BUDGET_GRID = 2001
"""λs among which a cell within a budget is sought."""


class Front:
    """The cells of one search.

        front = Front.load("runs/x")
        genotype = front.at(0.3)
        genotype = front.within(params=100_000)

    Attributes:
        config: the settings of the search.
        hypernet: λ -> architecture logits.
        tables: cost tables by name.
        finalists: cells to choose from, if the search scored any.
        kept: (edges, n) int64, the candidates that are left, if some were pruned.
    """

    def __init__(
        self,
        config: SearchConfig,
        hypernet: Hypernet,
        tables: Mapping[str, CostTable],
        finalists: Finalists | None = None,
        kept: Tensor | None = None,
    ) -> None:
        self.config = config
        self.space = find_space(config.space)
        self.lam_range = config.lam_range()
        self.hypernet = hypernet
        self.tables = dict(tables)
        self.finalists = finalists
        self.kept = kept
        self._relaxation = build_relaxation(config.relax)

    @classmethod
    def load(cls, run: str | Path) -> "Front":
        """Reads a run folder.

        Raises:
            InputError: if it has no usable checkpoint.
        """
        path = _existing(Path(run)) / "checkpoint.pt"
        state = checkpoint.load(path)
        if not {"config", "tables", "hypernet"} <= state.keys():
            raise InputError(
                f"{path} is not the checkpoint of a search for cells: name the run of one"
            )
        config = config_from_dict(state["config"])
        tables = tables_from_state(state["tables"])
        hypernet = build_front_hypernet(config, tables)
        checkpoint.fill(hypernet, state["hypernet"], path)
        scored = state.get("finalists")
        finalists = Finalists.from_state(scored) if scored else None
        return cls(config, hypernet, tables, finalists, state.get("kept"))

    @cached_property
    def bounds(self) -> Bounds | None:
        """What every cell keeps within, if the search has bounds."""
        texts = self.config.bounds
        return Bounds.read(texts, self.tables, self.space) if texts else None

    @torch.no_grad()
    def _raw(self, lams: Tensor) -> Tensor:
        """What the hypernetwork says, (n, edges, columns) float64 on the CPU."""
        device = next(self.hypernet.parameters()).device
        # A view of a parameter, as a constant table gives, needs gradients even under no_grad.
        return self.hypernet(self.lam_range.unit(lams).to(device)).detach().double().cpu()

    def log_probs(self, lams: Tensor) -> Tensor:
        """Logarithms of the operations' expected weights for λs (n, num_costs) in float64.

        Returns:
            (n, edges, ops) float64 on the CPU, −∞ for candidates that were pruned.
        """
        return self._log_probs(self._raw(lams))

    def _log_probs(self, raw: Tensor) -> Tensor:
        logits = raw[..., : len(self.space.ops)]
        if self.kept is None:
            return self._relaxation.log_probs(logits)
        columns = self.kept.expand(len(logits), -1, -1)
        left = self._relaxation.log_probs(logits.gather(-1, columns))
        return torch.full_like(logits, -torch.inf).scatter(-1, columns, left)

    def likely(self, lams: Tensor) -> Tensor:
        """The cells (n, edges) that q(γ|λ) itself makes the likeliest, for λs (n, num_costs)."""
        raw = self._raw(lams)
        log_probs = self._log_probs(raw)
        if self.config.edge_weights:
            shares = edge_shares(self.space, raw[..., -1])
            log_probs = log_probs + shares.log()[..., None]
        if self.bounds is not None:
            return self.bounds.likeliest(log_probs, self.config.discretise)
        return discretise(self.space, log_probs, self.config.discretise)

    def choices(self, lams: Tensor) -> Tensor:
        """Discrete architectures (n, edges) for λs (n, num_costs).

        They are the most probable ones, or, where there are finalists, the best that spend the
        budgets of these λs.
        """
        if self.finalists is None:
            return self.likely(lams)
        choices = self.finalists.choices
        losses = self.finalists.losses(self.config.arch_kl_price(1.0), self.config.naswot)
        if self.bounds is not None:
            inside = self.bounds.hold(choices)
            if not inside.any():
                return self.likely(lams)
            choices, losses = choices[inside], losses[inside]
        _, number = networks(self.space, choices)
        return choices[pick(losses, self.costs_of(choices), self.budgets(lams), number)]

    def budgets(self, lams: Tensor) -> Tensor:
        """What the finalist for each λ may cost, (n, num_costs) float64, in the costs' units.

        Evenly spaced in log cost along the range of a λ; where a search has a single λ, what the
        hypernetwork asks for at it: the cost of the most probable cell.
        """
        assert self.finalists is not None
        budgets = dial(self.lam_range.unit(lams), self.costs_of(self.finalists.choices))
        fixed = torch.tensor(self.lam_range.low) == torch.tensor(self.lam_range.high)
        return torch.where(fixed, self.costs_of(self.likely(lams)), budgets)

    def costs_of(self, choices: Tensor) -> Tensor:
        """Those costs of cells (n, edges) that have a λ, (n, num_costs) float64."""
        return torch.stack([self.tables[c].totals(choices) for c in self.config.costs], dim=1)

    def genotype(self, lam: Sequence[float], choices: Sequence[int]) -> Genotype:
        """Writes one discrete architecture down, with its λ, its costs and its search."""
        return Genotype.from_choices(
            self.space,
            list(choices),
            lam=dict(zip(self.config.costs, map(float, lam), strict=True)),
            costs={name: table.total(choices) for name, table in self.tables.items()},
            seed=self.config.seed,
            search={k: v for k, v in self.config.to_dict().items() if k not in FREE},
        )

    def at(self, *lam: float) -> Genotype:
        """The cell for a λ, one per cost of the search.

        Raises:
            InputError: if λ lies outside the range that was searched.
        """
        self.lam_range.check(lam)
        lams = torch.tensor([lam], dtype=torch.float64)
        return self.genotype(lam, self.choices(lams)[0].tolist())

    def within(self, /, **bounds: float) -> Genotype:
        """The cell for a budget: of those within it, the one at the smallest λ.

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
            least = ", ".join(f"{name} {float(c.min()):.6g}" for name, c in costs.items())
            asked = ", ".join(f"{name} {bound:.6g}" for name, bound in bounds.items())
            raise InputError(
                f"no cell of this search is within {asked}: its least are {least}; "
                "allow more, or search with fewer channels or cells"
            )
        pressure = self.lam_range.unit(lams).sum(dim=1).where(fits, torch.inf)
        best = int(pressure.argmin())
        return self.genotype(lams[best].tolist(), choices[best].tolist())


def build_front_hypernet(config: SearchConfig, tables: Mapping[str, CostTable]) -> Hypernet:
    """Builds a search's hypernetwork at its initial parameters.

    The Gibbs form starts from the solution for no knowledge of accuracy, β = λ·c / κ with c the
    cost in λ's unit: at it the pulls of cost and of KL(q(γ|λ) ‖ uniform) cancel for every λ, and
    the scores are free to learn from the likelihood alone. That holds for categorical operations
    and a price that adds; otherwise it starts with the form's own, gentle β.
    """
    space = find_space(config.space)
    betas = None
    balanced = RELAXATIONS[config.relax].categorical and config.price == "additive"
    if balanced and config.arch_kl > 0 and "kl" not in config.costs:
        priced = torch.stack([tables[name].priced(config.lam_unit)[0] for name in config.costs])
        widest = (priced.amax(dim=2) - priced.amin(dim=2)).amax(dim=1)
        lam_range = config.lam_range()
        ends = torch.tensor([lam_range.low, lam_range.high], dtype=torch.float64).T
        betas = widest[:, None] * ends / config.arch_kl
    costs = torch.stack([tables[name].table for name in config.costs]).float()
    return build_hypernet(
        config.hypernet,
        space.num_edges,
        len(space.ops) + config.edge_weights,
        len(config.costs),
        knots=config.knots,
        hidden=config.hidden,
        rank=config.rank,
        # The weight of an edge costs nothing.
        costs=pad(costs, (0, 1)) if config.edge_weights else costs,
        betas=betas,
        generator=stream(config.seed, "hypernet", 0),
    )


def tables_from_state(tables: Mapping[str, Any]) -> dict[str, CostTable]:
    """Rebuilds cost tables from a checkpoint."""
    return {name: CostTable(name, t["base"], t["table"]) for name, t in tables.items()}


def read_rows(run: Path) -> list[dict[str, Any]]:
    """Reads `front.csv`: numbers as floats, `True` and `False` as bools.

    Raises:
        InputError: if the run has no front yet.
    """
    path = _existing(run) / "front.csv"
    if not path.is_file():
        raise InputError(f"{path} does not exist: finish the search with --resume {run}")
    with open(path, newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = []
        truths = {"True": True, "False": False}
        for row in csv.DictReader(file):
            rows.append(
                {
                    k: v if k in ("genotype", "file") else truths[v] if v in truths else float(v)
                    for k, v in row.items()
                }
            )
    return rows


def _existing(run: Path) -> Path:
    if not run.is_dir():
        raise InputError(f"no folder {run}: name that of a search, e.g. runs/digits")
    return run


def _summary(genotype: Genotype) -> str:
    lam = ", ".join(f"{name} {value:.4g}" for name, value in (genotype.lam or {}).items())
    costs = ", ".join(f"{name} {value:,.6g}" for name, value in genotype.costs.items())
    return f"genotype {genotype.id}   λ: {lam}   {costs}"


def _command() -> None:
    parser = Parser(
        prog="python -m nas.front", description="Ask a search for a cell, or list its front."
    )
    parser.add_argument("run", type=Path, help="folder of a search, e.g. runs/digits")
    parser.add_argument("--lam", type=float, nargs="+", help="λ, one per cost of the search")
    parser.add_argument(
        "--at-most", nargs="+", metavar="COST=BOUND", help="budget, e.g. params=100k latency=2ms"
    )
    parser.add_argument("--out", type=Path, help="write the genotype to this new file")
    args = parser.parse_args()
    if args.lam is None and args.at_most is None:
        if args.out is not None:
            raise InputError("--out is for one cell: say which with --lam or --at-most")
        rows = read_rows(args.run)
        kept_back = ("expected_", "lam_last", "lams", "rises_", "floor_", "ceiling_")
        names = [k for k in rows[0] if not k.startswith(kept_back)]
        print("  ".join(f"{name:>12}" for name in names))
        for row in rows:
            cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
            pairs = dict(zip(row, cells, strict=True))
            print("  ".join(f"{pairs[name]:>12}" for name in names))
        return
    if args.lam is not None and args.at_most is not None:
        raise InputError("give either --lam or --at-most, not both")
    if args.out is not None and args.out.exists():
        raise InputError(f"{args.out} exists: choose another --out")
    front = Front.load(args.run)
    if args.lam is not None:
        genotype = front.at(*args.lam)
    else:
        genotype = front.within(**dict(parse_bound(text) for text in args.at_most))
    if args.out is None:
        print(genotype.to_json(), end="")
    else:
        genotype.save(args.out)
    print(_summary(genotype), file=sys.stderr)


def main() -> None:
    """`python -m nas.front RUN [--lam λ | --at-most COST=BOUND]`."""
    run_script(_command)


if __name__ == "__main__":
    main()
