"""Mean-field Gaussian weights: local reparameterisation and the KL to the prior.

Point weights are ordinary modules; `to_gaussian` turns a network's convolutions and linear layers
into Gaussian ones, `q(w) = N(m, σ²)` with prior `p(w) = N(0, σ₀²)` for every weight and bias.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from cells.conv import DepthwiseConv2d

EPSILON = 1e-12
"""Keeps the square root's derivative finite where the variance of an activation is zero."""


class GaussianConv2d(nn.Conv2d):
    """Convolution with Gaussian weights; in evaluation mode it uses their means.

    Local reparameterisation (Kingma, Salimans, Welling 2015): the output's mean is the convolution
    with `m`, its variance the convolution of x² with σ², and noise is drawn per output.
    """

    log_sigma: nn.Parameter
    bias_log_sigma: nn.Parameter
    noise: torch.Generator

    def forward(self, x: Tensor) -> Tensor:
        mean = super().forward(x)
        if not self.training:
            return mean
        bias_variance = None if self.bias is None else (2 * self.bias_log_sigma).exp()
        variance = self._conv_forward(x.square(), (2 * self.log_sigma).exp(), bias_variance)
        return _perturb(mean, variance, self.noise)


class GaussianDepthwiseConv2d(GaussianConv2d, DepthwiseConv2d):
    """Both convolutions, of the mean and of the variance, are those of `DepthwiseConv2d`."""


class GaussianLinear(nn.Linear):
    """Linear layer with Gaussian weights; in evaluation mode it uses their means."""

    log_sigma: nn.Parameter
    bias_log_sigma: nn.Parameter
    noise: torch.Generator

    def forward(self, x: Tensor) -> Tensor:
        mean = super().forward(x)
        if not self.training:
            return mean
        bias_variance = None if self.bias is None else (2 * self.bias_log_sigma).exp()
        variance = F.linear(x.square(), (2 * self.log_sigma).exp(), bias_variance)
        return _perturb(mean, variance, self.noise)


GAUSSIAN: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: GaussianConv2d,
    DepthwiseConv2d: GaussianDepthwiseConv2d,
    nn.Linear: GaussianLinear,
}
"""The Gaussian form of each layer with weights."""


def _perturb(mean: Tensor, variance: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return mean + (variance.clamp_min(0) + EPSILON).sqrt() * noise


def to_gaussian(module: nn.Module, noise: torch.Generator, *, sigma: float) -> None:
    """Turns every convolution and linear layer inside `module` into its Gaussian form, in place.

    Args:
        noise: source of the weights' noise, shared by all layers, on their device.
        sigma: initial standard deviation of every weight, > 0.
    """
    for layer in module.modules():
        if type(layer) in GAUSSIAN:
            layer.__class__ = GAUSSIAN[type(layer)]
            assert isinstance(layer, GaussianConv2d | GaussianLinear)
            layer.noise = noise
            layer.log_sigma = nn.Parameter(torch.full_like(layer.weight, math.log(sigma)))
            if layer.bias is not None:
                layer.bias_log_sigma = nn.Parameter(torch.full_like(layer.bias, math.log(sigma)))


def kl(module: nn.Module, prior_variance: float) -> Tensor:
    """KL(q(w) ‖ p(w)) of all Gaussian layers inside `module`, in nats, a scalar.

    Σ log(σ₀/σ) + (σ² + m²) / (2σ₀²) − ½ over all weights and biases.
    """
    terms = []
    for layer in module.modules():
        if isinstance(layer, GaussianConv2d | GaussianLinear):
            terms.append(_kl(layer.weight, layer.log_sigma, prior_variance))
            if layer.bias is not None:
                terms.append(_kl(layer.bias, layer.bias_log_sigma, prior_variance))
    return torch.stack(terms).sum() if terms else torch.zeros(())


def _kl(mean: Tensor, log_sigma: Tensor, prior_variance: float) -> Tensor:
    prior = Normal(torch.zeros_like(mean), math.sqrt(prior_variance), validate_args=False)
    return kl_divergence(Normal(mean, log_sigma.exp(), validate_args=False), prior).sum()
