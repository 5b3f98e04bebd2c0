"""Budgets: projections that end inside, multipliers that settle, cells that keep within."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from cells.cost import CostTable
from cells.errors import InputError
from cells.space import SPACES, SearchSpace
from nas.architecture.budgets import Budgets, parse_bound
from nas.architecture.discretise import discretise
from nas.hypernets.forms import Hypernet, build_hypernet
from nas.objective.prices import priced
from nas.optim.constraints import MARGIN, PROJECTIONS, adapted, level, project, shortest

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
    """Costs of the least and the most expensive cell by `params`."""
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
        bounds = Budgets.read([f"params={limit}"], found, space)
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
        (cell,) = Budgets.read([f"params={limit}"], found, space).likeliest(
            log_probs, "most_probable"
        )
        score = float(log_probs[0].gather(1, cell[:, None]).sum())
        best = float(scores[costs <= limit].max())
        assert best - 1.5 < score <= best + 1e-9


def test_two_bounds_hold_together() -> None:
    space = SPACES["darts"]
    found = tables(space)
    least = discretise(space, -1e3 * found["params"].table[None])
    limits = [1.3 * float(found[name].totals(least)[0]) for name in ("params", "latency")]
    texts = [f"params={limits[0]}", f"latency={limits[1]}ms"]
    bounds = Budgets.read(texts, found, space)
    log_probs = torch.randn(20, space.num_edges, len(space.ops), generator=rng(3))
    totals = bounds.totals(bounds.likeliest(log_probs.log_softmax(dim=-1), "most_probable"))
    assert (totals <= bounds.limits).all()
    for column, name in enumerate(bounds.names):
        cells = bounds.likeliest(log_probs.log_softmax(dim=-1), "most_probable")
        torch.testing.assert_close(totals[:, column], found[name].totals(cells))


def test_a_bound_that_no_cell_keeps_is_refused() -> None:
    space = SPACES["nasbench201"]
    with pytest.raises(
        InputError, match="no cell is within params <= 49: the least expensive cell has 50"
    ):
        Budgets.read(["params=49"], tables(space), space)


def test_an_expected_cost_counts_edges_as_discrete_cells_keep_them() -> None:
    """Uniform over all cells of the space, from draws of the discrete ones."""
    space = SPACES["darts"]
    found = tables(space)
    bounds = Budgets.read(["params=1000"], found, space)
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
    bounds = Budgets.read([f"params={limit}"], tables(space), space)
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


def outside(form: str, count: int, seed: int, std: float = 1.0) -> tuple[Hypernet, Budgets]:
    """A hypernetwork with logits at random, and bounds that its most expensive λ exceeds.

    The expected cost of operations has to fall to some 60 to 95 %.
    """
    space = SPACES["nasbench201"]
    found = tables(space, seed)
    hypernet = build_hypernet(
        form, space.num_edges, len(space.ops), 1, costs=found["params"].table[None].float(),
        generator=rng(seed),
    )  # fmt: skip
    with torch.no_grad():
        for parameter in hypernet.parameters():
            if parameter.shape[-2:] == (space.num_edges, len(space.ops)):
                parameter.add_(std * torch.randn(parameter.shape, generator=rng(seed + 1)))
    bounds = Budgets.read([f"{name}=1e9" for name in ("params", "latency")[:count]], found, space)
    spent = bounds.expected(probabilities(hypernet)).detach().amax(dim=0).double() * bounds.limits
    shares = 0.6 + 0.35 * torch.rand(1, generator=rng(seed + 2)).double()
    shares = shares * (1 + 0.04 * torch.rand(count, generator=rng(seed + 3)))  # about as tight
    return hypernet, bounds._replace(limits=bounds.bases + (spent - bounds.bases) * shares)


def probabilities(hypernet: Hypernet) -> Tensor:
    return hypernet(torch.linspace(0, 1, 9)[:, None]).softmax(dim=-1)


def excess_of(hypernet: Hypernet, bounds: Budgets) -> Callable[[], Tensor]:
    return lambda: bounds.expected(probabilities(hypernet)) - 1


def moved(hypernet: Hypernet, bounds: Budgets) -> tuple[Tensor, int]:
    """How far a projection leads, and in how many steps."""
    parameters = list(hypernet.parameters())
    start = parameters_to_vector(parameters).detach().clone()
    steps = project(excess_of(hypernet, bounds), parameters)
    return (parameters_to_vector(parameters).detach() - start).norm(), steps


def nearest(hypernet: Hypernet, bounds: Budgets) -> float:
    """The distance to the nearest point within the bounds less `MARGIN`, by scipy's SLSQP."""
    hypernet = copy.deepcopy(hypernet).double()
    parameters, excess = list(hypernet.parameters()), excess_of(hypernet, bounds)
    start = parameters_to_vector(parameters).detach().numpy().copy()

    def room(x: Any) -> Any:
        vector_to_parameters(torch.tensor(x), parameters)
        return -excess().detach().flatten().numpy() - MARGIN

    def slopes(x: Any) -> Any:
        vector_to_parameters(torch.tensor(x), parameters)
        rows = [
            torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
            for value in excess().flatten()
        ]
        return np.stack([-torch.cat([grad.flatten() for grad in row]).numpy() for row in rows])

    found = minimize(
        lambda x: ((x - start) ** 2).sum() / 2, start, jac=lambda x: x - start, method="SLSQP",
        constraints={"type": "ineq", "fun": room, "jac": slopes},
        options={"maxiter": 300, "ftol": 1e-12},
    )  # fmt: skip
    assert found.success and room(found.x).min() > -1e-6
    return float(np.linalg.norm(found.x - start))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("form", ["constant", "gibbs", "piecewise"])
