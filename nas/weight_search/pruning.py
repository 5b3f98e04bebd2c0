"""Pruning of networks without cells: what goes first, and what is left.

    python -m nas prune runs/mlp --lam 1 --by density               # accuracy against the share
    python -m nas prune runs/mlp --lam 1 --by density --share 0.8   # the network, 80 % removed

Every rule gives each number of a network a score; the share with the least scores is set to zero.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cells.chain import Chain
from cells.errors import InputError, unknown
from nas.data.batches import Examples
from nas.data.examples import Task
from nas.weight_search.evidence import means, quality
from nas.weights.posteriors import Posterior, Posteriors

SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)


def density(layer: Posterior) -> Tensor:
    """Scores by density at 0, ρ ∝ exp(−m² / 2σ²): the likeliest 0 goes first (Graves 2011).

    Raises:
        InputError: for a point.
    """
    if layer.log_sigma is None:
        others = ", ".join(name for name in RULES if name != "density")
        raise InputError(f"pruning rule 'density' needs Gaussian weights: choose from {others}")
    return layer.mean.square() / (2 * (2 * layer.log_sigma).exp())


def magnitude(layer: Posterior) -> Tensor:
    """Scores by size: the smallest number goes first (Han et al. 2015)."""
    return layer.mean.abs()


def filter_norm(layer: Posterior) -> Tensor:
    """Scores whole filters, or units, by L1 norm: the least goes first (Li et al. 2017)."""
    norm = layer.mean[..., :-1].abs().sum(dim=-1, keepdim=True)
    return norm.expand(layer.mean.shape)


RULES: dict[str, Callable[[Posterior], Tensor]] = {
    "density": density,
    "magnitude": magnitude,
    "filter": filter_norm,
}


def ranks(posteriors: Posteriors, rule: str) -> list[Tensor]:
    """Ranks numbers in the order in which they are removed, from 0 on.

    Single numbers are ranked over the whole network, filters and hidden units within each layer;
    those of the last layer, the network's outputs, stay.

    Args:
        posteriors: of (*networks) networks.
        rule: name in `RULES`.

    Returns:
        int64 (*networks, outputs, inputs + 1) for each layer. Equals are removed in order.

    Raises:
        InputError: if there is no such rule.
    """
    if rule not in RULES:
        raise unknown("pruning rule", rule, RULES)
    scores = [RULES[rule](layer) for layer in posteriors.layers]
    if rule == "filter":
        units = [_rank(score[..., 0]) for score in scores]
        return [r[..., None].expand(s.shape) for r, s in zip(units, scores, strict=True)]
    joint = _rank(torch.cat([score.flatten(-2) for score in scores], dim=-1))
    parts = joint.split([score.shape[-1] * score.shape[-2] for score in scores], dim=-1)
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def _rank(scores: Tensor) -> Tensor:
    """Places of scores (…, n), the least 0."""
    order = scores.argsort(dim=-1, stable=True)
    places = torch.arange(scores.shape[-1], device=scores.device).expand(order.shape)
    return torch.empty_like(order).scatter_(-1, order, places)


def prune(
    tables: Sequence[Tensor], order: Sequence[Tensor], rule: str, share: float
) -> list[Tensor]:
    """Sets a share of networks' numbers, or of their filters, to zero.

    Args:
        tables: (*networks, outputs, inputs + 1) for each layer.
        order: what `ranks` returned.
        rule: the rule it was made by.
        share: in [0, 1], rounded to whole numbers or filters.

    Raises:
        InputError: if the share is outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise InputError(f"the share to remove must lie in 0 … 1, got {share}")
    if rule == "filter":
        kept = [
            torch.where(rank >= round(share * rank.shape[-2]), table, 0.0)
            for rank, table in zip(order[:-1], tables[:-1], strict=True)
        ]
        return [*kept, tables[-1]]
    count = round(share * sum(rank.shape[-1] * rank.shape[-2] for rank in order))
    return [
        torch.where(rank >= count, table, 0.0) for rank, table in zip(order, tables, strict=True)
    ]


def without_idle_units(tables: Sequence[Tensor]) -> list[Tensor]:
    """Removes the hidden units, or filters, that change no output: the network computes the same.

    Such a unit has no weights and no bias, so that it is 0, or nothing that reads it has weights
    for it. One stays in a layer that would lose all.

    Args:
        tables: weights of one network, (outputs, inputs + 1) for each layer.

    Returns:
        (kept outputs, kept inputs + 1) for each layer.
    """
    kept = list(tables)
    while True:
        before = [len(table) for table in kept]
        for number in range(len(kept) - 1):
            table, following = kept[number], kept[number + 1]
            # What reads a unit: a column, those of a kernel, or those of a flattened image.
            readers = following[:, :-1].reshape(len(following), len(table), -1)
            busy = (table != 0).any(dim=1) & (readers != 0).any(dim=2).any(dim=0)
            busy[0] |= not bool(busy.any())
            kept[number] = table[busy]
            left = readers[:, busy].flatten(1)
            kept[number + 1] = torch.cat([left, following[:, -1:]], dim=1)
        if before == [len(table) for table in kept]:
            return kept


def curve(
    task: Task, chain: Chain, posteriors: Posteriors, examples: Examples, rule: str
) -> Tensor:
    """Returns the accuracy, or a regression's error, of means with each of `SHARES` removed.

    Returns:
        (shares, *networks) float64.
    """
    order, tables = ranks(posteriors, rule), means(posteriors)
    return torch.stack(
        [quality(task, chain, prune(tables, order, rule, share), examples) for share in SHARES]
    )
