"""Score-function gradients of an expected loss, with cells that serve every λ at once.

The likelihood of a cell does not depend on λ. Cells drawn from the mixture of q(γ|λ) over some λs
therefore say something about each of them, with the importance weight q(γ|λ) / mixture(γ), and
so do cells that were drawn some steps ago.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nas.architecture.distribution import log_likelihoods

HEAVIEST = 20.0
"""Largest importance weight of a cell that was drawn some steps ago: it may be likely by now."""
LIGHTEST = 1e-3
"""Sum of weights below which a mean of likelihoods is drawn towards 0, that of all cells."""


class Scored(NamedTuple):
    """Cells that were drawn at one step, and what they were worth."""

    choices: Tensor
    """(n, edges) int64, independent of each other."""
    nll: Tensor
    """(n,) negative log-likelihoods on one batch, each less the mean of the others, nats per
    example."""
    log_q: Tensor
    """(n,) log-probabilities under the mixture they were drawn from."""


def scored(choices: Tensor, nll: Tensor, log_probs: Tensor) -> Scored:
    """Writes down what cells drawn from the mixture of `log_probs` were worth.

    Args:
        choices: (n, edges), at least two.
        nll: (n,), all on the same batch, whose difficulty cancels in what is kept.
        log_probs: (lams, edges, ops).
    """
    log_q = log_likelihoods(log_probs.detach(), choices).logsumexp(dim=0)
    others = (nll.sum() - nll) / (len(nll) - 1)
    return Scored(choices, nll - others, log_q - math.log(len(log_probs)))


def surrogate_loss(
    log_probs: Tensor, memory: Sequence[Scored], prices: Tensor, expected_prices: Tensor
) -> Tensor:
    """Returns zeros, (lams,), whose gradient estimates that of each λ's expected loss.

    The loss of a cell is its negative log-likelihood and its price. Of n cells γ_j in all, with
    importance weights w_j = q(γ_j|λ) / mixture(γ_j), the gradient is

        1/n Σ_j w_j (loss_j − b_j) ∇ log q(γ_j|λ),

    the score-function estimate (Williams 1992). The baseline b_j is the sum of three: the mean
    likelihood of the other cells of its step, which takes the difficulty of the batch away; the
    weighted mean of what the cells of the other steps have in its place; the expected price. None
    depends on γ_j, so that the estimate is unbiased for cells drawn at this step (Mnih, Rezende
    2016). A mean that includes the cell itself would multiply the likelihood's part by 1 − 1/n.
    For former steps it is unbiased but for weights above `HEAVIEST`, which are cut, and but for
    what the distributions have learned from these very cells since.

    The gradient of the expected price is known exactly and still is estimated from the same cells:
    more expensive cells are likelier, so that errors cancel.

    Args:
        log_probs: (lams, edges, ops).
        memory: cells of the present step and of earlier ones, as many each.
        prices: (lams, n), what each of these n cells costs at each λ, nats per example.
        expected_prices: (lams,), what cells of each λ cost on average, without gradient.
    """
    log_likely = log_likelihoods(log_probs, torch.cat([cells.choices for cells in memory]))
    log_q = torch.cat([cells.log_q for cells in memory])
    # A cell of the present step weighs no more than the number of λs.
    heaviest = max(HEAVIEST, len(log_probs))
    weights = (log_likely.detach() - log_q).exp().clamp(max=heaviest)  # (lams, n)
    nll = torch.stack([cells.nll for cells in memory])  # (steps, cells of a step)
    by_step = weights.unflatten(1, nll.shape)
    total, worth = by_step.sum(dim=2), (by_step * nll).sum(dim=2)  # (lams, steps)
    of_others = (total.sum(dim=1, keepdim=True) - total).clamp(min=LIGHTEST)
    levels = (worth.sum(dim=1, keepdim=True) - worth) / of_others
    advantages = (nll - levels[..., None]).flatten(1) + prices - expected_prices[:, None]
    pulls = weights * advantages / weights.shape[1]
    return (pulls * (log_likely - log_likely.detach())).sum(dim=1)
