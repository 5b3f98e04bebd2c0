"""λ learned through a best response: ridge regression, where that is known in closed form."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from nas.hypernets.forms import Hypernet, build_hypernet
from nas.hypernets.lambda_range import LambdaRange
from nas.optim.best_response import Descent, descend, hypergradient, near
from nas.runtime.streams import stream

RANGE = LambdaRange((0.1,), (1000.0,))
WIDTH = math.log(1e4)
"""Of the range, in units of log λ."""


class Ridge:
    """Training loss ½ |y − Xw|² + ½ λ |w|², validation loss the half mean of squares."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)

        def part(count: int) -> tuple[Tensor, Tensor]:
            x = torch.randn(count, 4, generator=generator, dtype=torch.float64)
            x = x * torch.tensor([4.0, 2.0, 1.0, 0.5])
            noise = torch.randn(count, generator=generator, dtype=torch.float64)
            return x, x @ torch.tensor([0.3, 0.5, -0.4, 0.8], dtype=torch.float64) + 2 * noise

        (self.x, self.y), (self.val_x, self.val_y) = part(30), part(200)

    def training_loss(self, w: Tensor, lams: Tensor) -> Tensor:
        errors = self.y - w @ self.x.T
        return (errors.square().sum(dim=-1) + lams * w.square().sum(dim=-1)) / 2

    def validation_loss(self, w: Tensor) -> Tensor:
        return (self.val_y - w @ self.val_x.T).square().mean(dim=-1) / 2

    def best_response(self, unit_lams: Tensor) -> Tensor:
        """(XᵀX + λI)⁻¹ Xᵀy for positions (n,), (n, 4)."""
        lams = (math.log(RANGE.low[0]) + WIDTH * unit_lams).exp()
        penalised = self.x.T @ self.x + lams[:, None, None] * torch.eye(4, dtype=torch.float64)
        return torch.linalg.solve(penalised, (self.x.T @ self.y).expand(len(lams), 4))

    def best_position(self) -> float:
        """Where the validation loss of the best response is least, by a search along one axis."""
        found = minimize_scalar(
            lambda u: float(self.validation_loss(self.best_response(torch.tensor([u])))),
            bounds=(0, 1),
            method="bounded",
            options={"xatol": 1e-10},
        )
        return float(found.x)


RIDGE = Ridge()
BEST = RIDGE.best_position()


def through(hypernet: Hypernet) -> Callable[[Tensor], Tensor]:
    return lambda unit_lams: RIDGE.validation_loss(hypernet(unit_lams[:, None])[..., 0])


def exact_hypernet() -> Hypernet:
    """w*(λ) itself, as 1 / (s² + λ) = (1 − tanh((log λ − log s²) / 2)) / 2s² for eigenvalues s²."""
    hypernet = build_hypernet("mlp", 4, 1, 1, hidden=4, generator=stream(0, "h", 0)).double()
    values, vectors = torch.linalg.eigh(RIDGE.x.T @ RIDGE.x)
    scores = vectors * (vectors.T @ (RIDGE.x.T @ RIDGE.y) / values / 2)  # (weights, eigenvalues)
    with torch.no_grad():
        hypernet.weight.fill_(WIDTH / 2)
        hypernet.bias.copy_((math.log(RANGE.low[0]) - values.log()) / 2)
        hypernet.readout.copy_(-scores.T[..., None])
        hypernet.table.copy_(scores.sum(dim=1, keepdim=True))
    return hypernet


