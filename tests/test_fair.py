"""Cells of the prior in exact proportions: counted, connected, mixed, the same for a seed."""

import re
from collections import Counter
from itertools import pairwise

import pytest
import torch

from cells.errors import InputError
from cells.space import SPACES
from nas.fair import FairCells, proportions

SPACE = SPACES["nasbench201"]
PRIOR = (0.1, 0.25, 0.2, 0.35, 0.1)
COUNTS = [2, 5, 4, 7, 2]


@pytest.mark.parametrize(
    ("probs", "total", "counts"),
    [
        (PRIOR, 20, COUNTS),
        ((0.5, 0.3, 0.2), 10, [5, 3, 2]),
        ((1 / 3, 1 / 3, 1 / 3), 4, [2, 1, 1]),  # of equal remainders the first
        ((0.4, 0.35, 0.25), 3, [1, 1, 1]),  # 1.2, 1.05, 0.75
        ((0.1,) * 10, 10, [1] * 10),  # whose floats add up to 0.9999999999999999
    ],
)
def test_counts_are_nearest_to_probabilities(probs, total, counts) -> None:
    assert proportions(probs, total) == counts


def test_every_edge_has_every_operation_as_often_as_the_prior_says() -> None:
    fair = FairCells(SPACE, PRIOR, 20, seed=1)
    for which in range(30):
        cells = fair.round(which)
        assert cells.shape == (20, 6) and cells.dtype == torch.int64
        for edge in range(6):
            assert cells[:, edge].bincount(minlength=5).tolist() == COUNTS
        assert all(SPACE.connected(cell) for cell in cells.tolist())


def test_cells_of_two_kinds_are_fair_too() -> None:
    space = SPACES["darts"]
    ops = len(space.ops)
    cells = FairCells(space, (1 / ops,) * ops, 2 * ops, seed=0).round(0)
    assert cells.shape == (2 * ops, 28)
    for edge in range(28):
        assert cells[:, edge].bincount(minlength=ops).tolist() == [2] * ops


def test_the_sequence_depends_on_nothing_but_seed_and_number() -> None:
    fair = FairCells(SPACE, PRIOR, 20, seed=1)
    cells = [fair[number].tolist() for number in range(60)]
    assert FairCells(SPACE, PRIOR, 20, seed=1)[45].tolist() == cells[45]
    assert cells == [cell for which in range(3) for cell in fair.round(which).tolist()]
    assert all(a != b for a, b in pairwise(cells[start : start + 20] for start in (0, 20, 40)))
    assert FairCells(SPACE, PRIOR, 20, seed=2).round(0).tolist() != cells[:20]


def test_edges_are_shuffled_each_by_itself() -> None:
    fair = FairCells(SPACE, PRIOR, 20, seed=0)
    cells = torch.cat([fair.round(which) for which in range(100)])
    pairs = Counter((a, b) for a, b in cells[:, [0, 5]].tolist())
    for a, p in enumerate(PRIOR):
        for b, q in enumerate(PRIOR):
            # 2,000 draws: a standard deviation of at most 0.0073. Of two that are both `none`
            # there are fewer, as one of them may be the last way to the output.
            if (a, b) != (0, 0):
                assert pairs[a, b] / 2000 == pytest.approx(p * q, abs=0.03)


def test_an_operation_that_would_never_be_drawn_is_refused() -> None:
    message = "none has no place among 3 fair cells at its probability of 0.1: make fair_cells at"
    with pytest.raises(InputError, match=re.escape(message) + " least 10"):
        FairCells(SPACE, PRIOR, 3, seed=0)


def test_cells_that_cannot_be_connected_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.fair.ATTEMPTS", 200)
    fair = FairCells(SPACE, (0.8, 0.05, 0.05, 0.05, 0.05), 20, seed=0)
    with pytest.raises(InputError, match=r"20 fair cells leave .* lower the first of op_probs"):
        fair[0]
