"""The range of λ."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cells.errors import InputError
from nas.hypernets.lambda_range import LEAST_WIDTH, LambdaRange

exponents = st.floats(-300, 300)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ((-0.5,), (1.0,), "λ must be positive and finite, got -0.5"),
        ((0.0,), (1.0,), "λ must be positive and finite, got 0.0"),
        ((math.nan,), (1.0,), "λ must be positive and finite, got nan"),
        ((1.0,), (math.nan,), "λ must be positive and finite, got nan"),
        ((1.0,), (math.inf,), "λ must be positive and finite, got inf"),
        ((0.1, 2.0), (1.0, 1.0), "empty range of λ: low 2.0 is above high 1.0; swap them"),
        ((1.0,), (1.0 + 2**-52,), "range of λ from 1.0 to 1.0000000000000002 is too narrow: widen"),
        ((0.1, 2.0), (1.0,), "one low and one high bound per cost, got 2 low and 1 high"),
        ((), (), "one low and one high bound per cost, got none"),
    ],
)
def test_bad_ranges_get_one_line(low, high, message) -> None:
    with pytest.raises(InputError) as error:
        LambdaRange(low, high)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("lam", [0.09, 10.1, math.nan, -1.0, math.inf])
def test_a_lambda_that_was_not_searched_is_refused(lam) -> None:
    with pytest.raises(InputError, match=r"outside the searched range 0\.1 … 10") as error:
        LambdaRange((0.1,), (10.0,)).check([lam])
    assert str(lam) in str(error.value) and "\n" not in str(error.value)


def test_check_accepts_both_ends_and_counts_costs() -> None:
    lambdas = LambdaRange((0.1, 2.0), (10.0, 2.0))
    lambdas.check([0.1, 2.0])
    lambdas.check([10.0, 2.0])
    with pytest.raises(InputError, match="2 costs with a λ each, got 1"):
        lambdas.check([1.0])


def test_n_draws_are_n_different_lambdas(generator) -> None:
    draws = LambdaRange((1e-3, 1e-2), (10.0, 1.0)).sample(1000, generator)
    assert draws.shape == (1000, 2) and draws.dtype == torch.float64
    assert len(draws[:, 0].unique()) == len(draws[:, 1].unique()) == 1000
    # Independent costs: the correlation of 1000 independent pairs has standard deviation 0.032.
    assert abs(torch.corrcoef(draws.log().T)[0, 1]) < 0.1


def test_draws_are_log_uniform(generator) -> None:
    lambdas = LambdaRange((1e-3, 5.0), (10.0, 6.0))
    draws = lambdas.sample(5000, generator)
    for axis in range(2):
        low, high = lambdas.low[axis], lambdas.high[axis]
        law = stats.uniform(math.log(low), math.log(high / low))
        assert stats.kstest(draws[:, axis].log().numpy(), law.cdf).pvalue > 0.01
        assert draws[:, axis].min() >= low and draws[:, axis].max() <= high


def test_spread_draws_have_one_in_each_part_of_every_axis(generator) -> None:
    lambdas = LambdaRange((1e-3, 5.0, 2.0), (10.0, 6.0, 2.0))
    draws = lambdas.spread(50, generator)
    units = lambdas.unit(draws)
    for axis in range(2):
        assert (50 * units[:, axis]).long().sort().values.tolist() == list(range(50))
    assert units[:, 0].tolist() == sorted(units[:, 0].tolist()) != units[:, 1].tolist()
    assert (draws[:, 2] == 2.0).all()
    assert abs(torch.corrcoef(units[:, :2].T)[0, 1]) < 0.4
    assert not torch.equal(draws, lambdas.spread(50, generator))


def test_the_seed_decides_the_draws() -> None:
    lambdas = LambdaRange((1e-3,), (10.0,))
    first, again, other = (lambdas.sample(3, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_single_lambda_is_drawn_exactly_and_has_position_0(generator) -> None:
    lambdas = LambdaRange((0.3, 1e-3), (0.3, 1.0))
    draws = lambdas.sample(100, generator)
    assert (draws[:, 0] == 0.3).all() and len(draws[:, 1].unique()) == 100
    assert (lambdas.unit(draws)[:, 0] == 0).all()


def test_tiny_lambdas_stay_positive(generator) -> None:
    """In float32 1e-46 is 0."""
    lambdas = LambdaRange((1e-46,), (1e-40,))
    draws = lambdas.sample(100, generator)
    assert (draws >= 1e-46).all() and draws.log().isfinite().all()
    assert lambdas.grid(3)[:, 0].tolist() == pytest.approx([1e-46, 1e-43, 1e-40], rel=1e-12, abs=0)


def test_positions_are_those_of_log_lambda() -> None:
    lambdas = LambdaRange((1e-3, 0.5), (10.0, 0.5))
    units = lambdas.unit(torch.tensor([[1e-3, 0.5], [1e-2, 0.5], [0.1, 0.5], [10.0, 0.5]]).double())
    assert units.flatten().tolist() == pytest.approx([0, 0, 0.25, 0, 0.5, 0, 1, 0], abs=1e-7)


@given(exponents, exponents, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_position_and_lambda_are_inverse_and_exact_at_the_ends(one, other, inside) -> None:
    low, high = 10 ** min(one, other), 10 ** max(one, other) * 1.001
    lambdas = LambdaRange((low,), (high,))
    units = torch.tensor([[0.0], [1.0], *([u] for u in inside)], dtype=torch.float64)
    lams = lambdas.lam(units)
    assert lams[0].item() == low and lams[1].item() == high
    assert (lams >= low).all() and (lams <= high).all()
    back = lambdas.unit(lams)
    assert back[0].item() == 0.0 and back[1].item() == 1.0
    torch.testing.assert_close(lambdas.lam(back), lams, rtol=1e-12, atol=0)


def test_grid_is_evenly_spaced_in_log_lambda_with_exact_ends() -> None:
    grid = LambdaRange((1e-3,), (10.0,)).grid(5)
    assert grid.shape == (5, 1) and grid[0].item() == 1e-3 and grid[-1].item() == 10.0
    assert grid[:, 0].tolist() == pytest.approx([1e-3, 1e-2, 0.1, 1, 10], rel=1e-12)


@pytest.mark.parametrize("low", [1e-300, 1.0, 1e300])
def test_the_lambdas_of_a_grid_differ_in_the_narrowest_range(low) -> None:
    grid = LambdaRange((low,), (low * (1 + 1.01 * LEAST_WIDTH),)).grid(10_000)
    assert len(grid.unique()) == 10_000


def test_grid_of_several_costs_is_an_ascending_product() -> None:
    lambdas = LambdaRange((1.0, 2.0, 1.0), (4.0, 2.0, 100.0))
    expected = [[a, 2, b] for a in (1, 2, 4) for b in (1, 10, 100)]
    # The fixed λ adds no points: ⌈7^(1/2)⌉ = 3 per axis.
    assert lambdas.grid(7).tolist() == [pytest.approx(row, rel=1e-12) for row in expected]
    assert len(LambdaRange((1.0,) * 3, (2.0,) * 3).grid(64)) == 64


def test_grid_of_one_point_is_one_point() -> None:
    assert LambdaRange((0.3, 2.0), (7.0, 3.0)).grid(1).tolist() == [[0.3, 2.0]]
    assert LambdaRange((0.3, 7.0), (0.3, 7.0)).grid(10).tolist() == [[0.3, 7.0]]