def trained(
    form: str, draw: Callable[[int], Tensor], after: Callable[[Hypernet, float], object], steps: int
) -> Hypernet:
    """min_φ E_λ L_train(w_φ(λ), λ) by Adam, for λs at the positions that `draw` gives a step.

    Args:
        after: does something at every step, with the share of the first rate that is left.
    """
    hypernet = build_hypernet(form, 4, 1, 1, knots=25, generator=stream(0, "h", 0)).double()
    optimizer = torch.optim.Adam(hypernet.parameters())
    for step in range(steps):
        left = (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.param_groups[0]["lr"] = 0.03 * left
        unit_lams = draw(step)
        lams = RANGE.lam(unit_lams[:, None])[:, 0]
        losses = RIDGE.training_loss(hypernet(unit_lams[:, None])[..., 0], lams)
        optimizer.zero_grad()
        (losses / (30 + lams)).mean().backward()
        optimizer.step()
        after(hypernet, left)
    return hypernet


def test_the_best_lam_lies_well_inside_the_range() -> None:
    """Or else the tests below would say little."""
    unit_lams = torch.tensor([0.0, BEST - 0.1, BEST, BEST + 0.1, 1.0])
    losses = RIDGE.validation_loss(RIDGE.best_response(unit_lams)).tolist()
    assert 0.6 < BEST < 0.8
    assert losses[0] > 1.1 * losses[2] < losses[4]
    assert losses[1] > losses[2] < losses[3]


def test_a_hypernetwork_can_be_ridge_regression_and_its_hypergradient_is_the_derivative() -> None:
    hypernet = exact_hypernet()
    unit_lams = torch.linspace(0, 1, 9, dtype=torch.float64)
    torch.testing.assert_close(
        hypernet(unit_lams[:, None])[..., 0], RIDGE.best_response(unit_lams), rtol=1e-10, atol=1e-12
    )
    losses, grads = hypergradient(through(hypernet), unit_lams)

    def exact(shift: float) -> Tensor:
        return RIDGE.validation_loss(RIDGE.best_response(unit_lams + shift))

    torch.testing.assert_close(losses, exact(0.0))
    torch.testing.assert_close(grads, (exact(1e-5) - exact(-1e-5)) / 2e-5, rtol=1e-7, atol=1e-8)
    best, least = descend(
        lambda units: hypergradient(through(hypernet), units), unit_lams, rate=0.05, steps=200
    )
    assert best.tolist() == pytest.approx([BEST] * 9, abs=1e-4)
    torch.testing.assert_close(
        least, exact(BEST).new_full((9,), float(least.min())), rtol=1e-6, atol=0
    )


def test_global_tuning_finds_the_best_lam_of_ridge_regression() -> None:
    """The response is learned for the whole range; then λ goes down through it."""

    def draw(step: int) -> Tensor:
        return RANGE.unit(RANGE.spread(4, stream(0, "lams", step)))[:, 0]

    hypernet = trained("piecewise", draw, lambda *_: None, 800)
    unit_lams = torch.linspace(0, 1, 25, dtype=torch.float64)
    with torch.no_grad():
        found = hypernet(unit_lams[:, None])[..., 0]
    torch.testing.assert_close(found, RIDGE.best_response(unit_lams), rtol=0, atol=0.01)
    best, _ = descend(
        lambda units: hypergradient(through(hypernet), units),
        torch.tensor([0.1, 0.9]),
        rate=0.05,
        steps=200,
    )
    assert best.tolist() == pytest.approx([BEST] * 2, abs=0.05 / WIDTH)


@pytest.mark.parametrize(("form", "start"), [("piecewise", 0.5), ("linear", 0.9)])
def test_local_tuning_finds_the_best_lam_of_ridge_regression(form: str, start: float) -> None:
    """The response is learned about λ̂ alone, while λ̂ moves."""
    descent = Descent(torch.tensor([start]))

    def draw(step: int) -> Tensor:
        return near(float(descent.unit_lams), 0.5 / WIDTH, 4, stream(0, "lams", step))

    def move(hypernet: Hypernet, left: float) -> None:
        descent.move(hypergradient(through(hypernet), descent.unit_lams)[1], 0.05 / WIDTH * left)

    hypernet = trained(form, draw, move, 800)
    assert descent.unit_lams.tolist() == pytest.approx([BEST], abs=0.1 / WIDTH)
    with torch.no_grad():
        found = hypernet(descent.unit_lams[:, None])[..., 0]
        torch.testing.assert_close(
            found, RIDGE.best_response(descent.unit_lams), rtol=0, atol=0.02
        )  # fmt: skip
        far = torch.tensor([0.0], dtype=torch.float64)  # where it was never asked
        assert float((hypernet(far[:, None])[..., 0] - RIDGE.best_response(far)).abs().max()) > 0.2


def test_at_a_knot_the_hypergradient_is_the_mean_of_both_sides() -> None:
    """That is, what central differences give; λ̂ must be able to leave a knot."""
    hypernet = build_hypernet("piecewise", 4, 1, 1, knots=5, generator=stream(0, "h", 0)).double()
    with torch.no_grad():
        hypernet.values.normal_(generator=stream(1, "h", 0))
    loss = through(hypernet)
    knots = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    _, grads = hypergradient(loss, knots)
    with torch.no_grad():
        wanted = (loss(knots + 1e-6) - loss(knots - 1e-6)) / 2e-6
    torch.testing.assert_close(grads, wanted, rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- pieces


def test_a_descent_stays_inside_and_goes_on_from_its_state() -> None:
    whole, halved = (Descent(torch.tensor([0.02, 0.5, 0.99])) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    grads = torch.randn(6, 3, generator=generator, dtype=torch.float64) + torch.tensor([3, 0, -3])
    for grad in grads:
        whole.move(grad, 0.05)
    assert whole.unit_lams[[0, 2]].tolist() == [0.0, 1.0]
    for grad in grads[:3]:
        halved.move(grad, 0.05)
    other = Descent(torch.zeros(3))
    other.restore(halved.state())
    for grad in grads[3:]:
        other.move(grad, 0.05)
    assert torch.equal(other.unit_lams, whole.unit_lams)


def test_a_descent_ends_at_the_best_that_it_met() -> None:
    """A rate far too large leaves the minimum where it started."""
    start = torch.tensor([0.5, 0.4], dtype=torch.float64)

    def slope(units: Tensor) -> tuple[Tensor, Tensor]:
        return (units - 0.5).square(), 2 * (units - 0.5) + 0.1

    best, least = descend(slope, start, rate=1.0, steps=1)
    assert best[0] == 0.5 and least[0] == 0.0
    again, same = descend(slope, start, rate=1.0, steps=0)
    assert torch.equal(again, start) and same.tolist() == pytest.approx([0.0, 0.01])


def test_draws_about_lam_are_log_normal() -> None:
    drawn = near(0.5, 0.05, 20000, stream(0, "lams", 0))
    assert float(drawn.mean()) == pytest.approx(0.5, abs=0.002)
    assert float(drawn.std()) == pytest.approx(0.05, rel=0.02)
    share = float(((drawn - 0.5).abs() < 0.05).double().mean())
    assert share == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.015)
    ends = near(0.0, 0.05, 1000, stream(0, "lams", 1))
    assert float(ends.min()) == 0.0 and float((ends == 0).double().mean()) == pytest.approx(
        0.5, abs=0.06
    )
