"""Finalists: cells that are looked at once more at the end of a search.

q(γ|λ) is a product over edges. Its most probable cell need not be a good one, and a front whose
likelihoods are nearly a straight line in cost has few cells that are the best for any λ. FBNet (Wu
et al. 2019) therefore draws cells from the distribution it has learned and keeps the best. Here
they are drawn for all λs and scored on the same validation images with the supernet's weights; the
position of λ in its range is then a position in the range of their costs.

A distribution that is sure of itself leaves good cells out. So half of the finalists may be random
ones, evenly over cost.

What the distribution is worth shows beside finalists that do not come from it, as many and scored
alike: random cells, which over weights of random cells are random search with weight sharing (Li,
Talwalkar 2019), or those of an evolution.
"""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cells.sampling import Choices, random_cell
from cells.space import SearchSpace
from nas.architecture.discretise import discretise
from nas.architecture.distribution import log_likelihoods
from nas.selection.evolution import Evolution

IMAGES = 1000
"""Validation images on which finalists are scored, if there are as many."""
LAMS = 200
"""λs whose distributions they are drawn from, evenly spaced."""
DRAWS, BANDS = 20, 20
"""Draws for each finalist; parts of the range of log cost, with as many finalists in each."""
LEAST = 1e-3
"""Share of the largest cost that smaller ones are raised to, so that each has a logarithm."""


class Finalists(NamedTuple):
    """Cells and what they are worth."""

    choices: Tensor
    """(n, edges) int64, all different."""
    nll: Tensor
    """(n,) negative log-likelihoods on the same images, nats per example."""
    log_q: Tensor
    """(n,) log-probabilities under the mixture of all λs' distributions, half of it uniform if half
    of the cells are random; the same for all cells that are one network; zeros if none is drawn
    from the distributions."""
    naswot: Tensor
    """(n,) scores of `nas.selection.naswot`; zeros if they have no price."""

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> "Finalists":
        """Reads what a checkpoint keeps; before there was NASWOT, its scores are zeros."""
        return cls(**{"naswot": torch.zeros_like(state["nll"])} | state)

    def losses(self, arch_kl_price: float, naswot_price: float) -> Tensor:
        """Returns what is minimised: −log p − ½ κ log q − ω·naswot, (n,), nats per example.

        The best q(γ|λ) is proportional to exp(−(nll + λ·cost) / κ). So −κ log q is, for cells of
        like cost, the hypernetwork's estimate of the likelihood from all cells that it has seen,
        and makes up for the chance in the score of a single one; it counts half as much as the
        score. The last term is the logarithm of a prior: what is known of a cell before any
        training.

        Args:
            arch_kl_price: κ at the end of the search.
            naswot_price: ω, nats per example for one unit of the score.
        """
        return self.nll - arch_kl_price / 2 * self.log_q - naswot_price * self.naswot


def draw(
    space: SearchSpace,
    log_probs: Tensor,
    rule: str,
    count: int,
    costs_of: Callable[[Tensor], Tensor],
    generator: torch.Generator,
) -> Tensor:
    """Draws different cells with a path from input to output, of all costs.

    Many more are drawn than wanted. Of those in each of `BANDS` parts of the range of log cost, the
    likeliest under the mixture of all λs' distributions are kept, as many in one part as in
    another where there are as many. With several costs each has its share of the finalists.

    Args:
        log_probs: (lams, edges, ops) float64, on the CPU.
        rule: name of the discretisation rule (`nas.architecture.discretise.RULES`), applied to them
            with Gumbel noise: with one operation on every edge these are exact draws.
        count: how many are wanted.
        costs_of: costs (n, num_costs) float64, >= 0, of cells (n, edges).
        generator: source of all draws, on the CPU.

    Returns:
        (n, edges) int64, 1 <= n <= count; the likeliest cell of the first λ if none is connected.
    """
    draws = DRAWS * count
    member = torch.arange(draws) * len(log_probs) // draws
    uniform = torch.rand((draws, *log_probs.shape[1:]), generator=generator, dtype=torch.float64)
    gumbel = -(-uniform.clamp(min=torch.finfo(torch.float64).tiny).log()).log()
    drawn = discretise(space, log_probs[member] + gumbel, rule)
    cells = torch.cat([discretise(space, log_probs, rule), drawn]).unique(dim=0)
    connected = torch.tensor([space.connected(cell) for cell in cells.tolist()])
    if not connected.any():
        return discretise(space, log_probs[:1], rule)
    cells = cells[connected]
    return cells[_of_all_costs(costs_of(cells), -mixture(log_probs, cells), count)]


