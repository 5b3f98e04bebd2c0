"""Bounds: projections that end inside, multipliers that settle, cells that keep within."""

import pytest
import torch
from torch import Tensor, nn

from cells.cost import CostTable
from cells.errors import InputError
from cells.space import SPACES, SearchSpace
from nas.bounds import Bounds, adapted, level, priced, project
from nas.discretise import discretise

RULES = ("most_probable", "strongest_inputs")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tables(space: SearchSpace, seed: int = 0) -> dict[str, CostTable]:
    """Two costs that are alike but not the same; `none` costs nothing."""
    table = 100 * torch.rand(space.num_edges, len(space.ops), generator=rng(seed)).double()
    other = table + 20 * torch.rand(table.shape, generator=rng(seed + 1)).double()
    table[:, space.none] = other[:, space.none] = 0
    return {"params": CostTable("params", 50.0, table), "latency": CostTable("latency", 5.0, other)}


def span(space: SearchSpace, found: dict[str, CostTable], rule: str) -> tuple[float, float]:
    """Costs of the cheapest and the dearest cell by `params`."""
    table = found["params"]
    ends = [discretise(space, sign * table.table[None] * 1e3, rule) for sign in (-1, 1)]
    low, high = (float(table.totals(cells)[0]) for cells in ends)
    return low, high


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", SPACES)
def test_the_likeliest_cells_keep_within_ten_random_bounds(name, rule) -> None:
    space = SPACES[name]
    found = tables(space)
    low, high = span(space, found, rule)
    log_probs = torch.randn(7, space.num_edges, len(space.ops), generator=rng(1))
    log_probs = (3 * log_probs).log_softmax(dim=-1)
    free = discretise(space, log_probs.double(), rule)
    for share in torch.rand(10, generator=rng(2)).tolist():
        limit = low * 1.001 + share * (high - low)
        bounds = Bounds.read([f"params={limit}"], found, space)
        cells = bounds.likeliest(log_probs, rule)
        costs = found["params"].totals(cells)
        assert (costs <= limit).all()
        unbound = found["params"].totals(free) <= limit
        assert torch.equal(cells[unbound], free[unbound])  # nothing is given up without need


def test_a_bounded_cell_is_the_best_that_a_price_can_give() -> None:
    """Among all cells of the space within the bound none is better by more than one edge."""
    space = SPACES["nasbench201"]
    found = tables(space)
    log_probs = torch.randn(1, 6, 5, generator=rng(5)).log_softmax(dim=-1).double()
    every = torch.cartesian_prod(*[torch.arange(5)] * 6)
    scores = log_probs[0].gather(1, every.T).sum(dim=0)
    costs = found["params"].totals(every)
    for limit in (120.0, 200.0, 300.0):
        (cell,) = Bounds.read([f"params={limit}"], found, space).likeliest(
            log_probs, "most_probable"
        )
        score = float(log_probs[0].gather(1, cell[:, None]).sum())
        best = float(scores[costs <= limit].max())
        assert best - 1.5 < score <= best + 1e-9


def test_two_bounds_hold_together() -> None:
    space = SPACES["darts"]
    found = tables(space)
    cheapest = discretise(space, -1e3 * found["params"].table[None])
    limits = [1.3 * float(found[name].totals(cheapest)[0]) for name in ("params", "latency")]
    texts = [f"params={limits[0]}", f"latency={limits[1]}ms"]
    bounds = Bounds.read(texts, found, space)
    log_probs = torch.randn(20, space.num_edges, len(space.ops), generator=rng(3))
    totals = bounds.totals(bounds.likeliest(log_probs.log_softmax(dim=-1), "most_probable"))
    assert (totals <= bounds.limits).all()
    for column, name in enumerate(bounds.names):
        cells = bounds.likeliest(log_probs.log_softmax(dim=-1), "most_probable")
        torch.testing.assert_close(totals[:, column], found[name].totals(cells))


def test_a_bound_that_no_cell_keeps_is_refused() -> None:
    space = SPACES["nasbench201"]
    with pytest.raises(InputError, match="no cell is within params <= 49: the cheapest has 50"):
        Bounds.read(["params=49"], tables(space), space)


def test_an_expected_cost_counts_edges_as_discrete_cells_keep_them() -> None:
    """Uniform over all cells of the space, from draws of the discrete ones."""
    space = SPACES["darts"]
    found = tables(space)
    bounds = Bounds.read(["params=1000"], found, space)
    operations = torch.full((space.num_edges, len(space.ops)), -1e3)
    operations[:, space.none + 1 :] = 0  # every kept edge carries one of the operations
    drawn = torch.rand(20_000, *operations.shape, generator=rng()) + operations
    mean = float(found["params"].totals(discretise(space, drawn)).mean())
    # A kept edge is the one of largest maximum, but maxima of equal laws do not favour any.
    expected = float(bounds.expected(operations.softmax(dim=-1))[0]) * 1000
    assert expected == pytest.approx(mean, rel=0.01)


@pytest.mark.parametrize("limit", [80.0, 150.0, 300.0])
def test_a_projection_ends_inside_and_moves_no_further_than_it_must(limit) -> None:
    space = SPACES["nasbench201"]
    bounds = Bounds.read([f"params={limit}"], tables(space), space)
    logits = nn.Parameter(2 * torch.randn(6, 5, generator=rng(1)))

    def excess() -> Tensor:
        return bounds.expected(logits.softmax(dim=-1)) - 1

    before = float(excess().detach().max())
    start = logits.detach().clone()
    project(excess, [logits])
    after = float(excess().detach().max())
    assert after <= 0
    if before <= 0:
        assert torch.equal(logits.detach(), start)
    else:
        assert after > -0.05


def test_levels_fall_to_the_bound_by_equal_factors() -> None:
    found = [level(8.0, finished, 3) for finished in (0.0, 0.2, 0.34, 0.66, 0.67, 0.99, 1.0)]
    assert found == pytest.approx([4, 4, 2, 2, 1, 1, 1])
    assert level(0.5, 0.0, 3) == 1


@pytest.mark.parametrize("limit", [90.0, 150.0, 220.0])
def test_an_adapting_multiplier_settles_at_the_budget(limit) -> None:
    """Scores that always ask for the dearest operation; the expected cost ends within 3 %."""
    space = SPACES["nasbench201"]
    found = tables(space)
    bounds = Bounds.read([f"params={limit}"], found, space)
    dear = found["params"].unit()[0].float()
    logits = nn.Parameter(torch.zeros(6, 5))
    optimizer = torch.optim.Adam([logits], 0.02)
    multipliers, generator = torch.zeros(1), rng(8)
    spent = []
    for _ in range(1500):
        probs = logits.softmax(dim=-1)
        noisy = dear + 0.1 * torch.randn(dear.shape, generator=generator)
        loss = -3 * (noisy * probs).sum() + priced(bounds.expected(probs) - 1, multipliers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        excess = bounds.expected(logits.detach().softmax(dim=-1)) - 1
        multipliers = adapted(multipliers, excess)
        spent.append(float(excess[0]) + 1)
    assert sum(spent[-200:]) / 200 == pytest.approx(1, abs=0.03)
    assert max(abs(value - 1) for value in spent[-200:]) < 0.05
    assert float(multipliers[0]) > 0


def test_a_bound_that_does_not_bind_costs_nothing() -> None:
    assert float(priced(torch.tensor([-0.2]), torch.tensor([0.0]))) == 0
    assert float(adapted(torch.tensor([0.0]), torch.tensor([-0.2]))) == 0
