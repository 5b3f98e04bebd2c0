"""Regularised evolution: known optima, counted in scored cells; who lives and who dies."""

import itertools
import random
from collections.abc import Callable

import pytest
import torch

from cells.sampling import Choices, random_cell
from cells.space import SPACES, SearchSpace
from nas.selection.evolution import POPULATION, Evolution
from nas.selection.pareto import pareto

NB201, DARTS = SPACES["nasbench201"], SPACES["darts"]
EACH_SPACE = pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
PRICES = (0, 0, 1, 9, 0)


def additive(seed: int) -> tuple[Callable[[Choices], float], Choices]:
    """A loss of NAS-Bench-201 cells that adds over edges, and the best of all connected ones."""
    losses = torch.rand(6, 5, generator=torch.Generator().manual_seed(seed)).tolist()

    def loss(cell: Choices) -> float:
        return sum(losses[edge][op] for edge, op in enumerate(cell))

    return loss, min(filter(NB201.connected, itertools.product(range(5), repeat=6)), key=loss)


def wrong(seed: int) -> tuple[Callable[[Choices], float], Choices]:
    """How many of 16 inputs and 16 operations of a DARTS cell are not those of one cell."""
    draw = random.Random(seed)
    best = [DARTS.none] * DARTS.num_edges
    ops = [DARTS.none] * DARTS.num_edges
    for rows in DARTS.incoming:
        op = draw.randrange(1, 8)
        for row in rows:
            ops[row] = op
        for row in draw.sample(rows, 2):
            best[row] = op

    def loss(cell: Choices) -> float:
        kept = [row for row, op in enumerate(cell) if op != DARTS.none]
        return sum((best[row] == DARTS.none) + (cell[row] != ops[row]) for row in kept)

    return loss, tuple(best)


def scored_until(evolution: Evolution, best: Choices, most: int) -> int:
    """Cells that are scored until the best is among them, or one more than `most`."""
    while best not in evolution.scores and len(evolution.scores) <= most:
        evolution.step()
    return len(evolution.scores)


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_nasbench201_is_found_early(seed: int) -> None:
    """Of 15 284 connected cells drawn without repetition it would be among 500 one time of 31."""
    loss, best = additive(seed)
    evolution = Evolution(NB201, lambda cell: (loss(cell),), random.Random(seed))
    assert scored_until(evolution, best, 500) <= 500


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_darts_is_found_among_10_to_the_18(seed: int) -> None:
    """Random cells, as many, have a third of it wrong at best."""
    loss, best = wrong(seed)
    assert loss(best) == 0
    evolution = Evolution(DARTS, lambda cell: (loss(cell),), random.Random(seed))
    assert scored_until(evolution, best, 4000) <= 4000
    draw = random.Random(seed)
    assert min(loss(random_cell(DARTS, draw)) for _ in range(4000)) >= 10


def test_a_front_is_found_for_several_aims() -> None:
    """Of 15 625 cells, far more of the true front than among as many random ones."""
    loss, _ = additive(0)

    def score(cell: Choices) -> tuple[float, ...]:
        cost = sum(PRICES[op] for op in cell)
        return loss(cell) - 0.2 * cost**0.5, cost

    every = {cell: score(cell) for cell in itertools.product(range(5), repeat=6)}
    best: dict[float, float] = {}
    for value, cost in every.values():
        best[cost] = min(value, best.get(cost, value))
    members = pareto([-value for value in best.values()], [[cost] for cost in best])
    true = {(v, c) for (c, v), member in zip(best.items(), members, strict=True) if member}
    assert len(true) > 10
    evolution = Evolution(NB201, score, random.Random(0), connected=False)
    found = set(evolution.run(1000).values())
    chance = set(random.Random(0).sample(list(every.values()), 1000))
    assert len(true & found) > 0.7 * len(true) > 3 * len(true & chance)


@EACH_SPACE
def test_the_oldest_dies_and_not_the_worst(space: SearchSpace) -> None:
    """The queue is always the last children, be the first cell of all the best by far."""
    first: list[Choices] = []

    def score(cell: Choices) -> tuple[float, ...]:
        first.append(cell)
        return (float(cell != first[0]),)

    evolution = Evolution(space, score, random.Random(0), population=10, tournament=3)
    born = []
    for step in range(1, 60):
        born.append(evolution.step())
        assert list(evolution.queue) == born[-10:]
        assert len(evolution.queue) == min(step, 10)
    assert set(evolution.scores) == set(born) and list(evolution.scores) == first


def test_the_winner_is_the_best_of_few() -> None:
    """With rank r of ten in a tournament of three, replaced: (1 − r/10)³ − (1 − (r + 1)/10)³."""
    ranks: dict[Choices, int] = {}
    evolution = Evolution(
        NB201,
        lambda cell: (float(ranks.setdefault(cell, len(ranks))),),
        random.Random(0),
        population=10,
        tournament=3,
    )
    while len(evolution.queue) < 10:
        evolution.step()
    assert len(ranks) == 10
    wins = [0] * 10
    for _ in range(5000):
        wins[ranks[evolution.parent()]] += 1
    wanted = [(1 - r / 10) ** 3 - (1 - (r + 1) / 10) ** 3 for r in range(10)]
    assert [w / 5000 for w in wins] == pytest.approx(wanted, abs=0.03)


def test_all_that_nothing_dominates_win_alike() -> None:
    """Dearer and better: no cell of the queue dominates another, and all are parents."""
    ranks: dict[Choices, int] = {}

    def score(cell: Choices) -> tuple[float, ...]:
        rank = ranks.setdefault(cell, len(ranks))
        return float(rank), -2.0 * rank

    evolution = Evolution(NB201, score, random.Random(0), population=5, tournament=4)
    while len(evolution.queue) < 5:
        evolution.step()
    wins = [0] * 5
    for _ in range(5000):
        wins[ranks[evolution.parent()]] += 1
    assert [w / 5000 for w in wins] == pytest.approx([0.2] * 5, abs=0.03)


@EACH_SPACE
def test_a_seed_repeats_and_every_cell_is_scored_once(space: SearchSpace) -> None:
    calls: list[Choices] = []

    def run(seed: int) -> list[Choices]:
        calls.clear()

        def score(cell: Choices) -> tuple[float, ...]:
            calls.append(cell)
            return sum(cell), -cell[0]

        found = Evolution(space, score, random.Random(seed)).run(2 * POPULATION)
        assert list(found) == calls and len(found) == 2 * POPULATION
        assert all(space.connected(cell) for cell in found)
        return list(found)

    assert run(1) == run(1) != run(2)


def test_a_space_that_is_used_up_ends_the_run() -> None:
    tiny = SearchSpace("tiny", ("none", "skip", "conv"), ("cell",), 1, 1, None, False, 1)
    found = Evolution(tiny, lambda cell: (float(cell[0]),), random.Random(0)).run(100)
    assert set(found) == {(1,), (2,)}
