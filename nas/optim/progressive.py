"""Stages of a search: fewer candidates and more channels from one to the next, as in DrNAS.

Chen, Wang, Cheng, Tang, Hsieh: DrNAS: Dirichlet neural architecture search (2021).
"""

import torch
from torch import Tensor

from cells.supernet import MixedEdge, Supernet


def remaining_ops(log_probs: Tensor, none: int, count: int) -> Tensor:
    """Chooses the candidates that stay on every edge.

    An operation is judged by its largest expected weight over all λs, so that no λ loses its best
    operation because others prefer another. `none` always stays: it costs nothing, and its weight
    says what an edge is worth.

    Args:
        log_probs: (lams, edges, ops), −∞ for candidates that are gone already.
        none: column of the absent edge.
        count: number of other operations on every edge, >= 1, at most as many as are left.

    Returns:
        (edges, count + 1) int64, increasing column numbers.
    """
    best = log_probs.amax(dim=0)
    best[:, none] = torch.inf
    return best.argsort(dim=1, descending=True, stable=True)[:, : count + 1].sort(dim=1).values


@torch.no_grad()
def widen(wide: Supernet, narrow: Supernet) -> None:
    """Gives a supernet whose operations see more channels the weights of one where they see fewer.

    A channel's copies stand side by side, and what reads a channel that has copies is divided by
    their number (Chen, Goodfellow, Shlens: Net2Net, 2016): with copied(x) =
    x.repeat_interleave(copies, dim=1), wide(copied(x)) = copied(narrow(x)) for every operation. An
    identity needs the same order before and after; a factorised reduction, which computes either
    half of its output on other pixels, needs copies in the half of their channel. These are even
    in number, as a reduction has doubled them. And the first copy of each output stays where the
    narrow edge's shuffle has put it.

    The network's own function changes: its operations now see channels that are no copies.
    """
    for old, new in zip(_edges(narrow), _edges(wide), strict=True):
        copies = new.channels // old.channels
        for source, target in zip(old.parameters(), new.parameters(), strict=True):
            repeats = [new // old for new, old in zip(target.shape, source.shape, strict=True)]
            reads = repeats[1] if target.ndim > 1 else 1  # 1 where each channel has its own kernel
            assert set(repeats) <= {1, copies}
            copied = source / reads
            for dim, times in enumerate(repeats):
                copied = copied.repeat_interleave(times, dim)
            target.copy_(copied)
    inside = {id(p) for edge in _edges(wide) for p in edge.parameters()}
    for source, target in zip(narrow.parameters(), wide.parameters(), strict=True):
        if id(target) not in inside:
            target.copy_(source)


def _edges(supernet: Supernet) -> list[MixedEdge]:
    return [module for module in supernet.modules() if isinstance(module, MixedEdge)]
