"""Perturbations inside their ball, attacks that raise the loss."""

import pytest
import torch
from torch import Tensor

from nas.architecture.relaxations import perturbed
from nas.optim.perturbation import adversarial, random_in_ball


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_random_perturbations_fill_the_ball_evenly() -> None:
    drawn = random_in_ball((20_000, 2), 0.3, rng())
    assert float(drawn.abs().max()) <= 0.3
    assert drawn.mean(dim=0).abs().max() < 0.005
    assert float(drawn.var()) == pytest.approx(0.3**2 / 3, rel=0.03)  # of a uniform variable


def softmax(seed: int, edges: int = 6, ops: int = 5) -> Tensor:
    return torch.randn(edges, ops, generator=rng(seed), dtype=torch.float64).softmax(dim=-1)


def test_perturbed_weights_are_clamped_and_divided_by_their_sum() -> None:
    """The authors' rule, by hand; the gradient is that of the plain sum."""
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.4, 0.4, 0.2]], requires_grad=True)
    delta = torch.tensor([[0.1, -0.4, 0.2], [-0.2, 0.1, 0.3], [-0.5, -0.6, -0.7]])
    found = perturbed(weights, delta)
    by_hand = torch.tensor([[0.6, 0.0, 0.4], [0.0, 0.2 / 1.2, 1.0 / 1.2], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(found, by_hand)
    slope = torch.randn(3, 3, generator=rng(1))
    (grad,) = torch.autograd.grad((slope * found).sum(), weights)
    assert torch.equal(grad, slope)


def test_perturbed_weights_add_up_to_one() -> None:
    for seed in range(20):
        delta = random_in_ball((6, 5), 0.3, rng(seed)).double()
        found = perturbed(softmax(seed), delta)
        assert float(found.min()) >= 0
        torch.testing.assert_close(found.sum(dim=-1), torch.ones(6, dtype=torch.float64))
    sigmoids = torch.tensor([[0.9, 0.8]])
    torch.testing.assert_close(
        perturbed(sigmoids, torch.tensor([[0.2, 0.1]]), sum_to_one=False),
        torch.tensor([[1.0, 0.9]]),
    )


def test_an_attack_on_a_linear_loss_finds_the_corner() -> None:
    """Two radii of steps lead from any point of the ball to any corner."""
    slope = torch.randn(6, 5, generator=rng(1))
    start = random_in_ball((6, 5), 0.2, rng(2))
    found = adversarial(lambda delta: (slope * delta).sum(), lambda delta: delta, start, 0.2)
    torch.testing.assert_close(found, 0.2 * slope.sign())


def test_an_attack_begins_each_step_where_the_weights_have_landed() -> None:
    weights, slope = softmax(3), torch.randn(6, 5, generator=rng(4), dtype=torch.float64)
    radius = 0.3
    delta = start = random_in_ball((6, 5), radius, rng(5)).double()

    def loss(delta: Tensor) -> Tensor:
        return (slope * perturbed(weights, delta)).sum()

    found = adversarial(loss, lambda delta: perturbed(weights, delta) - weights, start, radius)
    for _ in range(7):
        delta = perturbed(weights, delta) - weights + 2 / 7 * radius * slope.sign()
        delta = delta.clamp(-radius, radius)
    torch.testing.assert_close(found, delta)


def test_an_attack_stays_in_the_ball_and_raises_the_loss() -> None:
    matrix = torch.randn(30, 30, generator=rng(3))

    def loss(delta: Tensor) -> Tensor:
        return (matrix @ delta.flatten() - 1).square().sum()

    for seed in range(10):
        start = random_in_ball((6, 5), 0.1, rng(seed))
        found = adversarial(loss, lambda delta: delta, start, 0.1)
        assert float(found.abs().max()) <= 0.1 + 1e-7
        assert float(loss(found)) > float(loss(start))


def test_an_attack_that_lowers_the_loss_is_dropped() -> None:
    """From δ = 0 every step leads away, the gradient there being no guide."""

    def loss(delta: Tensor) -> Tensor:
        return delta.sum() - 10 * delta.abs().detach().sum()

    found = adversarial(loss, lambda delta: delta, torch.zeros(2, 3), 0.1)
    assert torch.equal(found, torch.zeros(2, 3))
