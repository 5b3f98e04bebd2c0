"""Mean-field Gaussian weights: local reparameterisation and the KL to the prior.

Point weights are ordinary modules; `to_gaussian` turns a network's convolutions and linear layers
into Gaussian ones, `q(w) = N(m, σ²)` with prior `p(w) = N(0, σ₀²)` for every weight and bias.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

EPSILON = 1e-12
"""Keeps the square root's derivative finite where the variance of an activation is zero."""


class GaussianLayer(nn.Module):
    """A convolution or linear layer with Gaussian weights; in evaluation mode it uses their means.

    Local reparameterisation (Kingma, Salimans, Welling 2015): an output's mean is the layer with
    `m`, its variance the layer of x² with σ², and noise is drawn for every output.
    """

    def __init__(self, layer: nn.Conv2d | nn.Linear, noise: torch.Generator, sigma: float) -> None:
        """
        Args:
            layer: the means, which stay this layer's parameters.
            noise: source of the outputs' noise, on the layer's device.
            sigma: initial standard deviation of every weight, > 0.
        """
        super().__init__()
        self._layer = (layer,)  # in a tuple, since its parameters are registered here
        self.weight, self.bias = layer.weight, layer.bias
        self.log_sigma = nn.Parameter(torch.full_like(layer.weight, math.log(sigma)))
        self.bias_log_sigma: nn.Parameter | None = None
        if layer.bias is not None:
            self.bias_log_sigma = nn.Parameter(torch.full_like(layer.bias, math.log(sigma)))
        self.noise = noise
        self.train(layer.training)

    def _with(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Applies the layer with other weights than its own."""
        (layer,) = self._layer
        if isinstance(layer, nn.Linear):
            return F.linear(x, weight, bias)
        return layer._conv_forward(x, weight, bias)

    def forward(self, x: Tensor) -> Tensor:
        mean = self._with(x, self.weight, self.bias)
        if not self.training:
            return mean
        bias_variance = None if self.bias_log_sigma is None else (2 * self.bias_log_sigma).exp()
        variance = self._with(x.square(), (2 * self.log_sigma).exp(), bias_variance)
        noise = torch.randn(mean.shape, generator=self.noise, device=mean.device, dtype=mean.dtype)
        return mean + (variance.clamp_min(0) + EPSILON).sqrt() * noise


def to_gaussian(network: nn.Module, noise: torch.Generator, *, sigma: float) -> None:
    """Puts a `GaussianLayer` in the place of every convolution and linear layer, in place.

    Args:
        network: holds the layers.
        noise: source of the outputs' noise, shared by all layers, on their device.
        sigma: initial standard deviation of every weight, > 0.
    """
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            network.set_submodule(name, GaussianLayer(layer, noise, sigma))


def kl(module: nn.Module, prior_variance: float) -> Tensor:
    """Returns KL(q(w) ‖ p(w)) of all Gaussian layers inside `module`, nats, a scalar.

    Σ log(σ₀/σ) + (σ² + m²) / (2σ₀²) − ½ over all weights and biases.
    """
    terms = []
    for layer in module.modules():
        if isinstance(layer, GaussianLayer):
            terms.append(_kl(layer.weight, layer.log_sigma, prior_variance))
            if layer.bias is not None and layer.bias_log_sigma is not None:
                terms.append(_kl(layer.bias, layer.bias_log_sigma, prior_variance))
    return torch.stack(terms).sum() if terms else torch.zeros(())


def _kl(mean: Tensor, log_sigma: Tensor, prior_variance: float) -> Tensor:
    prior = Normal(torch.zeros_like(mean), math.sqrt(prior_variance), validate_args=False)
    return kl_divergence(Normal(mean, log_sigma.exp(), validate_args=False), prior).sum()
