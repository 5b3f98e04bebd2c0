"""Evidence by draws of whole networks, against what is known in closed form."""

import math

import pytest
import torch

from cells.chain import Chain
from nas.data.batches import Examples
from nas.data.examples import Task
from nas.weight_search.evidence import evidence, means, negative_log_likelihood, quality
from nas.weights.posteriors import Posterior, Posteriors

CHAIN = Chain.parse((), (3,), 1)  # linear regression: everything is known
VARIANCE = 0.4


def regression(n: int = 60, std: float = 2.0) -> Task:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=generator)
    y = x @ torch.tensor([1.0, -0.5, 0.2]) + 0.3 * torch.randn(n, generator=generator)
    part = Examples(x, y)
    return Task("line", part, part, 1, True, 5.0, std)


def posteriors(*log_sigmas: float, log_noise: float = -0.5) -> Posteriors:
    count = len(log_sigmas)
    mean = torch.tensor([[0.9, -0.4, 0.1, 0.05]]).repeat(1, count, 1, 1)
    log_sigma = torch.tensor(log_sigmas)[None, :, None, None].expand(1, count, 1, 4)
    return Posteriors([Posterior(mean, log_sigma)], torch.full((1, count), log_noise))


def expected(task: Task, found: Posteriors, network: int) -> float:
    """E_q log p(y | x, w) of linear regression, in the target's own unit."""
    mean, log_sigma = (part[0, network, 0].double() for part in found.layers[0])
    noise = math.exp(2 * float(found.log_noise[0, network]))
    x = torch.cat([task.train.x, torch.ones(len(task.train), 1)], dim=1).double()
    error = (task.train.y.double() - x @ mean).square() + x.square() @ (2 * log_sigma).exp()
    logs = -error / (2 * noise) - math.log(2 * math.pi * noise) / 2
    return float(logs.sum()) - len(task.train) * math.log(task.target_std)


def test_evidence_is_the_closed_form() -> None:
    task, found = regression(), posteriors(-3.0, -2.0)
    lams = torch.tensor([1.0, 10.0])
    settings = {"prior_variance": VARIANCE, "draws": 800}
    ours = evidence(task, CHAIN, found, lams, task.train, **settings)
    for network, lam in enumerate(lams.tolist()):
        exact = expected(task, found, network)
        assert float(ours.log_likelihood[0, network]) == pytest.approx(exact, rel=0.02)
        kl = float(found.kl(VARIANCE)[0, network])
        assert float(ours.kl[0, network]) == pytest.approx(kl)
        difference = float(ours.log_likelihood[0, network] - ours.evidence[0, network])
        assert difference == pytest.approx(lam * kl, rel=1e-5)


def test_at_lam_1_no_posterior_exceeds_the_true_evidence() -> None:
    """log p(D) of Bayesian linear regression, which the bound reaches at best."""
    task = regression(std=1.0)
    x = torch.cat([task.train.x, torch.ones(len(task.train), 1)], dim=1).double()
    noise = math.exp(-1.0)
    covariance = VARIANCE * x @ x.T + noise * torch.eye(len(x), dtype=torch.float64)
    law = torch.distributions.MultivariateNormal(torch.zeros(len(x)).double(), covariance)
    true = float(law.log_prob(task.train.y.double()))
    precision = x.T @ x / noise + torch.eye(4, dtype=torch.float64) / VARIANCE
    best_mean = torch.linalg.solve(precision, x.T @ task.train.y.double() / noise)
    best_log_sigma = -precision.diagonal().log() / 2  # of independent weights
    q = Posterior(best_mean.float()[None, None, None], best_log_sigma.float()[None, None, None])
    best = Posteriors([q], torch.full((1, 1), -0.5))
    lam, settings = torch.ones(1), {"prior_variance": VARIANCE, "draws": 4000}
    reached = float(evidence(task, CHAIN, best, lam, task.train, **settings).evidence)
    assert true - 1.0 < reached < true + 0.2  # correlations are lost, and draws are a few
    worse = posteriors(-1.0)
    assert float(evidence(task, CHAIN, worse, lam, task.train, **settings).evidence) < true


def test_draws_repeat_by_seed() -> None:
    task, found = regression(), posteriors(-2.0)
    settings = {"prior_variance": VARIANCE, "draws": 2}
    one, same, other = (
        float(
            evidence(
                task, CHAIN, found, torch.ones(1), task.train, seed=seed, **settings
            ).log_likelihood
        )
        for seed in (0, 0, 1)
    )
    assert one == same != other


def test_quality_is_accuracy_or_error_in_the_targets_unit() -> None:
    task, found = regression(std=2.0), posteriors(-2.0)
    x = torch.cat([task.train.x, torch.ones(len(task.train), 1)], dim=1)
    error = 2 * (task.train.y - x @ found.layers[0].mean[0, 0, 0]).square().mean().sqrt()
    rmse = quality(task, CHAIN, means(found), task.train)
    assert float(rmse) == pytest.approx(float(error), rel=1e-5)
    chain = Chain.parse((), (2,), 3)
    examples = Examples(torch.eye(2).repeat(5, 1), torch.tensor([0, 2] * 4 + [1, 1]))
    task = Task("three", examples, examples, 3, False, 0.0, 1.0)
    table = torch.tensor([[[2.0, 0, 0], [0, 0, 1], [0, 3, 0]]])
    assert quality(task, chain, [table], examples).tolist() == [0.8]


def test_likelihoods_are_those_of_torch() -> None:
    torch.manual_seed(0)
    logits, y = torch.randn(2, 3, 7, 4), torch.randint(4, (2, 1, 7))
    ours = negative_log_likelihood(logits, y, None)
    laws = torch.distributions.Categorical(logits=logits)
    torch.testing.assert_close(ours, -laws.log_prob(y.expand(2, 3, 7)))
    outputs, targets, log_noise = torch.randn(2, 3, 7, 1), torch.randn(2, 1, 7), torch.randn(2, 3)
    ours = negative_log_likelihood(outputs, targets, log_noise)
    law = torch.distributions.Normal(outputs[..., 0], log_noise.exp()[..., None])
    torch.testing.assert_close(ours, -law.log_prob(targets.expand(2, 3, 7)))
