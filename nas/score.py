"""Score-function gradients of an expected loss, with cells that serve every λ at once.

The likelihood of a cell does not depend on λ. Cells drawn from the mixture of q(γ|λ) over some λs
therefore say something about each of them, with the importance weight q(γ|λ) / mixture(γ), and
so do cells that were drawn some steps ago.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

HEAVIEST = 20.0
"""Largest importance weight: cells drawn long ago may be likely by now."""


class Scored(NamedTuple):
    """Cells that were drawn at one step, and what they were worth."""

    choices: Tensor
    """(n, edges) int64."""
    nll: Tensor
    """(n,) negative log-likelihoods on one batch, less their mean, nats per example."""
    log_q: Tensor
    """(n,) log-probabilities under the mixture they were drawn from."""


def draw_cells(log_probs: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draws cells from the mixture of several distributions, evenly over its members.

    Args:
        log_probs: (lams, edges, ops), logarithms of the operations' probabilities.
        count: number of cells.
        generator: source of all draws, on the CPU.

    Returns:
        (count, edges) int64, on the CPU.
    """
    lams, edges, ops = log_probs.shape
    positions = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    member = (positions * lams).long().clamp(max=lams - 1)
    probs = log_probs.detach().cpu().double().exp()[member].reshape(-1, ops)
    return torch.multinomial(probs, 1, generator=generator).reshape(count, edges)


def log_likelihoods(log_probs: Tensor, choices: Tensor) -> Tensor:
    """Log-probability of each cell under each distribution, (lams, n).

    Args:
        log_probs: (lams, edges, ops).
        choices: (n, edges).
    """
    one_hot = F.one_hot(choices, log_probs.shape[2]).to(log_probs)
    return log_probs.flatten(1) @ one_hot.flatten(1).T


def scored(choices: Tensor, nll: Tensor, log_probs: Tensor) -> Scored:
    """Writes down what cells drawn from the mixture of `log_probs` were worth.

    Args:
        choices: (n, edges).
        nll: (n,), all on the same batch, whose difficulty cancels in what is kept.
        log_probs: (lams, edges, ops).
    """
    log_q = log_likelihoods(log_probs.detach(), choices).logsumexp(dim=0)
    return Scored(choices, nll - nll.mean(), log_q - math.log(len(log_probs)))


def expected_loss(log_probs: Tensor, memory: Sequence[Scored], prices: Tensor) -> Tensor:
    """Expected loss for every λ, (lams,), up to a common constant.

    The loss of a cell is its negative log-likelihood and its price. The value is the
    self-normalised importance-sampling estimate. The gradient is the score-function estimate
    Σ_j w_j (loss_j − b_j) ∇ log q(γ_j|λ) / Σ_j w_j with the leave-one-out baseline b_j: the same
    estimate of the value from all cells but the j-th. The expected price is known exactly and still
    is estimated from the same cells: dearer cells are likelier, so that errors cancel.

    Args:
        log_probs: (lams, edges, ops).
        memory: cells of the present step and of earlier ones, at least two in all.
        prices: (lams, n), what each of these n cells costs at each λ, nats per example.
    """
    choices = torch.cat([cells.choices for cells in memory])
    nll = torch.cat([cells.nll for cells in memory])
    log_q = torch.cat([cells.log_q for cells in memory])
    log_likely = log_likelihoods(log_probs, choices)  # (lams, n)
    weights = (log_likely.detach() - log_q).exp().clamp(max=HEAVIEST)
    losses = nll + prices
    total, worth = weights.sum(dim=1, keepdim=True), (weights * losses).sum(dim=1, keepdim=True)
    tiny = torch.finfo(weights.dtype).tiny
    baselines = (worth - weights * losses) / (total - weights).clamp(min=tiny)
    # Where one cell has all the weight there is nothing to compare it with.
    alone = total - weights <= 1e-6 * total
    pulls = torch.where(alone, 0.0, weights * (losses - baselines)) / total.clamp(min=tiny)
    value = (worth / total.clamp(min=tiny))[:, 0]
    return value + (pulls * (log_likely - log_likely.detach())).sum(dim=1)
