"""Stages: candidates that stay, weights that are widened."""

import pytest
import torch

from cells.cell import Skeleton, State
from cells.space import SPACES
from cells.supernet import MixedEdge, Supernet
from nas.stages import prune, widen


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_what_any_lam_likes_best_stays() -> None:
    log_probs = torch.tensor([[[0.1, 0.6, 0.2, 0.1]], [[0.2, 0.1, 0.1, 0.6]]]).log()
    assert prune(log_probs, 0, 2).tolist() == [[0, 1, 3]]
    assert prune(log_probs, 2, 2).tolist() == [[1, 2, 3]]  # the absent edge stays besides


def test_what_is_gone_does_not_come_back() -> None:
    log_probs = torch.randn(9, 14, 8, generator=rng()).log_softmax(dim=-1)
    first = prune(log_probs, 0, 4)
    gone = torch.ones(14, 8, dtype=torch.bool).scatter(1, first, False)
    second = prune(log_probs.masked_fill(gone, -torch.inf), 0, 2)
    for before, after in zip(first.tolist(), second.tolist(), strict=True):
        assert set(after) < set(before) and len(after) == 3


@pytest.mark.parametrize("name", SPACES)
def test_a_wide_operation_does_with_copies_what_the_narrow_one_does(name) -> None:
    space = SPACES[name]
    skeleton = Skeleton(space, 3, 4, 8, 8, 8, 3)
    narrow, wide = (Supernet(skeleton, partial).double() for partial in (4, 2))
    widen(wide, narrow)
    edges = [
        [module for module in supernet.modules() if isinstance(module, MixedEdge)]
        for supernet in (narrow, wide)
    ]
    for old, new in zip(*edges, strict=True):
        assert new.channels == 2 * old.channels
        x = torch.randn(2, old.channels, 6, 6, generator=rng(), dtype=torch.float64)
        for before, after in zip(old.ops, new.ops, strict=True):
            # A factorised reduction puts the copies in another order.
            found, expected = after(x.repeat(1, 2, 1, 1)), before(x).repeat(1, 2, 1, 1)
            orders = [y[0, :, 1, 1].argsort() for y in (found, expected)]
            torch.testing.assert_close(found[:, orders[0]], expected[:, orders[1]])
    torch.testing.assert_close(wide.body.classifier.weight, narrow.body.classifier.weight)
    torch.testing.assert_close(wide.body.stem[0].weight, narrow.body.stem[0].weight)


@pytest.mark.parametrize("name", SPACES)
def test_pruned_candidates_are_not_computed(name) -> None:
    space = SPACES[name]
    supernet = Supernet(Skeleton(space, 3, 4, 8, 8, 4, 3))
    kept = [0, 1, 3]
    supernet.columns = [kept] * space.num_edges
    called: set[int] = set()
    for _, column, op in supernet.candidates():
        for module in op.modules():
            if list(module.parameters(recurse=False)):
                module.register_forward_hook(lambda *_, column=column: called.add(column))
    weights = torch.full((space.num_edges, len(space.ops)), 0.1)
    supernet(torch.randn(2, 3, 8, 8), weights)
    assert called <= set(kept)


def test_an_edge_that_is_one_operation_passes_states_of_its_own_channels() -> None:
    state = State(torch.randn(2, 8, 4, 4))
    assert state.first(2) is state.first(2) and state.first(2).x.shape == (2, 2, 4, 4)