def draw_uniform(
    space: SearchSpace,
    count: int,
    costs_of: Callable[[Tensor], Tensor],
    generator: random.Random,
) -> Tensor:
    """Draws different cells with a path from input to output, uniformly, of all costs.

    Unlike `draw` it takes no distribution: of each part of the range of log cost the
    first that were drawn are kept.

    Returns:
        (n, edges) int64, n <= count; as many as wanted but in a space of few cells.
    """
    drawn = dict.fromkeys(random_cell(space, generator) for _ in range(DRAWS * count))
    cells = torch.tensor(list(drawn))
    kept = _of_all_costs(costs_of(cells), torch.arange(len(cells)), count)
    rest = sorted(set(range(len(cells))) - set(kept))  # several costs may have kept the same cell
    return cells[kept + rest[: count - len(kept)]]


def evolve(
    space: SearchSpace,
    count: int,
    costs_of: Callable[[Tensor], Tensor],
    finalists_of: Callable[[Tensor], Finalists],
    naswot_price: float,
    generator: random.Random,
) -> Finalists:
    """Evolves cells towards small losses and low costs, and returns all that were scored.

    Args:
        count: how many it scores, random ones of its beginning among them.
        costs_of: costs (n, num_costs) float64, >= 0, of cells (n, edges).
        finalists_of: cells (n, edges) with their scores.
        naswot_price: ω, nats per example for one unit of the NASWOT score.
    """
    found: list[Finalists] = []

    def score(cell: Choices) -> tuple[float, ...]:
        alone = torch.tensor([cell])
        found.append(finalists_of(alone))
        return float(found[-1].losses(0.0, naswot_price)), *costs_of(alone)[0].tolist()

    Evolution(space, score, generator).run(count)
    return Finalists(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def _of_all_costs(costs: Tensor, order: Tensor, count: int) -> list[int]:
    """Numbers of cells, evenly over the range of each log cost; in each part the first in order.

    Args:
        costs: (n, num_costs) float64, >= 0.
        order: (n,) the less, the sooner a cell is taken.
        count: how many; with several costs each has its share.
    """
    logs = _logs(costs)
    low, high = logs.amin(dim=0), logs.amax(dim=0)
    bands = ((logs - low) / (high - low).clamp(min=1e-9) * BANDS).long().clamp(max=BANDS - 1)
    kept: set[int] = set()
    for k in range(bands.shape[1]):
        # The first of every band, then the second of every band, and so on.
        rank = torch.empty(len(costs), dtype=torch.long)
        for band in range(BANDS):
            inside = (bands[:, k] == band).nonzero().flatten()
            rank[inside[order[inside].argsort(stable=True)]] = torch.arange(len(inside))
        kept |= set(rank.argsort(stable=True)[: max(1, count // bands.shape[1])].tolist())
    return sorted(kept)


def mixture(log_probs: Tensor, cells: Tensor) -> Tensor:
    """Returns log-probabilities (n,) of cells (n, edges) under a mixture (lams, edges, ops)."""
    return log_likelihoods(log_probs, cells).logsumexp(dim=0) - math.log(len(log_probs))


def half_uniform(log_probs: Tensor, cells: Tensor) -> Tensor:
    """Returns them as `mixture`, mixed half and half with the uniform distribution.

    A cell that the mixture hardly knows is one that it says nothing about, not a bad one.
    """
    _, edges, ops = log_probs.shape
    uniform = torch.tensor(-edges * math.log(ops), dtype=log_probs.dtype)
    return torch.logaddexp(mixture(log_probs, cells), uniform) - math.log(2)


def networks(space: SearchSpace, cells: Tensor) -> tuple[Tensor, Tensor]:
    """Finds the networks that cells are once their dead edges are removed.

    Cells that differ in dead edges alone compute the same; their costs may differ.

    Args:
        cells: (n, edges).

    Returns:
        Networks (m, edges) int64, all different, and the number (n,) of each cell's network.
    """
    live = torch.tensor([space.live(cell) for cell in cells.tolist()])
    each, number = live.unique(dim=0, return_inverse=True)
    return each, number


def _logs(costs: Tensor) -> Tensor:
    """Returns logarithms of costs (n, num_costs); a fit may say that something costs nothing."""
    return costs.maximum(LEAST * costs.amax(dim=0)).log()


def budgets_at(unit_lams: Tensor, costs: Tensor) -> Tensor:
    """Turns positions of λ into budgets: evenly in log cost, the most expensive first.

    Args:
        unit_lams: (m, num_costs) in [0, 1].
        costs: (n, num_costs) float64, >= 0, of the finalists.

    Returns:
        (m, num_costs) float64, in the units of `costs`.
    """
    logs = _logs(costs)
    return torch.lerp(logs.amax(dim=0), logs.amin(dim=0), unit_lams).exp()


def pick(losses: Tensor, costs: Tensor, budgets: Tensor, number: Tensor) -> Tensor:
    """Picks the best cell within each budget.

    A supernet has trained its expensive cells least and underrates them. So cells get a credit that
    grows linearly in log cost, and is the same throughout the most expensive part of `BANDS`, where
    otherwise the most expensive cell would always be the best. Dead edges earn no credit: cells
    that are the same network have that of the least expensive. What a cell is worth does not depend
    on the budget: a smaller budget for a cost never gives a cell with more of it. Where no cell is
    within the budget of every cost, the one that exceeds it by the smallest factor is taken.

    Args:
        losses: (n,) the less, the better; of equals, the less expensive one is taken.
        costs: (n, num_costs) float64, >= 0.
        budgets: (m, num_costs) float64, > 0, in the units of `costs`.
        number: (n,) int64 >= 0, the same for the same network (`networks`).

    Returns:
        (m,) int64 positions of cells.
    """
    logs = _logs(costs)
    spread = (logs.amax(dim=0) - logs.amin(dim=0)).clamp(min=1e-9)
    least = logs.new_full((int(number.max()) + 1, logs.shape[1]), torch.inf)
    least.scatter_reduce_(0, number[:, None].expand_as(logs), logs, "amin")
    position = ((least[number] - logs.amin(dim=0)) / spread).mean(dim=1)
    worth = losses - credit(losses, position) * position.clamp(max=1 - 1 / BANDS)
    ranks = zip(worth.tolist(), *costs.T.tolist(), range(len(losses)), strict=True)
    order = torch.tensor([rank[-1] for rank in sorted(ranks)])
    over = logs[order] - budgets.log()[:, None]  # (m, n, num_costs)
    fits = (over <= 1e-9).all(dim=2)
    first = fits.long().argmax(dim=1)  # the first of the largest
    nearest = over.amax(dim=2).argmin(dim=1)
    return order[torch.where(fits.any(dim=1), first, nearest)]


def credit(losses: Tensor, position: Tensor) -> float:
    """Returns the credit of the most expensive cell over the least expensive, nats per example.

    By how much the best of all cells beats the best of the least expensive part of `BANDS`.

    Args:
        losses: (n,).
        position: (n,) in [0, 1], from the least to the most expensive.
    """
    least_expensive = losses[position < float(position.min()) + 1 / BANDS]
    return float(least_expensive.min() - losses.min())
