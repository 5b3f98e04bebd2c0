"""Perturbations inside their ball, attacks that raise the loss, eigenvalues that are known."""

import pytest
import torch
from torch import Tensor

from nas.perturb import adversarial, random_in_ball, top_eigenvalue


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_random_perturbations_fill_the_ball_evenly() -> None:
    drawn = random_in_ball((20_000, 2), 0.3, rng())
    assert float(drawn.abs().max()) <= 0.3
    assert drawn.mean(dim=0).abs().max() < 0.005
    assert float(drawn.var()) == pytest.approx(0.3**2 / 3, rel=0.03)  # of a uniform variable


def test_an_attack_on_a_linear_loss_finds_the_corner() -> None:
    slope = torch.randn(6, 5, generator=rng(1))
    start = random_in_ball((6, 5), 0.2, rng(2))
    found = adversarial(lambda delta: (slope * delta).sum(), start, 0.2)
    torch.testing.assert_close(found, 0.2 * slope.sign())


def test_an_attack_stays_in_the_ball_and_raises_the_loss() -> None:
    matrix = torch.randn(30, 30, generator=rng(3))

    def loss(delta: Tensor) -> Tensor:
        return (matrix @ delta.flatten() - 1).square().sum()

    for seed in range(10):
        start = random_in_ball((6, 5), 0.1, rng(seed))
        found = adversarial(loss, start, 0.1)
        assert float(found.abs().max()) <= 0.1 + 1e-7
        assert float(loss(found)) > float(loss(start))


def test_power_iteration_finds_the_largest_eigenvalue_of_a_quadratic() -> None:
    root = torch.randn(12, 12, generator=rng(4), dtype=torch.float64)
    hessian = root + root.T

    def loss(x: Tensor) -> Tensor:
        return x.flatten() @ hessian @ x.flatten() / 2

    values = torch.linalg.eigvalsh(hessian)
    expected = values[values.abs().argmax()]
    found = top_eigenvalue(loss, torch.ones(3, 4, dtype=torch.float64), rng(), 400)
    assert found == pytest.approx(float(expected), rel=1e-6)


def test_a_linear_loss_has_no_curvature() -> None:
    assert top_eigenvalue(lambda x: 3 * x.sum(), torch.ones(3), rng()) == 0
