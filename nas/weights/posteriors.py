"""Hypernetworks that generate the posterior of a network's weights: λ -> N(m(λ), σ(λ)²).

Each layer has two tables (outputs, inputs + 1), of the means and of the logarithms of the standard
deviations, the last column for the bias, and each table is a hypernetwork of the same forms that
generate architecture logits (`nas.hypernets.forms`). Points, posteriors of no width, have the first
table alone. Several of them, its *members*, live side by side: runs with seeds of their own, or,
without a hypernetwork, networks with a λ of their own.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cells.chain import Affine, Chain, affine
from nas.weights.gaussian import EPSILON


class Posterior(NamedTuple):
    """The posterior of one layer of several networks."""

    mean: Tensor
    """(…, outputs, inputs + 1)."""
    log_sigma: Tensor | None
    """(…, outputs, inputs + 1); None for a point."""

    def kl(self, prior_variance: float) -> Tensor:
        """Returns the KL to N(0, σ₀²) in nats, (…): Σ log(σ₀/σ) + (σ² + m²) / (2σ₀²) − ½.

        Of a point, what of it depends on m: Σ m² / (2σ₀²), weight decay.
        """
        if self.log_sigma is None:
            return self.mean.square().sum(dim=(-2, -1)) / (2 * prior_variance)
        squares = self.mean.square() + (2 * self.log_sigma).exp()
        each = squares.sum(dim=(-2, -1)) / (2 * prior_variance)
        count = self.mean.shape[-1] * self.mean.shape[-2]
        return each - self.log_sigma.sum(dim=(-2, -1)) + count * (math.log(prior_variance) - 1) / 2

    def at(self, index: Any) -> "Posterior":
        """Returns the posterior of some of the networks."""
        return Posterior(
            self.mean[index], None if self.log_sigma is None else self.log_sigma[index]
        )


class Posteriors(NamedTuple):
    """The posterior of whole networks."""

    layers: list[Posterior]
    """One for each layer with weights."""
    log_noise: Tensor | None
    """(…), logarithm of the standard deviation of a regression's targets; None for classes."""

    def kl(self, prior_variance: float) -> Tensor:
        """Returns the KL of all weights to N(0, σ₀²) in nats, (…)."""
        return torch.stack([layer.kl(prior_variance) for layer in self.layers]).sum(dim=0)

    def at(self, index: Any) -> "Posteriors":
        """Returns the posteriors of some of the networks."""
        layers = [layer.at(index) for layer in self.layers]
        return Posteriors(layers, None if self.log_noise is None else self.log_noise[index])


def initial_means(layer: Affine, generator: torch.Generator) -> Tensor:
    """Draws initial means (outputs, inputs + 1): He et al. (2015), and biases of 0."""
    std = math.sqrt(2 / layer.fan_in)
    shape = (layer.outputs, layer.fan_in)
    means = std * torch.randn(shape, generator=generator, device=generator.device)
    return torch.cat([means, means.new_zeros(layer.outputs, 1)], dim=1)


def propagate(
    chain: Chain, posteriors: Sequence[Posterior], x: Tensor, noises: Sequence[Tensor]
) -> Tensor:
    """Computes outputs of networks with Gaussian weights, by local reparameterisation.

    Kingma, Salimans, Welling (2015): an output's mean is the layer with the means of the weights,
    its variance the layer of x² with their variances, and noise is drawn for every output.

    Args:
        posteriors: of (*networks) networks, one for each layer with weights.
        x: (*networks, batch, …); dimensions of 1 among the networks serve all.
        noises: standard normal, of the shape of each layer's output or one that expands to it; not
            looked at for points.

    Returns:
        (*networks, batch, outputs).
    """

    def apply(number: int, layer: Affine, x: Tensor) -> Tensor:
        mean, log_sigma = posteriors[number]
        if log_sigma is None:
            return affine(layer, x, mean)
        variance = affine(layer, x.square(), (2 * log_sigma).exp())
        return affine(layer, x, mean) + (variance + EPSILON).sqrt() * noises[number]

    return chain.propagate(x, apply)


def point_network(chain: Chain, tables: Sequence[Tensor], x: Tensor) -> Tensor:
    """Computes outputs of networks with given weights.

    Args:
        tables: (*networks, outputs, inputs + 1), one for each layer with weights.
        x: as in `propagate`.
    """
    return chain.propagate(x, lambda number, layer, x: affine(layer, x, tables[number]))


def draw_weights(posteriors: Sequence[Posterior], generator: torch.Generator) -> list[Tensor]:
    """Draws all weights from q once, a table for each layer; points are what they are."""
    return [
        mean
        if log_sigma is None
        else torch.addcmul(
            mean,
            log_sigma.exp(),
            torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype),
        )
        for mean, log_sigma in posteriors
    ]
