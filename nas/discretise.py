"""Architecture distribution -> discrete architecture."""

import torch
from torch import Tensor

from cells.errors import unknown
from cells.space import SearchSpace


def most_probable(space: SearchSpace, logits: Tensor) -> Tensor:
    """The most probable architecture among those the space allows.

    Maximises Σ_e h_e,γ(e) over all architectures γ with exactly `inputs_per_node` edges into each
    node (all edges, `none` among the candidates, where the space sets no number). With Gibbs logits
    h = a − β·c this is an upper envelope of lines in β with slopes −c(γ), so that the cost of the
    chosen cell can only fall as β grows.
    """
    if space.inputs_per_node is None:
        return logits.argmax(dim=-1)
    operations = logits.clone()
    operations[..., space.none] = -torch.inf
    best, choices = operations.max(dim=-1)
    gain = best - logits[..., space.none]  # of keeping the edge over leaving it out
    return _keep_strongest(space, gain, choices)


def strongest_inputs(space: SearchSpace, logits: Tensor) -> Tensor:
    """DARTS' rule (Liu, Simonyan, Yang 2019, section 2.4).

    Each node keeps the `inputs_per_node` edges whose likeliest operation other than `none` has the
    largest probability; `none` counts in the softmax but is never chosen.
    """
    if space.inputs_per_node is None:
        return logits.argmax(dim=-1)
    probs = logits.softmax(dim=-1).clone()
    probs[..., space.none] = -1.0
    strength, choices = probs.max(dim=-1)
    return _keep_strongest(space, strength, choices)


def _keep_strongest(space: SearchSpace, strength: Tensor, choices: Tensor) -> Tensor:
    """Sets all but the strongest `inputs_per_node` edges into each node to `none`."""
    assert space.inputs_per_node is not None
    choices = choices.clone()
    targets = torch.tensor([target for _, target in space.cell_edges] * len(space.kinds))
    kinds = torch.arange(len(space.kinds)).repeat_interleave(len(space.cell_edges))
    for kind in range(len(space.kinds)):
        for target in range(space.num_inputs, space.num_inputs + space.num_nodes):
            rows = ((targets == target) & (kinds == kind)).nonzero().flatten().to(strength.device)
            order = strength[..., rows].argsort(dim=-1, descending=True, stable=True)
            dropped = rows[order[..., space.inputs_per_node :]]
            choices.scatter_(-1, dropped, space.none)
    return choices


RULES = {"most_probable": most_probable, "strongest_inputs": strongest_inputs}


def discretise(space: SearchSpace, logits: Tensor, rule: str = "most_probable") -> Tensor:
    """Chooses one operation per edge.

    Args:
        logits: (…, edges, ops) architecture logits.
        rule: name of one of `RULES`.

    Returns:
        (…, edges) int64 column numbers; `none` where a discrete cell has no edge.

    Raises:
        InputError: if there is no such rule.
    """
    if rule not in RULES:
        raise unknown("discretisation rule", rule, RULES)
    return RULES[rule](space, logits)
