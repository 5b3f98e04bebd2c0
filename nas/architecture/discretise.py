"""Architecture distribution -> discrete architecture."""

import math

import torch
from torch import Tensor

from cells.errors import unknown
from cells.space import SearchSpace

THRESHOLD = 0.85
"""Probability from which FairDARTS keeps an operation."""


def most_probable(space: SearchSpace, log_probs: Tensor) -> Tensor:
    """Chooses the most probable architecture among those the space allows.

    Logits serve as well: it maximises Σ_e h_e,γ(e) over all architectures γ with exactly
    `inputs_per_node` edges into each node (all edges, `none` among the candidates, where the space
    sets no number). With Gibbs logits h = a − β·c this is an upper envelope of lines in β with
    slopes −c(γ), so that the cost of the chosen cell can only fall as β grows. Only this rule
    promises that.
    """
    if space.inputs_per_node is None:
        return log_probs.argmax(dim=-1)
    best, choices = _best_operations(space, log_probs)
    gain = best - log_probs[..., space.none]  # of keeping the edge over leaving it out
    return _keep_strongest(space, gain, choices)


def strongest_inputs(space: SearchSpace, log_probs: Tensor) -> Tensor:
    """Applies DARTS' rule (Liu, Simonyan, Yang 2019, section 2.4).

    Each node keeps the `inputs_per_node` edges whose likeliest operation other than `none` has the
    largest probability; `none` takes its share of the probability but is never chosen.

    With Gibbs logits a − β·c the cost of the cell may rise with β: edges are ranked by
    probabilities whose denominators fall with β, too. Of 200 random a and c in the space darts,
    119 had such a rise between β = 0 and 5.
    """
    if space.inputs_per_node is None:
        return log_probs.argmax(dim=-1)
    strength, choices = _best_operations(space, log_probs)
    return _keep_strongest(space, strength, choices)


def threshold(space: SearchSpace, log_probs: Tensor) -> Tensor:
    """Applies FairDARTS' rule (Chu, Zhou, Zhang, Li 2020).

    Each node keeps those edges, two at most, whose likeliest operation other than `none` has more
    than the probability `THRESHOLD`; a node may keep none. A cell whose output would not depend on
    its inputs gets the likeliest edge from an input to its last node. As β grows, an operation may
    pass the threshold, so that the cost of the cell may rise.
    """
    strength, choices = _best_operations(space, log_probs)
    kept = _keep_strongest(space, strength, choices, number=2)
    kept = torch.where(strength > math.log(THRESHOLD), kept, space.none)
    flat = kept.reshape(-1, kept.shape[-1])
    last = space.num_inputs + space.num_nodes - 1
    direct = [
        row
        for row, (start, end) in enumerate(space.cell_edges)
        if start < space.num_inputs and end == last
    ]
    for cell, likely, values in zip(
        flat, choices.reshape_as(flat), strength.reshape(flat.shape), strict=True
    ):
        for kind in space.kinds:
            if not space.connected(cell.tolist(), kind):
                rows = [space.first_edge(kind) + row for row in direct]
                row = rows[int(values[rows].argmax())]
                cell[row] = likely[row]
    return flat.reshape_as(kept)


def _best_operations(space: SearchSpace, log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the largest entry of each edge, `none` aside, and its column, (…, edges) each."""
    operations = log_probs.clone()
    operations[..., space.none] = -torch.inf
    best, choices = operations.max(dim=-1)
    return best, choices


def _keep_strongest(
    space: SearchSpace, strength: Tensor, choices: Tensor, number: int | None = None
) -> Tensor:
    """Sets all but the strongest `inputs_per_node`, or `number`, edges into each node to `none`."""
    number = number or space.inputs_per_node
    choices = choices.clone()
    for incoming in space.incoming:
        rows = torch.tensor(incoming, device=strength.device)
        order = strength[..., rows].argsort(dim=-1, descending=True, stable=True)
        choices.scatter_(-1, rows[order[..., number:]], space.none)
    return choices


RULES = {
    "most_probable": most_probable,
    "strongest_inputs": strongest_inputs,
    "threshold": threshold,
}


def discretise(space: SearchSpace, log_probs: Tensor, rule: str = "most_probable") -> Tensor:
    """Chooses one operation per edge.

    Args:
        log_probs: (…, edges, ops), logarithms of the operations' expected weights.
        rule: name of one of `RULES`.

    Returns:
        (…, edges) int64 column numbers; `none` where a discrete cell has no edge.

    Raises:
        InputError: if there is no such rule.
    """
    if rule not in RULES:
        raise unknown("discretisation rule", rule, RULES)
    return RULES[rule](space, log_probs)
