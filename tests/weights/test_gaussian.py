"""Gaussian weights: their KL, and noise on outputs in place of noise on weights."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call, vmap

from cells.cell import Skeleton
from cells.space import find_space
from cells.supernet import Supernet
from nas.weights.gaussian import GaussianLayer, kl, to_gaussian

PRIOR_VARIANCE = 0.3


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def gaussian(layer: nn.Module, sigma: float = 0.1, *, spread: float = 0.5) -> nn.Module:
    """Makes layers Gaussian, in float64, with means and deviations that all differ."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        layer = GaussianLayer(layer.double(), rng(1), sigma)
    else:
        to_gaussian(layer.double(), rng(1), sigma=sigma)
    generator = rng(2)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if "log_sigma" in name:
                parameter.add_(spread * noise)
            else:
                parameter.copy_(0.4 * noise)
    return layer


def means_and_sigmas(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Mean and deviation of every weight and bias inside a module."""
    return [
        (getattr(layer, name).detach(), getattr(layer, log_sigma).detach().exp())
        for layer in module.modules()
        for name, log_sigma in (("weight", "log_sigma"), ("bias", "bias_log_sigma"))
        if getattr(layer, log_sigma, None) is not None
    ]


LAYERS = {
    "conv": (lambda: nn.Conv2d(2, 3, 3, bias=False), (2, 5, 4)),
    "stride and padding": (lambda: nn.Conv2d(2, 3, 3, stride=2, padding=1), (2, 5, 4)),
    "dilation": (lambda: nn.Conv2d(2, 2, 3, padding=2, dilation=2), (2, 5, 4)),
    "groups": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), (4, 3, 3)),
    "linear": (lambda: nn.Linear(5, 3), (5,)),
    "linear without bias": (lambda: nn.Linear(5, 3, bias=False), (5,)),
}
every_layer = pytest.mark.parametrize(("build", "shape"), LAYERS.values(), ids=LAYERS)


def test_kl_is_the_closed_form() -> None:
    """Σ ½ ((σ² + m²) / σ₀² − 1 − log(σ² / σ₀²)), over the biases, too."""
    module = gaussian(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Linear(4, 2)))
    expected, count = 0.0, 0
    for mean, sigma in means_and_sigmas(module):
        m, variance = mean.numpy(), sigma.numpy() ** 2
        ratio = variance / PRIOR_VARIANCE
        expected += 0.5 * np.sum(ratio + m**2 / PRIOR_VARIANCE - 1 - np.log(ratio))
        count += m.size
    assert count == 2 * 3 * 9 + 3 + 4 * 2 + 2
    assert kl(module, PRIOR_VARIANCE).item() == pytest.approx(expected, rel=1e-12)


def test_kl_is_the_mean_log_ratio_of_samples() -> None:
    module = gaussian(nn.Sequential(nn.Conv2d(2, 2, 3), nn.Linear(3, 2)))
    generator = np.random.default_rng(0)
    ratio = np.zeros(20_000)
    for mean, sigma in means_and_sigmas(module):
        q = stats.norm(mean.numpy(), sigma.numpy())
        w = q.rvs((len(ratio), *mean.shape), random_state=generator)
        log_ratio = q.logpdf(w) - stats.norm(0, math.sqrt(PRIOR_VARIANCE)).logpdf(w)
        ratio += log_ratio.reshape(len(ratio), -1).sum(axis=1)
    error = ratio.std() / math.sqrt(len(ratio))
    assert abs(kl(module, PRIOR_VARIANCE).item() - ratio.mean()) < 4 * error


def test_kl_is_zero_at_the_prior_and_without_gaussian_weights() -> None:
    module = nn.Linear(3, 2).double()
    assert kl(module, PRIOR_VARIANCE).item() == 0
    module = GaussianLayer(module, rng(), math.sqrt(PRIOR_VARIANCE))
    with torch.no_grad():
        module.weight.zero_()
        module.bias.zero_()
    assert kl(module, PRIOR_VARIANCE).item() == pytest.approx(0, abs=1e-12)


@every_layer
def test_outputs_are_distributed_as_those_of_sampled_weights(build, shape) -> None:
    """Mean and variance of every output, within 5 standard errors of 20 000 draws each."""
    count = 20_000
    point = build().double()
    layer = gaussian(copy.deepcopy(point), 0.3)
    x = torch.randn(1, *shape, generator=rng(3), dtype=torch.float64)
    with torch.no_grad():
        # Noise is drawn for every output of every example: a batch of copies is so many draws.
        ours = layer(x.expand(count, *shape))
        weights = {}
        for name, (mean, sigma) in zip(
            dict(point.named_parameters()), means_and_sigmas(layer), strict=True
        ):
            noise = torch.randn(count, *mean.shape, generator=rng(4), dtype=torch.float64)
            weights[name] = mean + sigma * noise
        theirs = vmap(lambda w: functional_call(point, w, (x,))[0])(weights)
    assert ours.shape == theirs.shape
    standard_error = ((ours.var(dim=0) + theirs.var(dim=0)) / count).sqrt()
    assert ((ours.mean(dim=0) - theirs.mean(dim=0)).abs() < 5 * standard_error).all()
    # The variance of a Gaussian's sample variance is 2 σ⁴ / (n − 1).
    ratio = ours.var(dim=0) / theirs.var(dim=0)
    assert ((ratio - 1).abs() < 5 * math.sqrt(4 / count)).all()


def test_noise_is_that_of_the_generator_and_differs_between_examples() -> None:
    layer = gaussian(nn.Linear(3, 2))
    x = torch.ones(2, 3, dtype=torch.float64)
    outputs = []
    for seed in (7, 7, 8):
        layer.noise.manual_seed(seed)
        outputs.append(layer(x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    assert (outputs[0][0] != outputs[0][1]).all()


@every_layer
def test_evaluation_uses_the_means(build, shape) -> None:
    point = build().double()
    layer = gaussian(copy.deepcopy(point)).eval()
    values = {name: layer.get_parameter(name) for name, _ in point.named_parameters()}
    x = torch.randn(2, *shape, generator=rng(3), dtype=torch.float64)
    assert torch.equal(layer(x), functional_call(point, values, (x,)))


@every_layer
def test_the_limit_of_no_variance_is_the_point_layer(build, shape) -> None:
    point = build().double()
    layer = GaussianLayer(copy.deepcopy(point), rng(1), 1e-9)
    x = torch.randn(2, *shape, generator=rng(3), dtype=torch.float64)
    torch.testing.assert_close(layer(x), point(x), rtol=0, atol=1e-5)


@every_layer
def test_gradients_are_those_of_finite_differences(build, shape) -> None:
    layer = gaussian(build())
    names = [name for name, _ in layer.named_parameters()]
    assert "log_sigma" in names
    values = [p.detach().requires_grad_() for p in layer.parameters()]
    x = torch.randn(2, *shape, generator=rng(3), dtype=torch.float64, requires_grad=True)

    def output(x: Tensor, *values: Tensor) -> Tensor:
        layer.noise.manual_seed(5)
        return functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(output, (x, *values))


def test_conversion_touches_convolutions_and_linear_layers_alone() -> None:
    others = [
        nn.Conv1d(2, 2, 3),
        nn.ConvTranspose2d(2, 2, 3),
        nn.BatchNorm2d(2),
        nn.Bilinear(2, 2, 2),
    ]
    module = nn.ModuleList([nn.Conv2d(2, 3, 3), nn.Sequential(nn.Linear(2, 2)), *others])
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    to_gaussian(module, rng(), sigma=0.07)
    assert type(module[0]) is type(module[1][0]) is GaussianLayer
    assert [type(layer) for layer in module[2:]] == [
        nn.Conv1d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.Bilinear
    ]  # fmt: skip
    after = dict(module.named_parameters())
    new = {"0.log_sigma", "0.bias_log_sigma", "1.0.log_sigma", "1.0.bias_log_sigma"}
    assert after.keys() == before.keys() | new
    for name, value in before.items():
        assert torch.equal(after[name], value), name
    for name in new:
        torch.testing.assert_close(after[name].exp(), torch.full_like(after[name], 0.07))


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_every_layer_of_a_supernet_is_converted_and_learns_its_variance(name) -> None:
    space = find_space(name)
    supernet = Supernet(Skeleton(space, 1, 3, 8, 8, 2, 3))
    names = [n for n, m in supernet.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    to_gaussian(supernet, rng(), sigma=0.1)
    layers = [supernet.get_submodule(name) for name in names]
    assert {type(layer) for layer in layers} == {GaussianLayer}
    weights = torch.full((space.num_edges, len(space.ops)), 1 / len(space.ops))
    x = torch.randn(4, 1, 8, 8, generator=rng(3))
    F.cross_entropy(supernet(x, weights), torch.tensor([0, 1, 2, 0])).backward()
    for layer in layers:
        assert layer.log_sigma.grad is not None and layer.log_sigma.grad.abs().sum() > 0
