"""Hypernetworks: each against its formula, the Gibbs form against its promises."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor

from cells.errors import InputError
from nas.hypernets.forms import HYPERNETS, Gibbs, Hypernet, LowRank, PiecewiseLinear, build_hypernet

EDGES, OPS = 6, 5


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(name: str, num_costs: int = 1, seed: int = 0, **options) -> Hypernet:
    """A float64 hypernetwork for 6 edges and 5 operations, with random cost tables."""
    costs = 1e6 * torch.rand(num_costs, EDGES, OPS, generator=rng(99), dtype=torch.float64)
    options = {"costs": costs, "generator": rng(seed)} | options
    return build_hypernet(name, EDGES, OPS, num_costs, **options).double()


def randomise(net: Hypernet, seed: int = 1, scale: float = 1.0) -> None:
    """Moves every parameter away from where it starts."""
    generator = rng(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(scale * noise)


def units(count: int, num_costs: int, seed: int = 2) -> Tensor:
    return torch.rand(count, num_costs, generator=rng(seed), dtype=torch.float64)


every_form = pytest.mark.parametrize("name", HYPERNETS)
one_or_two_costs = pytest.mark.parametrize("num_costs", [1, 2])


@every_form
@one_or_two_costs
def test_a_batch_equals_one_lambda_at_a_time(name, num_costs) -> None:
    net = build(name, num_costs)
    randomise(net)
    batch = units(7, num_costs)
    logits = net(batch)
    assert logits.shape == (7, EDGES, OPS)
    one_by_one = torch.cat([net(row[None]) for row in batch])
    torch.testing.assert_close(logits, one_by_one, rtol=1e-12, atol=1e-12)


@every_form
def test_a_thousand_lambdas_take_no_more_operations_than_two(name) -> None:
    net = build(name, 2)
    counts = []
    for count in (2, 1000):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            net(units(count, 2))
        counts.append(sum(event.name.startswith("aten::") for event in profile.events()))
    assert counts[0] > 0 and counts[1] <= counts[0]


@every_form
@one_or_two_costs
def test_gradients_reach_every_parameter_at_the_start(name, num_costs) -> None:
    net = build(name, num_costs)
    grid = torch.cartesian_prod(*[torch.linspace(0, 1, 101).double()] * num_costs)
    probabilities = net(grid.reshape(-1, num_costs)).softmax(dim=-1)
    (probabilities * torch.randn(probabilities.shape, generator=rng(3))).sum().backward()
    for key, parameter in net.named_parameters():
        assert parameter.grad is not None and (parameter.grad != 0).all(), key


@every_form
def test_the_generator_decides_the_start(name) -> None:
    first, again, other = (build(name, seed=seed)(units(3, 1)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@every_form
def test_lambdas_in_float64_give_logits_in_the_dtype_of_the_parameters(name) -> None:
    net = build(name).float()
    assert net(units(2, 1)).dtype == torch.float32


@pytest.mark.parametrize("name", [name for name in HYPERNETS if name != "gibbs"])
@one_or_two_costs
def test_the_start_is_near_uniform_for_every_lambda(name, num_costs) -> None:
    probabilities = build(name, num_costs)(units(50, num_costs)).softmax(dim=-1)
    torch.testing.assert_close(
        probabilities, torch.full_like(probabilities, 1 / OPS), rtol=0.1, atol=0
    )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gibs", {}, "unknown hypernetwork 'gibs': did you mean 'gibbs'?"),
        ("piecewise", {"knots": 1}, "knots must be at least 2, got 1"),
        ("mlp", {"hidden": 0}, "hidden must be at least 1, got 0"),
        ("lowrank", {"rank": 0}, "rank must be at least 1, got 0"),
    ],
)
def test_bad_settings_get_one_line(name, options, message) -> None:
    with pytest.raises(InputError) as error:
        build(name, **options)
    assert message in str(error.value) and "\n" not in str(error.value)


# --- closed forms ---------------------------------------------------------------------------


def test_constant_does_not_see_lambda() -> None:
    net = build("constant", 2)
    assert (net(units(9, 2)) == net.table).all()


def test_linear_is_equation_7() -> None:
    net = build("linear", 2)
    randomise(net)
    slopes, table = net.slopes.detach().numpy(), net.table.detach().numpy()
    for u, logits in zip(units(4, 2).numpy(), net(units(4, 2)).detach().numpy(), strict=True):
        np.testing.assert_allclose(logits, u[0] * slopes[0] + u[1] * slopes[1] + table, atol=1e-14)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_lowrank_is_equation_6_and_has_its_rank(rank) -> None:
    net = build("lowrank", 2, rank=rank, hidden=10)
    assert isinstance(net, LowRank)
    randomise(net)
    weight, bias, first, second, table = (
        p.detach().numpy()
        for p in (net.weight, net.bias, net.edge_factors, net.op_factors, net.table)
    )
    for u, logits in zip(units(5, 2).numpy(), net(units(5, 2)).detach().numpy(), strict=True):
        f = np.maximum(u @ weight + bias, 0)
        product = sum(np.outer(f @ first[:, r], f @ second[:, r]) for r in range(rank))
        np.testing.assert_allclose(logits, product + table, atol=1e-12)
        assert np.linalg.matrix_rank(logits - table, tol=1e-9) == rank


def test_mlp_is_its_formula() -> None:
    net = build("mlp", 2, hidden=3)
    randomise(net)
    for u, logits in zip(units(4, 2), net(units(4, 2)), strict=True):
        expected = net.table
        for j in range(3):
            expected = expected + torch.tanh(u @ net.weight[:, j] + net.bias[j]) * net.readout[j]
        torch.testing.assert_close(logits, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("knots", [2, 3, 5, 11, 50, 94])
def test_piecewise_is_exact_at_every_knot(knots, dtype) -> None:
    """Includes u = 1, and counts for which (j / (K − 1)) · (K − 1) is not j."""
    net = build("piecewise", knots=knots).to(dtype)
    assert isinstance(net, PiecewiseLinear)
    randomise(net)
    at_knots = torch.tensor([[j / (knots - 1)] for j in range(knots)], dtype=torch.float64)
    assert torch.equal(net(at_knots), net.values[0])


def test_piecewise_interpolates_and_adds_over_costs() -> None:
    net = build("piecewise", 2, knots=4)
    randomise(net)
    values, batch = net.values.detach().numpy(), units(20, 2).numpy()
    knots = np.linspace(0, 1, 4)
    logits = net(units(20, 2)).detach().numpy()
    for e, o in itertools.product(range(EDGES), range(OPS)):
        expected = sum(np.interp(batch[:, k], knots, values[k, :, e, o]) for k in range(2))
        np.testing.assert_allclose(logits[:, e, o], expected, atol=1e-13)


# --- Gibbs ----------------------------------------------------------------------------------


def gibbs(num_costs: int = 1, **options) -> Gibbs:
    net = build("gibbs", num_costs, **options)
    assert isinstance(net, Gibbs)
    return net


@one_or_two_costs
@pytest.mark.parametrize("knots", [2, 5, 8])
def test_beta_starts_geometric_between_its_ends(num_costs, knots) -> None:
    net = gibbs(num_costs, knots=knots)
    ends = torch.linspace(0, 1, knots).double()[:, None].expand(-1, num_costs)
    expected = [0.05 * 60 ** (j / (knots - 1)) for j in range(knots)]
    for k in range(num_costs):
        assert net.beta(ends)[:, k].tolist() == pytest.approx(expected, rel=1e-5)


def test_gibbs_is_its_formula_with_scaled_costs() -> None:
    net = gibbs(2, knots=3)
    randomise(net)
    tables = 1e6 * torch.rand(2, EDGES, OPS, generator=rng(99), dtype=torch.float64).numpy()
    scaled = [c / max(row.max() - row.min() for row in c) for c in tables]
    scores, first, steps = (p.detach().numpy() for p in (net.scores, net.first, net.increments))
    logs = np.concatenate([first, np.logaddexp(0, steps)], axis=1).cumsum(axis=1)
    for u, logits in zip(units(6, 2).numpy(), net(units(6, 2)).detach().numpy(), strict=True):
        beta = [np.exp(np.interp(u[k], [0, 0.5, 1], logs[k])) for k in range(2)]
        expected = scores - beta[0] * scaled[0] - beta[1] * scaled[1]
        difference = logits - expected  # Only a constant per edge, which softmax does not see.
        np.testing.assert_allclose(
            difference, difference[:, :1].repeat(OPS, 1), rtol=1e-5, atol=1e-5
        )


def test_new_costs_replace_the_old_without_gradient() -> None:
    net, batch = gibbs(), units(3, 1)
    before = net(batch)
    costs = torch.rand(1, EDGES, OPS, generator=rng(5), dtype=torch.float64, requires_grad=True)
    net.set_costs(costs * 7 + 3)
    expected = gibbs(costs=costs.detach())(batch)
    torch.testing.assert_close(net(batch), expected, rtol=1e-6, atol=1e-6)
    # The graph of the call before is still whole, and none reaches the cost table.
    (before.sum() + net(batch).sum()).backward()
    assert costs.grad is None


def test_costs_are_saved_and_free_operations_only_are_no_division_by_zero() -> None:
    net = gibbs(costs=torch.full((1, EDGES, OPS), 3.0))
    torch.testing.assert_close(net(units(2, 1)), net.scores.expand(2, -1, -1), rtol=0, atol=0)
    other = gibbs()
    net.load_state_dict(other.state_dict())
    assert torch.equal(net(units(2, 1)), other(units(2, 1)))


def test_gibbs_maximises_expected_score_less_cost_plus_entropy() -> None:
    net = gibbs(knots=3)
    randomise(net, scale=1.5)
    unit = torch.tensor([[0.7]]).double()
    found = net(unit).softmax(dim=-1)[0].detach().numpy()
    gain = (net.scores - net.beta(unit) * net.costs[0]).detach().numpy()
    for edge in range(EDGES):

        def loss(p: np.ndarray, gain: np.ndarray = gain[edge]) -> float:
            return float(-(p @ gain) + (p * np.log(p)).sum())

        best = optimize.minimize(
            loss,
            np.full(OPS, 1 / OPS),
            bounds=[(1e-9, 1)] * OPS,
            constraints={"type": "eq", "fun": lambda p: p.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert best.success
        np.testing.assert_allclose(found[edge], best.x, atol=1e-5)


@st.composite
def gibbs_along_one_lambda(draw) -> tuple[Gibbs, Tensor, int, Tensor]:
    """A random Gibbs form, its unscaled costs, an axis, and λs that rise along that axis alone."""
    edges, ops = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    num_costs, knots = draw(st.integers(1, 3)), draw(st.integers(2, 7))
    generator = rng(draw(st.integers(0, 2**32)))
    costs = torch.rand(num_costs, edges, ops, generator=generator, dtype=torch.float64)
    costs = costs**3 * 10 ** draw(st.integers(-3, 9))
    net = build_hypernet(
        "gibbs", edges, ops, num_costs, knots=knots, costs=costs, generator=generator
    ).double()
    assert isinstance(net, Gibbs)
    net.set_costs(costs)
    randomise(net, draw(st.integers(0, 2**32)), draw(st.sampled_from([0.1, 1.0, 5.0, 30.0])))
    axis = draw(st.integers(0, num_costs - 1))
    row = torch.rand(1, num_costs, generator=generator, dtype=torch.float64)
    rising = row.repeat(40, 1)
    rising[:, axis] = torch.linspace(0, 1, 40)
    return net, costs, axis, rising


@given(gibbs_along_one_lambda())
def test_beta_is_non_negative_and_never_falls(case) -> None:
    net, _, axis, rising = case
    beta = net.beta(rising)[:, axis]
    assert (beta >= 0).all() and (beta.diff() >= 0).all()


@given(gibbs_along_one_lambda())
def test_expected_cost_never_rises_with_lambda(case) -> None:
    net, costs, axis, rising = case
    expected = (net(rising).softmax(dim=-1) * costs[axis]).sum(dim=(1, 2))
    assert (expected.diff() <= 1e-12 * costs[axis].sum()).all()


@given(gibbs_along_one_lambda(), st.integers(0, 2**32))
def test_the_most_probable_architecture_never_gets_more_expensive(case, seed) -> None:
    """Among all architectures, and among those that a random constraint allows."""
    net, costs, axis, rising = case
    edges, ops = net.scores.shape
    architectures = torch.tensor(list(itertools.product(range(ops), repeat=edges)))
    rows = torch.arange(edges)
    price = costs[axis][rows, architectures].sum(dim=1)
    log_q = net(rising).log_softmax(dim=-1)[:, rows, architectures].sum(dim=2)
    allowed = torch.rand(len(architectures), generator=rng(seed)) < 0.3
    allowed[0] = True
    for mask in (torch.ones_like(allowed), allowed):
        chosen = log_q.masked_fill(~mask, -math.inf).argmax(dim=1)
        assert (price[chosen].diff() <= 1e-9 * price.max()).all()


def test_the_slope_of_the_expected_cost_is_minus_its_variance() -> None:
    """The identity of the docstring, by automatic differentiation."""
    scores = torch.randn(EDGES, OPS, generator=rng(6), dtype=torch.float64)
    costs = torch.rand(EDGES, OPS, generator=rng(7), dtype=torch.float64)
    beta = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    p = (scores - beta * costs).softmax(dim=-1)
    (slope,) = torch.autograd.grad((p * costs).sum(), beta)
    mean = (p * costs).sum(dim=1, keepdim=True)
    variance = (p * (costs - mean) ** 2).sum()
    assert slope.item() == pytest.approx(-variance.item(), rel=1e-12)
