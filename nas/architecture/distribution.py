"""q(γ|λ), a distribution over architectures: what a hypernetwork's output says of each edge."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cells.errors import InputError
from cells.space import SearchSpace
from nas.architecture.relaxations import Relaxation, Relaxed


@dataclass(frozen=True)
class ArchitectureDistribution:
    """The meaning of a hypernetwork's output, raw (…, edges, columns).

    Its first columns are the logits of the operations; with `weighs_edges` the last one is the
    logit of the edge itself, as in PC-DARTS.
    """

    relaxation: Relaxation
    """What logits mean: the expected weights of operations."""
    num_ops: int
    """Candidates on every edge before any is removed."""
    weighs_edges: bool = False
    """Whether the edges into a node are weighed, too."""
    kept: Tensor | None = None
    """(edges, n) int64, increasing columns of the candidates that are left; None for all."""

    def left(self, logits: Tensor) -> Tensor:
        """Returns the columns (…, edges, n) of the candidates that are left."""
        if self.kept is None:
            return logits
        return logits.gather(-1, self.kept.expand(*logits.shape[:-2], -1, -1))

    def everywhere(
        self, weights: Tensor, active: tuple[int, ...] | None = None, fill: float = 0.0
    ) -> Relaxed:
        """Returns weights (…, edges, ops) of all candidates from those of the ones left.

        Args:
            weights: (…, edges, n).
            active: the one operation per edge that has weight, counted among those left.
            fill: the weight of the others.
        """
        if self.kept is None:
            return Relaxed(weights, active)
        columns = self.kept.expand_as(weights)
        full = weights.new_full((*weights.shape[:-1], self.num_ops), fill)
        if active is not None:
            active = tuple(row[n] for row, n in zip(self.kept.tolist(), active, strict=True))
        return Relaxed(full.scatter(-1, columns, weights), active)

    def op_logits(self, raw: Tensor) -> Tensor:
        """Returns the logits (…, edges, n) of the candidates that are left."""
        return self.left(raw[..., : self.num_ops])

    def edge_logits(self, raw: Tensor) -> Tensor | None:
        """Returns the logits (…, edges) of the edges, None if they are not weighed."""
        return raw[..., -1] if self.weighs_edges else None

    def log_probs(self, raw: Tensor) -> Tensor:
        """Returns the logarithms of the operations' expected weights, (…, edges, ops).

        They are −∞ for candidates that were removed.
        """
        found = self.relaxation.log_probs(self.op_logits(raw))
        return self.everywhere(found, fill=-torch.inf).weights


def edge_shares(space: SearchSpace, edge_logits: Tensor) -> Tensor:
    """Takes the softmax over the edges into each node (Xu et al.: PC-DARTS, 2020).

    Args:
        edge_logits: (…, edges).

    Returns:
        (…, edges), which add up to 1 for every node.
    """
    cell = len(space.cell_edges)
    nodes = [(row // cell, space.cell_edges[row % cell][1]) for row in range(space.num_edges)]
    same = edge_logits.new_tensor([[a == b for b in nodes] for a in nodes])
    # One maximum for all: it cancels, and only keeps the exponentials finite.
    scaled = (edge_logits - edge_logits.amax(dim=-1, keepdim=True)).exp()
    return scaled / (scaled @ same)


def entropy(log_probs: Tensor) -> Tensor:
    """Returns the edges' mean entropy, nats, (…) for log-probabilities (…, edges, ops).

    An operation without probability counts as nothing. Weights that do not add up to 1, as those
    of sigmoids, are made to.
    """
    log_probs = log_probs.log_softmax(dim=-1)
    return torch.special.entr(log_probs.exp()).sum(dim=-1).mean(dim=-1)


def draw_cells(log_probs: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draws cells from the mixture of several distributions, independently of each other.

    Args:
        log_probs: (lams, edges, ops), logarithms of the operations' probabilities.
        count: number of cells.
        generator: source of all draws, on the CPU.

    Returns:
        (count, edges) int64, on the CPU.

    Raises:
        InputError: if a probability is no number.
    """
    lams, edges, ops = log_probs.shape
    if bool(log_probs.isnan().any()):
        raise InputError(
            "the probabilities of operations are not finite any more: go on from what was saved "
            "before with a lower --arch-lr, in a new run"
        )
    member = torch.randint(lams, (count,), generator=generator)
    probs = log_probs.detach().cpu().double().exp()[member].reshape(-1, ops)
    return torch.multinomial(probs, 1, generator=generator).reshape(count, edges)


def log_likelihoods(log_probs: Tensor, choices: Tensor) -> Tensor:
    """Returns the log-probability of each cell under each distribution, (lams, n).

    Args:
        log_probs: (lams, edges, ops).
        choices: (n, edges).
    """
    one_hot = F.one_hot(choices, log_probs.shape[2]).to(log_probs)
    return log_probs.flatten(1) @ one_hot.flatten(1).T
