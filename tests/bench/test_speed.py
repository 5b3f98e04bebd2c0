"""What a search step computes, by counts that no clock and no machine changes."""

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.worker import noise
from cells.cell import Skeleton
from cells.cost import CostTable
from cells.space import find_space
from nas.cell_search.config import SearchConfig
from nas.cell_search.searcher import Searcher
from nas.objective.costs import measure
from nas.runtime.processes import Processes

CONFIG = SearchConfig(
    space="darts", channels=4, num_cells=3, batch_size=8, relax="softmax", device="cpu", threads=1
)
EDGES = 14
ALONE = Processes(0, 1, torch.device("cpu"))


class Count(TorchDispatchMode):
    """Counts calls by name; convolution gradients by what they are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> Any:  # type: ignore[no-untyped-def]
        name = func._schema.name.removeprefix("aten::")
        self.calls[name] += 1
        if name == "convolution_backward":
            for what, asked in zip(("input", "weight"), args[10], strict=False):
                self.calls[f"convolution {what} gradient"] += asked
        return func(*args, **(kwargs or {}))


@cache
def tables() -> dict[str, CostTable]:
    """Measured once for all searches."""
    return measure(Skeleton(find_space("darts"), 3, 10, 16, 16, 4, 3), ALONE, 1, None)


def make(**changes: Any) -> Searcher:
    data = noise(64, 16, 10)
    return Searcher(replace(CONFIG, **changes), ALONE, data=data, tables=dict(tables()))


def flops(searcher: Searcher, half: str) -> int:
    """Of one half of a step, as torch counts them."""
    train, val = (searcher.problem.sample(name, 0) for name in ("train", "val"))
    with FlopCounterMode(display=False) as counter:
        if half == "arch":
            searcher.step_architecture(train, val)
        else:
            searcher.weight_gradient(train)
    return counter.get_total_flops()


@pytest.fixture(scope="module")
def calls() -> Counter[str]:
    """Of one whole step, softmax."""
    searcher = make()
    searcher.advance()
    with Count() as count:
        searcher.advance()
    return count.calls


def test_pools_are_computed_once_per_state_and_half(calls: Counter[str]) -> None:
    states = 3 * 5  # of each of 3 cells: two inputs and three nodes; nothing leaves the fourth
    for pool in ("max_pool2d_with_indices", "avg_pool2d"):
        assert calls[pool] == 2 * states


def test_normalisations_are_those_of_convolutions_and_shared_pools(calls: Counter[str]) -> None:
    convolutions = 3 * EDGES * (2 + 2 + 1 + 1)
    skips = 2 * 8  # halving ones, in two reduction cells
    around = 1 + 3 * 2  # the stem and the projections of each cell's inputs
    assert calls["native_batch_norm"] == 2 * (convolutions + skips + around + 2 * 3 * 5)


def test_the_architecture_half_asks_for_no_weight_gradient() -> None:
    searcher = make()
    train, val = (searcher.problem.sample(half, 0) for half in ("train", "val"))
    with Count() as count:
        searcher.step_architecture(train, val)
    assert count.calls["convolution input gradient"] > 100
    assert count.calls["convolution weight gradient"] == 0


def test_a_step_makes_few_calls(calls: Counter[str]) -> None:
    """A bound a little above what it took when this was written: 18.5 thousand.

    Images of 2×2 and 4×4 pixels, as here in the last cell, go through matrices: more calls, each of
    them far quicker than the reference code for kernels larger than the image.
    """
    assert sum(calls.values()) < 19_000


def test_floating_point_operations() -> None:
    """Forward of the candidates: the table of costs; backward: as much again for each gradient."""
    searcher = make()
    table = searcher.problem.tables["flops"]
    forward = 2 * 8 * float(table.base + table.table.sum())  # a multiply–add is two, 8 images
    found = flops(searcher, "arch")
    # No gradient reaches below the first cell's edges, where no weight asks for one.
    assert 1.5 * forward < found < 2 * forward
    assert flops(make(relax="straight_through"), "weights") < 0.4 * flops(searcher, "weights")


def test_second_order_makes_four_passes() -> None:
    first, second = make(), make(order="second")
    forwards = []
    for searcher in (first, second):
        with Count() as count:
            searcher.advance()
        forwards.append(count.calls["max_pool2d_with_indices"])
    assert forwards[1] == 2 * forwards[0]


def test_lams_are_the_only_difference_between_a_search_for_one_and_for_all() -> None:
    counts = []
    for changes in ({"hypernet": "constant", "lam": (0.1,)}, {"hypernet": "gibbs"}):
        searcher = make(**changes)
        searcher.advance()
        with Count() as count:
            searcher.advance()
        counts.append(count.calls)
    single, conditioned = counts
    for name in ("convolution", "convolution_backward", "native_batch_norm"):
        assert single[name] == conditioned[name]
    assert sum(conditioned.values()) < 1.02 * sum(single.values())
