"""What a bound is evaluated on, and what comes out: terms of a negative evidence lower bound."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Terms(NamedTuple):
    """A negative evidence lower bound and what it is made of; the mean over some λs."""

    total: Tensor
    """nll + λ·costs + weight_kl + κ·arch_kl + penalty, a scalar."""
    nll: Tensor
    """Mean negative log-likelihood, nats per example, a scalar."""
    costs: Tensor
    """Expected cost of each kind, (num_costs,), in the unit of its λ: 0 least … 1 most, or
    parameters, multiply–adds, microseconds; KL / N for `kl`."""
    arch_kl: Tensor
    """KL(q(γ|λ) ‖ uniform) in nats, a scalar."""
    weight_kl: Tensor
    """Expected KL / N of Gaussian weights where no λ prices it, else 0; a scalar."""
    penalty: Tensor
    """What regulariser and multipliers add, a scalar."""
    objective: Tensor
    """What is minimised: the total, or with `balance_lams` each λ's total over its own factor."""
    accuracy: Tensor
    """Share of examples classified correctly, a scalar without gradient."""

    def detached(self) -> "Terms":
        """Returns the same values without their graph."""
        return Terms(*(term.detach() for term in self))


class StepInputs(NamedTuple):
    """Everything random about one evaluation of the bound, so that it can be repeated."""

    x: Tensor
    """Images (batch, channels, height, width)."""
    y: Tensor
    """Labels (batch,) int64."""
    lams: Tensor
    """(num_lams, num_costs) float64, nats per unit of cost."""
    unit_lams: Tensor
    """(num_lams, num_costs), positions of log λ in its range."""
    relax_noise: Sequence[Tensor | None]
    """Noise of the relaxation for each λ."""
    weight_seed: int
    """Seed of the noise of Gaussian weights."""
    temperature: float
    """Temperature of the relaxation."""
    arch_kl_price: float
    """κ, nats per example per nat."""
    prior: bool
    """Whether operations are as likely as before any search, whatever the hypernetwork says."""
    perturbations: Sequence[Tensor] | None = None
    """What is added to the operations' weights for each λ, (edges, ops)."""


def mean_terms(terms: Sequence[Terms]) -> Terms:
    """Averages over λs."""
    return Terms(*(torch.stack(term).mean(dim=0) for term in zip(*terms, strict=True)))
