"""Relaxations: laws of their draws, gradients by hand, temperatures."""

import math

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import Tensor

from cells.space import SPACES
from nas.architecture.distribution import edge_shares
from nas.architecture.relaxations import (
    RELAXATIONS,
    SCHEDULES,
    Relaxed,
    gumbel_noise,
)

EDGES, OPS, BATCH = 4, 5, 3


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_logits(scale: float = 1.0) -> Tensor:
    logits = torch.randn(EDGES, OPS, generator=rng(11), dtype=torch.float64)
    return (scale * logits).requires_grad_()


def relax(name: str, logits: Tensor, temperature: float = 1.0, seed: int = 0) -> Relaxed:
    relaxation = RELAXATIONS[name]()
    return relaxation(logits, relaxation.noise(EDGES, OPS, BATCH, rng(seed)), temperature)


every_relaxation = pytest.mark.parametrize("name", RELAXATIONS)
TEMPERED = ("softmax", "gumbel", "gumbel_example", "straight_through")
"""Relaxations that are a softmax of logits and noise."""


@every_relaxation
@pytest.mark.parametrize("temperature", [0.01, 0.3, 1.0, 10.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_those_of_the_shape_that_is_promised(name, temperature, scale, dtype) -> None:
    weights, active = relax(name, random_logits(scale).to(dtype), temperature)
    assert weights.shape == ((BATCH,) if name == "gumbel_example" else ()) + (EDGES, OPS)
    assert weights.dtype == dtype and (weights >= 0).all()
    total = weights.sum(dim=-1)
    if name == "sigmoid":  # each operation by itself
        assert (weights <= 1).all()
    else:
        torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-6, atol=0)
    assert (active is not None) == RELAXATIONS[name]().sampled


@every_relaxation
def test_passes_of_a_step_share_their_noise_and_steps_do_not(name) -> None:
    logits, relaxation = random_logits(), RELAXATIONS[name]()
    first, again, other = (relaxation.noise(EDGES, OPS, BATCH, rng(seed)) for seed in (1, 1, 2))
    one = relaxation(logits, first, 1.0).weights
    assert torch.equal(one, relaxation(logits, again, 1.0).weights)
    assert torch.equal(one, relaxation(logits, other, 1.0).weights) == (first is None)


@pytest.mark.parametrize("name", TEMPERED)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_gradient_is_that_of_the_tempered_softmax(name, temperature) -> None:
    """d(v·s)/dz = s (v − s·v) / T for s = softmax(z / T), written out by hand."""
    logits, relaxation = random_logits(), RELAXATIONS[name]()
    noise = relaxation.noise(EDGES, OPS, BATCH, rng())
    weights, _ = relaxation(logits, noise, temperature)
    v = torch.randn(weights.shape, generator=rng(3), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((v * weights).sum(), logits)

    z = logits.detach().numpy() + (0.0 if noise is None else noise.double().numpy())
    s = np.exp(z / temperature) / np.exp(z / temperature).sum(axis=-1, keepdims=True)
    by_hand = s * (v.numpy() - (s * v.numpy()).sum(axis=-1, keepdims=True)) / temperature
    by_hand = by_hand.reshape(-1, EDGES, OPS).sum(axis=0)  # A batch shares the logits.
    np.testing.assert_allclose(gradient.numpy(), by_hand, atol=1e-13)


def test_softmax_weights_are_those_of_the_formula() -> None:
    z = np.exp(random_logits().detach().numpy() / 0.7)
    weights, _ = relax("softmax", random_logits(), 0.7)
    np.testing.assert_allclose(weights.detach().numpy(), z / z.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("name", ["softmax", "gumbel", "gumbel_example"])
def test_low_temperature_is_one_hot_and_high_is_uniform(name) -> None:
    relaxation, logits = RELAXATIONS[name](), random_logits()
    noise = relaxation.noise(EDGES, OPS, BATCH, rng())
    cold, warm, hot = (relaxation(logits, noise, t).weights for t in (1e-3, 1.0, 1e6))
    expected = torch.nn.functional.one_hot(warm.argmax(dim=-1), OPS).double()
    torch.testing.assert_close(cold, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(hot, torch.full_like(hot, 1 / OPS), rtol=1e-4, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_straight_through_is_exactly_one_hot(dtype) -> None:
    seen = set()
    for seed in range(200):
        weights, active = relax("straight_through", random_logits().to(dtype), 0.7, seed)
        assert active is not None and len(active) == EDGES and weights.requires_grad
        rows = [[float(op == chosen) for op in range(OPS)] for chosen in active]
        assert weights.tolist() == rows
        seen.add(active)
    assert len(seen) > 50


def test_straight_through_chooses_where_gumbel_is_largest() -> None:
    for seed in range(20):
        soft = relax("gumbel", random_logits(), 0.7, seed).weights
        hard = relax("straight_through", random_logits(), 0.7, seed)
        assert hard.active == tuple(soft.argmax(dim=-1).tolist())


@pytest.mark.parametrize("name", ["gumbel", "gumbel_example", "straight_through"])
def test_argmax_frequencies_are_the_softmax(name) -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0, 0.5, -2.0], [0.0, 0.0, 0.0, 3.0, -1.0]])
    relaxation, generator, draws = RELAXATIONS[name](), rng(7), 20_000
    rows = logits.repeat(draws, 1)  # as if they were so many edges
    weights, _ = relaxation(rows, relaxation.noise(len(rows), OPS, 1, generator), 0.3)
    chosen = weights.reshape(-1, 2, OPS).argmax(dim=-1)
    counts = torch.nn.functional.one_hot(chosen, OPS).sum(dim=0).numpy()
    for edge in range(2):
        expected = draws * torch.softmax(logits[edge].double(), dim=0).numpy()
        assert stats.chisquare(counts[edge], expected).pvalue > 0.01


@every_relaxation
def test_log_probs_are_those_of_the_mean_weights(name) -> None:
    """For Gumbel-softmax in the limit of low temperatures."""
    logits = torch.tensor([[0.0, 1.0, -1.0, 0.5, -2.0], [0.0, 0.0, 0.0, 3.0, -1.0]])
    relaxation, generator, draws = RELAXATIONS[name](), rng(5), 4000
    cold = 1.0 if name in ("softmax", "sigmoid") else 0.01
    rows = logits.repeat(draws, 1)  # as if they were so many edges
    weights, _ = relaxation(rows, relaxation.noise(len(rows), OPS, 1, generator), cold)
    mean, expected = weights.reshape(-1, 2, OPS).mean(dim=0), relaxation.log_probs(logits).exp()
    torch.testing.assert_close(mean, expected, rtol=0, atol=0.025)


@every_relaxation
def test_kl_is_that_of_its_distribution(name) -> None:
    """Sums and integrals written out; 0 at the flat distribution, whose logits are all 0."""
    logits, relaxation = random_logits().detach(), RELAXATIONS[name]()
    found = relaxation.kl(relaxation.log_probs(logits), logits)
    z = logits.numpy()
    if name == "sigmoid":
        p = 1 / (1 + np.exp(-z))
        by_hand = (p * np.log(2 * p) + (1 - p) * np.log(2 * (1 - p))).sum()
    elif name == "dirichlet":  # Σ (c − 1)(ψ(c) − ψ(Σc)) − log B(c) + log B(1)
        c = np.where(z < 0, np.exp(z), 1 + z)
        total = c.sum(axis=1, keepdims=True)
        inner = ((c - 1) * (special.digamma(c) - special.digamma(total))).sum(axis=1)
        by_hand = (
            inner - special.gammaln(c).sum(axis=1) + special.gammaln(total[:, 0])
            - special.gammaln(OPS)
        ).sum()  # fmt: skip
    else:
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        by_hand = (p * np.log(OPS * p)).sum()
    assert float(found) == pytest.approx(by_hand, rel=1e-9)
    flat = torch.zeros(EDGES, OPS, dtype=torch.float64)
    assert float(relaxation.kl(relaxation.log_probs(flat), flat)) == pytest.approx(0, abs=1e-12)


def test_dirichlet_gradients_are_pathwise_and_unbiased() -> None:
    """d/dh E[v·w] = d/dh (v·c / Σc), c = 1 + elu(h), from the mean over many draws."""
    logits = torch.tensor([[0.4, -1.2, 1.5, -0.1]], dtype=torch.float64, requires_grad=True)
    v = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    relaxation, generator = RELAXATIONS["dirichlet"](), rng(2)
    c = torch.where(logits < 0, logits.exp(), 1 + logits)
    (expected,) = torch.autograd.grad((v * c).sum() / c.sum(), logits)
    rows = logits.detach().repeat(6000, 1).requires_grad_()  # as if they were so many edges
    weights, _ = relaxation(rows, relaxation.noise(len(rows), 4, 1, generator), 1.0)
    (draws,) = torch.autograd.grad((v * weights).sum(), rows)
    error = draws.std(dim=0) / len(draws) ** 0.5
    assert ((draws.mean(dim=0) - expected[0]).abs() < 4 * error).all()
    assert float(error.max()) < 0.0025 and float(expected.abs().max()) > 0.3


def test_dirichlet_draws_follow_their_marginals_and_leave_the_global_stream_alone() -> None:
    logits = torch.tensor([[0.7, -0.5, 0.0]])
    relaxation, generator = RELAXATIONS["dirichlet"](), rng(4)
    before = torch.random.get_rng_state()
    rows = logits.repeat(3000, 1)  # as if they were so many edges
    drawn = relaxation(rows, relaxation.noise(len(rows), 3, 1, generator), 1.0).weights[:, 0]
    assert torch.equal(torch.random.get_rng_state(), before)
    rest = math.exp(-0.5) + 1.0
    assert stats.kstest(drawn, stats.beta(1.7, rest).cdf).pvalue > 0.01


def test_sigmoid_weighs_each_operation_by_itself() -> None:
    logits = torch.tensor([[0.0, 2.0, -2.0]])
    weights, _ = RELAXATIONS["sigmoid"]()(logits, None, 0.5)
    expected = [[0.5, 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(4))]]
    torch.testing.assert_close(weights, torch.tensor(expected))


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_edge_shares_are_a_softmax_over_the_inputs_of_every_node(space) -> None:
    logits = torch.randn(2, space.num_edges, generator=rng(), dtype=torch.float64)
    shares = edge_shares(space, logits)
    for kind in space.kinds:
        first = space.first_edge(kind)
        for target in {t for _, t in space.cell_edges}:
            rows = [first + i for i, (_, t) in enumerate(space.cell_edges) if t == target]
            torch.testing.assert_close(shares[:, rows], logits[:, rows].softmax(dim=1))


def test_noise_is_standard_gumbel_and_finite() -> None:
    noise = gumbel_noise((1_000_000,), rng()).double()
    assert noise.isfinite().all()
    assert noise.mean().item() == pytest.approx(0.5772156649, abs=0.005)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, abs=0.02)
    assert stats.kstest(noise[:20_000].numpy(), stats.gumbel_r.cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        ("linear", [10.0, 7.75, 5.5, 1.0]),
        ("exponential", [10.0, 10**0.75, 10**0.5, 1.0]),
        ("constant", [10.0] * 4),
    ],
)
def test_temperature_schedules(schedule, values) -> None:
    found = [SCHEDULES[schedule](f, 10.0, 1.0) for f in (0, 0.25, 0.5, 1)]
    assert found == pytest.approx(values, rel=1e-12)


@pytest.mark.parametrize("schedule", ["linear", "exponential"])
def test_schedules_are_exact_at_both_ends(schedule) -> None:
    assert SCHEDULES[schedule](0.0, 2.7, 0.03) == 2.7
    assert SCHEDULES[schedule](1.0, 2.7, 0.03) == 0.03


def test_a_dirichlet_of_what_is_no_number_is_none() -> None:
    relaxation = RELAXATIONS["dirichlet"]()
    logits = torch.zeros(3, 4)
    logits[1, 2] = math.nan
    noise = relaxation.noise(3, 4, 1, torch.Generator())
    assert not relaxation(logits, noise, 1.0).weights.isfinite().all()
    raw, log_probs = logits, relaxation.log_probs(logits)
    assert not relaxation.kl(log_probs, raw).isfinite().all()
