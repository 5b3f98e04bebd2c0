"""Largest eigenvalues against those of whole matrices, by torch."""

import math

import pytest
import torch
from torch import Tensor

from nas.optim import curvature
from nas.optim.curvature import Eigenvalue, top_eigenvalue


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spectrum(kind: str, size: int, seed: int) -> Tensor:
    """A symmetric matrix (size, size) float64 whose eigenvalues leave no gap, except `flat`."""
    root = torch.randn(size, size, generator=rng(seed), dtype=torch.float64)
    if kind == "gaussian":  # a semicircle
        return (root + root.T) / 2
    uniform = torch.rand(size, generator=rng(seed + 1), dtype=torch.float64)
    values = {
        "even": 2 * uniform - 1,
        "negative": 1.5 * uniform - 1,  # the lower end is twice as far from zero
        "below zero": -uniform.sort().values + uniform.min(),  # the largest is zero
        "flat": torch.full((size,), -1.0, dtype=torch.float64),
        "low rank": torch.where(torch.arange(size) < 3, uniform, 0.0),
    }
    basis = torch.linalg.qr(root).Q
    return basis @ torch.diag(values[kind]) @ basis.T


def quadratic(hessian: Tensor, seed: int = 0) -> Eigenvalue:
    """The largest eigenvalue that is found for xᵀHx / 2."""

    def loss(x: Tensor) -> Tensor:
        return x.flatten() @ hessian @ x.flatten() / 2

    return top_eigenvalue(loss, torch.ones(1, len(hessian), dtype=hessian.dtype), rng(seed))


@pytest.mark.parametrize("size", [1, 2, 5, 12, 13, 30, 112, 224])
@pytest.mark.parametrize("kind", ["gaussian", "even", "negative", "below zero", "flat", "low rank"])
def test_the_largest_eigenvalue_of_a_quadratic(kind: str, size: int) -> None:
    """In 20 draws each; Lanczos may stop at one of the next where they are almost as large."""
    errors = []
    for seed in range(20 if size < 100 else 5):
        matrix = spectrum(kind, size, 10 * seed)
        values = torch.linalg.eigvalsh(matrix)
        radius = float(values.abs().max()) or 1.0
        found = quadratic(matrix, seed)
        assert found.residual <= 1e-3 * radius + 1e-12
        assert float((values - found.value).abs().min()) <= found.residual + 1e-12
        errors.append(float(values[-1] - found.value) / radius)
    assert min(errors) > -1e-12  # no vector's quotient is above the largest
    assert sorted(errors)[len(errors) // 2] < 1e-5
    assert max(errors) < 0.01


@pytest.mark.parametrize("size", [5, 60])
def test_the_residual_is_that_of_the_vector(size: int, monkeypatch) -> None:
    """For any unit vector, and where Lanczos is stopped early."""
    matrix = spectrum("even", size, 3)
    values = torch.linalg.eigvalsh(matrix)
    monkeypatch.setattr(curvature, "TOLERANCE", 0.2)
    early = quadratic(matrix)
    assert float((values - early.value).abs().min()) <= early.residual + 1e-12
    assert early.residual > 1e-3 if size == 60 else early.residual < 1e-12
    vector = torch.nn.functional.normalize(torch.randn(size, generator=rng(1)).double(), dim=0)
    monkeypatch.setattr(curvature, "_top_vector", lambda product, start: vector.numpy())
    found = quadratic(matrix)
    assert found.value == pytest.approx(float(vector @ matrix @ vector))
    # ‖Hv − μv‖² = ‖Hv‖² − μ² for a unit vector
    square = float((matrix @ vector).square().sum()) - found.value**2
    assert found.residual == pytest.approx(square**0.5)


def test_what_lanczos_does_not_find_the_whole_matrix_tells(monkeypatch) -> None:
    """The two largest eigenvalues are too near to be told apart in few products."""
    matrix = spectrum("even", 60, 4)
    monkeypatch.setattr(curvature, "TOLERANCE", 1e-300)
    found = quadratic(matrix)
    assert found.value == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=1e-12)
    assert found.residual < 1e-12


def test_the_same_generator_finds_the_same() -> None:
    """To the bit, also where every vector is an eigenvector and ARPACK draws further ones."""
    matrix = spectrum("even", 60, 5)
    for same in (matrix, -torch.eye(60, dtype=torch.float64)):
        assert quadratic(same, 1) == quadratic(same, 1)
    assert quadratic(matrix, 1) != quadratic(matrix, 2)


def test_the_eigenvalue_is_that_of_the_mean_over_processes() -> None:
    """A reduction that adds another process's product, here that of minus half of the matrix."""
    matrix = spectrum("gaussian", 40, 6)
    found = top_eigenvalue(
        lambda x: x @ matrix @ x / 2,
        torch.ones(40, dtype=torch.float64),
        rng(),
        reduce=lambda tensors: tuple((x - 0.5 * x) / 2 for x in tensors),
    )
    expected = float(torch.linalg.eigvalsh(matrix)[-1]) / 4
    assert found.value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [3, 40])
def test_a_loss_without_curvature(size: int) -> None:
    point = torch.ones(size)
    for loss in (
        lambda x: 3 * x.sum(),  # a gradient without a graph
        lambda x: (x.detach() * x).sum() + 0 * x.square().sum(),
        lambda x: x.relu().square().sum() * 0,
    ):
        assert top_eigenvalue(loss, point, rng()) == (0, 0)


@pytest.mark.parametrize("size", [3, 40])
def test_a_hessian_that_is_not_finite_is_told(size: int) -> None:
    found = top_eigenvalue(lambda x: x.sqrt().sum(), torch.zeros(size), rng())
    assert math.isnan(found.value) and math.isnan(found.residual)
