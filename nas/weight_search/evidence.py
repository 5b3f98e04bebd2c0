"""What generated networks are worth: evidence, accuracy or error, KL."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cells.chain import Chain
from nas.data.batches import Examples
from nas.data.examples import Task
from nas.runtime.streams import stream
from nas.weights.posteriors import Posteriors, draw_weights, point_network

BATCH = 1000
"""Examples at a time."""


class Evidence(NamedTuple):
    """The generalised evidence of networks, E_q log p(D | w) − λ KL(q ‖ p), and its parts."""

    evidence: Tensor
    """(*networks), nats, over all examples."""
    log_likelihood: Tensor
    """(*networks), E_q log p(D | w), nats; of a regression in the target's own unit."""
    kl: Tensor
    """(*networks), nats."""


@torch.no_grad()
def evidence(
    task: Task,
    chain: Chain,
    posteriors: Posteriors,
    lams: Tensor,
    examples: Examples,
    *,
    prior_variance: float,
    draws: int,
    seed: int = 0,
) -> Evidence:
    """Estimates the generalised evidence by drawing whole networks from q.

    Args:
        posteriors: of (*networks) networks.
        lams: of a shape that expands to (*networks).
        examples: what the likelihood is summed over.
        draws: draws of all weights, >= 1, of which the mean counts; points need one.
        seed: of the draws.
    """
    if posteriors.layers[0].log_sigma is None:
        draws = 1
    kl = posteriors.kl(prior_variance).double()
    total = torch.zeros_like(kl)
    for number in range(draws):
        generator = stream(seed, "evidence", number, kl.device)
        tables = draw_weights(posteriors.layers, generator)
        for x, y in zip(examples.x.split(BATCH), examples.y.split(BATCH), strict=True):
            outputs = point_network(chain, tables, x)
            nll = negative_log_likelihood(outputs, y, posteriors.log_noise)
            total -= nll.double().sum(dim=-1)
    total = total / draws - len(examples) * math.log(task.target_std)
    return Evidence(total - lams.to(total) * kl, total, kl)


@torch.no_grad()
def quality(task: Task, chain: Chain, tables: list[Tensor], examples: Examples) -> Tensor:
    """Returns the accuracy in [0, 1] of networks with given weights, or a regression's error.

    Args:
        tables: (*networks, outputs, inputs + 1) for each layer with weights.

    Returns:
        (*networks) float64; of a regression the root of the mean squared error, in the target's
        own unit.
    """
    total = torch.zeros(tables[0].shape[:-2], dtype=torch.float64, device=tables[0].device)
    for x, y in zip(examples.x.split(BATCH), examples.y.split(BATCH), strict=True):
        outputs = point_network(chain, tables, x)
        if task.regression:
            total += (outputs[..., 0] - y).double().square().sum(dim=-1)
        else:
            total += (outputs.argmax(dim=-1) == y).sum(dim=-1)
    mean = total / len(examples)
    return mean.sqrt() * task.target_std if task.regression else mean


def means(posteriors: Posteriors) -> list[Tensor]:
    """Returns the means of all weights."""
    return [layer.mean for layer in posteriors.layers]


def mean_nll(chain: Chain, posteriors: Posteriors, examples: Examples) -> Tensor:
    """Returns the mean −log p(y | x) of networks with mean weights, nats per example.

    Differentiable; a regression's is in units of the target's standard deviation.

    Args:
        posteriors: of (*networks) networks.
        examples: for all of them, or with dimensions in front that expand to (*networks).

    Returns:
        (*networks).
    """
    outputs = point_network(chain, means(posteriors), examples.x)
    return negative_log_likelihood(outputs, examples.y, posteriors.log_noise).mean(dim=-1)


@torch.no_grad()
def validation(task: Task, chain: Chain, posteriors: Posteriors) -> dict[str, Tensor]:
    """Scores networks with the means of their weights on the validation part.

    Args:
        posteriors: of (*networks) networks.

    Returns:
        `val_nll`, nats per example, of a regression in the target's own unit, and `val_accuracy` or
        `val_rmse` as `quality` has them, (*networks) each; nothing if there is no such part.
    """
    if task.val is None:
        return {}
    val = task.val.to(posteriors.layers[0].mean.device)
    nll = torch.stack([len(part) * mean_nll(chain, posteriors, part) for part in val.split(BATCH)])
    return {
        "val_nll": nll.sum(dim=0) / len(val) + math.log(task.target_std),
        "val_rmse" if task.regression else "val_accuracy": quality(
            task, chain, means(posteriors), val
        ),
    }


def negative_log_likelihood(outputs: Tensor, y: Tensor, log_noise: Tensor | None) -> Tensor:
    """Returns −log p(y | outputs) of each example, nats.

    Args:
        outputs: (*networks, batch, classes) logits, or (*networks, batch, 1) means.
        y: classes or targets, of a shape that expands to (*networks, batch).
        log_noise: (*networks), logarithm of the standard deviation of targets around their mean;
            None for classes.

    Returns:
        (*networks, batch).
    """
    if log_noise is None:
        y = y.expand(outputs.shape[:-1])
        flat = F.cross_entropy(outputs.flatten(0, -2), y.flatten(), reduction="none")
        return flat.reshape(y.shape)
    log_noise = log_noise[..., None]
    error = (y - outputs[..., 0]) * (-log_noise).exp()
    return error.square() / 2 + log_noise + math.log(2 * math.pi) / 2
