"""λ -> posteriors of weights: their forms, their KL, and noise on outputs in place of weights."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from cells.chain import Chain
from nas.hypernets.forms import Linear, build_hypernet
from nas.hypernets.weights import WeightHypernet
from nas.weights.posteriors import Posterior, Posteriors, draw_weights, point_network, propagate

CHAIN = Chain.parse(("5",), (4,), 3)
FORMS = ("constant", "linear", "lowrank", "piecewise", "mlp")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_posteriors(chain: Chain, *networks: int) -> Posteriors:
    generator = rng(3)
    layers = []
    for layer in chain.layers:
        shape = (*networks, layer.outputs, layer.fan_in + 1)
        mean = 0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)
        log_sigma = -1 + 0.4 * torch.randn(shape, generator=generator, dtype=torch.float64)
        layers.append(Posterior(mean, log_sigma))
    return Posteriors(layers, None)


def test_kl_is_the_closed_form_and_what_draws_say() -> None:
    posteriors = random_posteriors(CHAIN, 2)
    variance = 0.3
    prior = Normal(torch.tensor(0.0, dtype=torch.float64), math.sqrt(variance))
    each = [Normal(mean, log_sigma.exp()) for mean, log_sigma in posteriors.layers]
    exact = sum(kl_divergence(q, prior).sum(dim=(1, 2)) for q in each)
    torch.testing.assert_close(posteriors.kl(variance), exact)
    torch.manual_seed(0)
    count, drawn = 20000, torch.zeros(2, dtype=torch.float64)
    for q in each:
        w = q.sample((count,))
        drawn += (q.log_prob(w) - prior.log_prob(w)).sum(dim=(2, 3)).mean(dim=0)
    torch.testing.assert_close(drawn, exact, rtol=0.01, atol=0.0)


@pytest.mark.parametrize(("layers", "shape"), [(("5",), (4,)), (("conv3", "pool", "5"), (2, 4, 4))])
def test_noise_on_outputs_is_noise_on_weights(
    layers: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    """Mean and variance of the first layer's activations, and of the outputs of one example."""
    chain = Chain.parse(layers, shape, 3)
    posteriors = random_posteriors(chain, 1)
    count = 20000
    x = torch.randn(1, 1, *shape, generator=rng(5), dtype=torch.float64)
    many = x.expand(1, count, *shape)
    noises = [
        torch.randn(1, count, *size, generator=rng(6 + n), dtype=torch.float64)
        for n, size in enumerate(chain.output_shapes)
    ]
    by_outputs = propagate(chain, posteriors.layers, many, noises)[0]
    generator = rng(8)
    copies = [Posterior(*(part.expand(count, -1, -1) for part in p)) for p in posteriors.layers]
    tables = draw_weights(copies, generator)
    by_weights = point_network(chain, tables, x.expand(count, 1, *shape))[:, 0]
    if not chain.layers[0].conv:  # what a convolution's outputs have in common is lost
        for order in (1, 2):
            ours, theirs = (y.pow(order).mean(dim=0) for y in (by_outputs, by_weights))
            spread = by_weights.pow(order).std(dim=0) / math.sqrt(count)
            assert bool(((ours - theirs).abs() < 6 * spread).all())
    first, mean = chain.layers[0], posteriors.layers[0]
    alone = Chain((first,), shape)
    ours = propagate(alone, [mean], many, [noises[0]])[0].flatten(1)
    theirs = point_network(alone, tables[:1], x.expand(count, 1, *shape))[:, 0].flatten(1)
    for order in (1, 2):
        spread = theirs.pow(order).std(dim=0) / math.sqrt(count)
        gap = (ours.pow(order).mean(dim=0) - theirs.pow(order).mean(dim=0)).abs()
        assert bool((gap < 6 * spread).all())


@pytest.mark.parametrize("form", FORMS)
def test_members_are_independent_hypernetworks(form: str) -> None:
    """Several at a time are what each is alone, and none looks at another's λ."""
    together = WeightHypernet(CHAIN, form, (3, 4), noisy_target=True)
    units = torch.tensor([[0.0, 0.3], [0.9, 1.0]])
    found = together(units)
    assert found.layers[0].mean.shape == (2, 2, 5, 5) and found.log_noise.shape == (2, 2)
    for member, seed in enumerate((3, 4)):
        alone = WeightHypernet(CHAIN, form, (seed,), noisy_target=True)(units[member][None])
        for ours, theirs in zip(found.layers, alone.layers, strict=True):
            torch.testing.assert_close(ours.mean[member], theirs.mean[0])
            torch.testing.assert_close(ours.log_sigma[member], theirs.log_sigma[0])
        torch.testing.assert_close(found.log_noise[member], alone.log_noise[0])
    assert not torch.equal(found.layers[0].mean[0], found.layers[0].mean[1])


