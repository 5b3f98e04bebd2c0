"""Does λ do what it should? Monotone costs, range that is used, collapse, entropy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cells.cost import CostTable
from nas.architecture.discretise import most_probable
from nas.architecture.distribution import entropy
from nas.selection.front import Front

IDLE = 0.2
"""Share of a range of λ from which on it is worth a word that nothing changes in it."""
COLLAPSED = 0.9
"""Share of operations without parameters from which on a cell is said to have collapsed."""
UNDECIDED = 0.9
"""Share of the largest entropy from which on edges are said to be undecided."""


@dataclass(frozen=True)
class Diagnostics:
    """What the cells of a search do along its grid of λs.

    Attributes:
        choices: (n, edges) int64, the cell of every λ.
        rises: for each cost, (n,) bool: is the cell more expensive than that of the next smaller λ
            of the same cost, all other λs equal?
        floor: for each cost, (n,) bool: is there no less expensive cell in the space?
        ceiling: for each cost, (n,) bool: is there no more expensive one?
        parameter_free: (n,) float64 in [0, 1], share of a cell's edges whose operation has no
            parameters (an absent edge among them, where the space keeps every edge).
        entropy: (n,) float32, mean entropy of the edges' distributions, nats.
    """

    choices: Tensor
    rises: dict[str, Tensor]
    floor: dict[str, Tensor]
    ceiling: dict[str, Tensor]
    parameter_free: Tensor
    entropy: Tensor

    @property
    def distinct(self) -> int:
        """Counts the different cells."""
        return len(self.choices.unique(dim=0))

    def text(self) -> str:
        """Describes the diagnostics in a few lines."""
        number = len(self.choices)
        lines = [f"λ along {number} values: {self.distinct} different cells"]
        for name, rises in self.rises.items():
            low, high = (100 * float(part[name].double().mean()) for part in
                         (self.floor, self.ceiling))  # fmt: skip
            lines.append(
                f"  {name}: rises at {int(rises.sum())} of them; "
                f"at the floor for {low:.0f}% of the range, at the ceiling for {high:.0f}%"
            )
        first, last = float(self.parameter_free[0]), float(self.parameter_free[-1])
        lines.append(
            f"  operations without parameters: {100 * float(self.parameter_free.mean()):.0f}% "
            f"on average, {100 * first:.0f}% at the lowest λ, {100 * last:.0f}% at the highest"
        )
        lines.append(
            f"  entropy: {float(self.entropy[0]):.2f} nats at the lowest λ, "
            f"{float(self.entropy[-1]):.2f} at the highest"
        )
        return "\n".join(lines)


def diagnose(front: Front, lams: Tensor) -> Diagnostics:
    """Looks at the cells along a grid of λs.

    Args:
        lams: (n, num_costs) float64, a grid as `LambdaRange.grid` returns it.
    """
    log_probs = front.log_probs(lams)
    choices = front.choices(lams)
    rises, floor, ceiling = {}, {}, {}
    axes = [len(lams[:, k].unique()) for k in range(lams.shape[1])]
    for k, name in enumerate(front.costs):
        table = front.tables[name]
        costs = table.totals(choices)
        # Sums of the same numbers in another order may differ in their last bits.
        slack = 1e-9 * max(abs(table.low), abs(table.high))
        along = costs.reshape(axes)
        risen = along.diff(dim=k) > slack
        first = torch.zeros_like(along.narrow(k, 0, 1), dtype=torch.bool)
        rises[name] = torch.cat([first, risen], dim=k).flatten()
        floor[name] = costs <= _extreme(front, table, -1.0) + slack
        ceiling[name] = costs >= _extreme(front, table, 1.0) - slack
    absent = choices == front.space.none
    kept = ~absent | torch.tensor(front.space.inputs_per_node is None)
    weightless = front.tables["params"].table.expand(len(choices), -1, -1)
    weightless = weightless.gather(2, choices[:, :, None])[:, :, 0] == 0
    share = (kept & weightless).sum(dim=1).double() / kept.sum(dim=1)
    return Diagnostics(choices, rises, floor, ceiling, share, entropy(log_probs))


def advise(front: Front, lams: Tensor, found: Diagnostics) -> list[str]:
    """Says in words what is amiss along λ, and what to change.

    Args:
        lams: (n, num_costs) float64, the grid that `found` is about.

    Returns:
        Sentences, none where nothing is.
    """
    told = []
    axes = [len(lams[:, k].unique()) for k in range(lams.shape[1])]
    if len(lams) > 1 and found.distinct == 1:
        told.append(
            "Every λ gives the same cell: search longer, or over a wider range of λ, "
            "--lam-low and --lam-high."
        )
    else:
        for k, name in enumerate(front.costs):
            told += _idle_ends(found, lams, axes, k, name)
    for name in front.costs:
        rises = int(found.rises[name].sum())
        if rises:
            told.append(
                f"The cell's {name} rise with λ at {rises} of {len(lams)} λs: --hypernet gibbs "
                "with --discretise most_probable keeps costs from rising."
            )
    if len(lams) > 1 and float(found.parameter_free[0]) > COLLAPSED:
        told.append(
            f"Even at the lowest λ {float(found.parameter_free[0]):.0%} of the operations have no "
            "parameters: lower --lam-low, or let weights learn longer before, --warmup-epochs."
        )
    most = math.log(len(front.space.ops))
    mean = float(found.entropy.mean())
    if mean > UNDECIDED * most:
        told.append(
            f"Edges are hardly decided, {mean:.2f} of {most:.2f} nats of entropy: search longer, "
            "raise --arch-lr, or lower --arch-kl."
        )
    return told


def _idle_ends(
    found: Diagnostics, lams: Tensor, axes: Sequence[int], k: int, name: str
) -> list[str]:
    """Tells of the ends of one cost's range at which its λ changes no cell any more."""
    cells = found.choices.reshape(*axes, -1).movedim(k, 0)
    values = lams[:, k].unique().tolist()
    steps = len(cells) - 1
    same = (cells[1:] == cells[:-1]).flatten(1).all(dim=1).tolist()  # one for each step of λ
    told = []
    whose = "λ" if len(axes) == 1 else f"λ of {name}"
    for end, side, verb, extreme in (
        ("high", "above", "lower", found.floor), ("low", "below", "raise", found.ceiling)
    ):  # fmt: skip
        row = same[::-1] if end == "high" else same
        idle = next((i for i, equal in enumerate(row) if not equal), steps)
        if idle == 0 or idle < IDLE * steps:
            continue
        last = values[-1 - idle] if end == "high" else values[idle]
        reached = bool(extreme[name].reshape(axes).movedim(k, 0)[-1 if end == "high" else 0].all())
        which = ("cheapest" if end == "high" else "most expensive") if reached else "same"
        option = f"--lam-{end}" if len(axes) == 1 else f"its --lam-{end}"
        told.append(f"{whose} {side} {last:.2g} all give the {which} cell: {verb} {option}.")
    return told


def _extreme(front: Front, table: CostTable, sign: float) -> float:
    """Cost of the most (sign 1) or the least expensive (−1) cell that the space allows."""
    return float(table.totals(most_probable(front.space, sign * table.table)[None])[0])
