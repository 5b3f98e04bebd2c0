"""Stages: candidates that stay, weights that are widened."""

import pytest
import torch
from torch import Tensor, nn

from cells.cell import Skeleton, State
from cells.space import SPACES
from cells.supernet import MixedEdge, Supernet
from nas.optim.progressive import remaining_ops, widen


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_what_any_lam_likes_best_stays() -> None:
    log_probs = torch.tensor([[[0.1, 0.6, 0.2, 0.1]], [[0.2, 0.1, 0.1, 0.6]]]).log()
    assert remaining_ops(log_probs, 0, 2).tolist() == [[0, 1, 3]]
    assert remaining_ops(log_probs, 2, 2).tolist() == [[1, 2, 3]]  # the absent edge stays besides


def test_what_is_gone_does_not_come_back() -> None:
    log_probs = torch.randn(9, 14, 8, generator=rng()).log_softmax(dim=-1)
    first = remaining_ops(log_probs, 0, 4)
    gone = torch.ones(14, 8, dtype=torch.bool).scatter(1, first, False)
    second = remaining_ops(log_probs.masked_fill(gone, -torch.inf), 0, 2)
    for before, after in zip(first.tolist(), second.tolist(), strict=True):
        assert set(after) < set(before) and len(after) == 3


def copied(x: Tensor, copies: int) -> Tensor:
    """Channels 0, 0, 1, 1, … for two copies."""
    return x[:, [channel for channel in range(x.shape[1]) for _ in range(copies)]]


def edges(name: str, stride: int, copies: int) -> tuple[MixedEdge, MixedEdge]:
    """An edge whose operations see 4 of 16 channels, and one that is made from it, with copies."""
    space = SPACES[name]
    narrow, wide = (
        nn.ModuleList([MixedEdge(space.ops, space.none, 16, stride, k)]).double()
        for k in (4, 4 // copies)
    )
    widen(wide, narrow)  # reads no more of a supernet than its edges and other parameters
    return narrow[0], wide[0]


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("copies", [2, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", SPACES)
def test_a_wide_operation_does_with_copies_what_the_narrow_one_does(
    name, stride, copies, train
) -> None:
    """Channel by channel; a factorised reduction concatenates two halves of them."""
    narrow, wide = (edge.train(train) for edge in edges(name, stride, copies))
    assert (narrow.channels, wide.channels) == (4, 4 * copies)
    for size in (6, 5):
        x = torch.randn(2, 4, size, size, generator=rng(), dtype=torch.float64)
        for before, after in zip(narrow.ops, wide.ops, strict=True):
            found, expected = after(copied(x, copies)), copied(before(x), copies)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("copies", [2, 4])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", SPACES)
def test_a_wide_edge_leaves_channels_where_the_narrow_one_puts_them(name, stride, copies) -> None:
    """The first copy of what the operations compute, among the channels that pass by."""
    narrow, wide = edges(name, stride, copies)
    x = torch.randn(2, 4, 6, 6, generator=rng(), dtype=torch.float64)
    weights = torch.rand(len(narrow.ops), generator=rng(1), dtype=torch.float64)

    def run(edge: MixedEdge, y: Tensor) -> Tensor:
        padded = torch.cat([y, y.new_zeros(2, 16 - y.shape[1], 6, 6)], dim=1)
        return edge(State(padded), weights, range(len(weights)))

    found, expected = run(wide, copied(x, copies)), run(narrow, x)
    assert expected[:, ::4].abs().min() > 0 and not expected[:, 1].any()
    torch.testing.assert_close(found[:, ::4], expected[:, ::4], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SPACES)
def test_every_edge_is_widened_and_the_rest_copied(name) -> None:
    skeleton = Skeleton(SPACES[name], 3, 4, 8, 8, 8, 3)
    narrow, wide = (Supernet(skeleton, partial).double() for partial in (4, 2))
    widen(wide, narrow)
    pairs = [
        [module for module in supernet.modules() if isinstance(module, MixedEdge)]
        for supernet in (narrow, wide)
    ]
    strides = set()
    for old, new in zip(*pairs, strict=True):
        strides.add(new.stride)
        x = torch.randn(2, old.channels, 6, 6, generator=rng(), dtype=torch.float64)
        for before, after in zip(old.ops, new.ops, strict=True):
            found, expected = after(copied(x, 2)), copied(before(x), 2)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert strides == ({1, 2} if "reduce" in SPACES[name].kinds else {1})
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