@torch.no_grad()
@pytest.mark.parametrize("form", FORMS)
def test_weights_begin_as_they_should(form: str) -> None:
    """Means of He et al.'s size at every λ; deviations from the one end to the other."""
    chain = Chain.parse(("200",), (100,), 3)
    mean, log_sigma = WeightHypernet(chain, form, (0,), sigma=(0.05, 0.3))(
        torch.tensor([[0.0, 0.5, 1.0]])
    ).layers[0]
    assert float(mean[0, 1, :, :-1].std()) == pytest.approx(math.sqrt(2 / 100), rel=0.1)
    assert float(mean[0, 1, :, -1].abs().max()) < 0.3
    linear = form in ("linear", "piecewise")
    middle = math.sqrt(0.05 * 0.3)
    for column, sigma in enumerate((0.05, middle, 0.3) if linear else (middle,) * 3):
        assert float(log_sigma[0, column].mean().exp()) == pytest.approx(sigma, rel=0.05)


def test_points_begin_where_the_means_of_gaussians_do() -> None:
    points = WeightHypernet(CHAIN, "piecewise", (0, 1), sigma=None)
    gaussians = WeightHypernet(CHAIN, "piecewise", (0, 1)).tables
    assert points.tables.keys() == {name for name in gaussians if "log_sigma" not in name}
    assert all(torch.equal(table, gaussians[name]) for name, table in points.tables.items())


def test_a_point_has_no_noise_and_the_kl_of_weight_decay() -> None:
    gaussian = random_posteriors(CHAIN, 2)
    points = Posteriors([Posterior(layer.mean, None) for layer in gaussian.layers], None)
    squares = sum(layer.mean.square().sum(dim=(1, 2)) for layer in gaussian.layers)
    torch.testing.assert_close(points.kl(0.3), squares / 0.6)
    # What is left of a Gaussian's KL where σ is held does not depend on the means.
    other = [Posterior(2 * layer.mean, layer.log_sigma) for layer in gaussian.layers]
    rest = Posteriors(other, None).kl(0.3) - gaussian.kl(0.3)
    torch.testing.assert_close(rest, 3 * points.kl(0.3))
    x = torch.randn(1, 6, 4, generator=rng(5), dtype=torch.float64)
    outputs = propagate(CHAIN, points.layers, x, [])
    drawn = draw_weights(points.layers, rng(6))
    assert torch.equal(outputs, point_network(CHAIN, drawn, x))
    assert torch.equal(points.at(slice(1, 2)).layers[0].mean, gaussian.layers[0].mean[1:])


def test_the_linear_form_has_two_ends_and_is_even_between() -> None:
    torch.manual_seed(0)
    low, high = torch.randn(2, 4, 3)
    form = build_hypernet("linear", 4, 3, 1, generator=rng())
    assert isinstance(form, Linear)
    with torch.no_grad():
        form.slopes.zero_(), form.table.zero_()
    form.add_line(low, high)
    units = torch.tensor([[0.0], [1.0], [0.25]])
    at_low, at_high, between = form(units)
    torch.testing.assert_close(at_low, low)
    torch.testing.assert_close(at_high, high)
    torch.testing.assert_close(between, 0.75 * low + 0.25 * high)
    # Equation 7: h = u b2 + b3.
    torch.testing.assert_close(form.slopes[0], high - low)
    torch.testing.assert_close(form.table, low)


def test_networks_by_themselves_answer_for_the_nearest_lam() -> None:
    own = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    nets = WeightHypernet(CHAIN, "none", (1, 2), own=own)
    assert nets.num_params == 3 * 2 * CHAIN.num_params
    wanted = random_posteriors(CHAIN, 2, 3)
    wanted = Posteriors([Posterior(*(t.float() for t in p)) for p in wanted.layers], None)
    nets.load(wanted)
    found = nets.at(torch.tensor([1.0, 0.1], dtype=torch.float64))
    for ours, theirs in zip(found.layers, wanted.layers, strict=True):
        assert torch.equal(ours.mean, theirs.mean[:, [2, 0]])
        assert torch.equal(ours.log_sigma, theirs.log_sigma[:, [2, 0]])


def test_gradients_reach_every_parameter() -> None:
    for form in FORMS:
        nets = WeightHypernet(CHAIN, form, (0,), noisy_target=True)
        found = nets(torch.tensor([[0.3, 0.8]]))
        loss: Tensor = found.kl(0.1).sum() + found.log_noise.square().sum() + found.log_noise.sum()
        loss.backward()
        for name, parameter in nets.named_parameters():
            assert parameter.grad is not None and bool((parameter.grad != 0).any()), (form, name)
