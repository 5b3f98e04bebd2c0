"""Prices: likelihood and costs as one loss, against the formulas and their derivatives."""

import math

import pytest
import torch

from nas.objective.prices import PRICES, additive, product

NLL, LAMS = torch.tensor(1.7, dtype=torch.float64), torch.tensor([0.6, 0.2], dtype=torch.float64)
COSTS = torch.tensor([120.0, 3e4], dtype=torch.float64)


def test_the_sum_is_that_of_the_bound() -> None:
    loss, scale, pull = additive(NLL, LAMS, COSTS)
    assert float(loss) == pytest.approx(1.7 + 0.6 * 120 + 0.2 * 3e4)
    assert (float(scale), float(pull)) == (1, pytest.approx(1.8))


def test_the_product_is_fbnets() -> None:
    """CE · α · log(LAT)^β with the paper's α = 0.2, β = 0.6."""
    loss, scale, _ = product(NLL, LAMS[:1], COSTS[:1])
    assert float(loss) == pytest.approx(1.7 * 0.2 * math.log(120) ** 0.6)
    assert float(loss / scale) == pytest.approx(1.7)  # the weights' steps are those of any search


def test_divided_by_its_pull_the_product_is_a_sum_with_a_price_that_adapts() -> None:
    """∇(L / pull) = ∇nll + nll Σ_k λ_k ∇C_k / (C_k log C_k)."""
    nll, costs = NLL.clone().requires_grad_(), COSTS.clone().requires_grad_()
    loss, _, pull = product(nll, LAMS, costs)
    by_nll, by_costs = torch.autograd.grad(loss / pull, (nll, costs))
    assert float(by_nll) == pytest.approx(1)
    expected = 1.7 * LAMS / (COSTS * COSTS.log())
    torch.testing.assert_close(by_costs, expected)


@pytest.mark.parametrize("name", PRICES)
def test_more_cost_is_more_loss(name) -> None:
    more, less = (PRICES[name](NLL, LAMS, COSTS * factor).loss for factor in (2.0, 1.0))
    assert float(more) > float(less)