def test_a_projection_leads_to_the_nearest_point(form: str, count: int) -> None:
    """Newton's steps along the worst bound's gradient lead 3 to 5 % farther, up to 10 %."""
    for seed in range(0, 60, 10):
        hypernet, bounds = outside(form, count, seed)
        expected = nearest(hypernet, bounds)
        distance, steps = moved(hypernet, bounds)
        assert 0 < steps < PROJECTIONS
        assert float(excess_of(hypernet, bounds)().detach().max()) <= 0
        assert float(distance) == pytest.approx(expected, rel=0.002)


@pytest.mark.parametrize("form", ["constant", "gibbs", "linear", "lowrank", "piecewise", "mlp"])
def test_bounds_are_kept_from_far_away(form: str) -> None:
    for seed in range(0, 50, 10):
        hypernet, bounds = outside(form, 2, seed, std=3.0)
        moved(hypernet, bounds)
        assert float(excess_of(hypernet, bounds)().detach().max()) <= 0


def test_a_bound_out_of_reach_ends_a_projection() -> None:
    """And what is not a number leaves parameters as they are."""
    logits = nn.Parameter(torch.randn(6, 5, generator=rng()))
    assert project(lambda: logits.softmax(dim=-1).amax() + 1, [logits]) == PROJECTIONS
    assert logits.isfinite().all()
    before = logits.detach().clone()
    assert project(lambda: logits.sum() * torch.nan, [logits]) == 0
    assert torch.equal(logits, before)


def test_the_shortest_vector_by_hand() -> None:
    one = torch.tensor([[3.0, 4.0, 0.0]])
    vector, _ = shortest(one, torch.tensor([2.0]))
    torch.testing.assert_close(vector, 2 * one[0] / 25)
    vector, weights = shortest(torch.eye(3)[:2], torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(vector, torch.tensor([2.0, 3.0, 0.0]))
    assert min(weights) > 0
    # The first, met by the second alone, does not count; neither do two that nothing asks for.
    vector, weights = shortest(torch.tensor([[1.0, 1.0], [1.0, 0.0]]), torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(vector, torch.tensor([2.0, 0.0]))
    assert weights[0] == 0 < weights[1]
    vector, weights = shortest(torch.eye(2), torch.tensor([-1.0, -2.0]))
    assert not vector.any() and weights == [0, 0]


def test_levels_fall_to_the_bound_by_equal_factors() -> None:
    found = [level(8.0, finished, 3) for finished in (0.0, 0.2, 0.34, 0.66, 0.67, 0.99, 1.0)]
    assert found == pytest.approx([4, 4, 2, 2, 1, 1, 1])
    assert level(0.5, 0.0, 3) == 1


@pytest.mark.parametrize("limit", [90.0, 150.0, 220.0])
def test_an_adapting_multiplier_settles_at_the_budget(limit) -> None:
    """Scores that ask for the most expensive operation; its expected cost ends within 3 %."""
    space = SPACES["nasbench201"]
    found = tables(space)
    bounds = Budgets.read([f"params={limit}"], found, space)
    expensive = found["params"].unit()[0].float()
    logits = nn.Parameter(torch.zeros(6, 5))
    optimizer = torch.optim.Adam([logits], 0.02)
    multipliers, generator = torch.zeros(1), rng(8)
    spent = []
    for _ in range(1500):
        probs = logits.softmax(dim=-1)
        noisy = expensive + 0.1 * torch.randn(expensive.shape, generator=generator)
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


@pytest.mark.parametrize(
    "text",
    ["params", "params=0", "params=-1", "params=1e999", "params=1x", "params=" + "9" * 10**6 + "!"],
)
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="write for example params=100k") as error:
        parse_bound(text)
    assert len(str(error.value)) < 200


def test_bounds_by_hand() -> None:
    assert parse_bound("params=2.5k") == ("params", 2500.0)
    assert parse_bound("latency=3 s") == ("latency", 3000.0)
    assert parse_bound("flops=1e6") == ("flops", 1e6)
