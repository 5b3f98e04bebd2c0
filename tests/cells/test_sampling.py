"""Random cells and their neighbours: every cell as often as it should be, by enumeration."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable

import pytest
import torch
from scipy.stats import chisquare

from cells import sampling
from cells.cell import Skeleton
from cells.cost import CostTable, cost_table
from cells.errors import InputError
from cells.genotype import Genotype
from cells.sampling import Choices, mutate, random_cell, random_cells_at, random_cells_over
from cells.space import SPACES, SearchSpace
from nas.architecture.discretise import discretise

NB201, DARTS = SPACES["nasbench201"], SPACES["darts"]
EACH_SPACE = pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
KEEPS_ALL = SearchSpace("all", ("conv", "none", "skip"), ("cell",), 1, 2, None, False, 1)
KEEPS_TWO = SearchSpace("two", ("conv", "none", "skip"), ("cell",), 2, 2, 2, True, 1)
EACH_SMALL = pytest.mark.parametrize("space", [KEEPS_ALL, KEEPS_TWO], ids=lambda s: s.name)


def every_cell(space: SearchSpace) -> list[Choices]:
    """All connected cells of a small space."""
    return [
        cell
        for cell in itertools.product(range(len(space.ops)), repeat=space.num_edges)
        if space.connected(cell)
        and (
            space.inputs_per_node is None
            or all(
                sum(cell[row] != space.none for row in rows) == space.inputs_per_node
                for rows in space.incoming
            )
        )
    ]


def assert_frequencies(found: Iterable[Choices], probs: dict[Choices, float]) -> None:
    """Whether draws follow a distribution, by χ²; nothing else is drawn."""
    counts = Counter(found)
    assert set(counts) <= set(probs)
    expected = [counts.total() * p for p in probs.values()]
    assert min(expected) > 5
    assert chisquare([counts[cell] for cell in probs], expected).pvalue > 1e-3


def test_incoming_edges_are_those_of_a_node() -> None:
    assert NB201.incoming == ((0,), (1, 2), (3, 4, 5))
    assert DARTS.incoming[:3] == ((0, 1), (2, 3, 4), (5, 6, 7, 8))
    assert DARTS.incoming[4] == (14, 15) and len(DARTS.incoming) == 8


@EACH_SMALL
def test_every_connected_cell_is_as_likely(space: SearchSpace) -> None:
    # 3³ cells without the 12 whose last node is cut off; 3 pairs of inputs and 2⁴ operations.
    cells = every_cell(space)
    assert len(cells) == {"all": 22, "two": 48}[space.name]
    draw = random.Random(0)
    assert_frequencies(
        (random_cell(space, draw) for _ in range(4000)), dict.fromkeys(cells, 1 / len(cells))
    )


def test_cells_that_are_not_connected_are_drawn_if_wanted() -> None:
    cells = itertools.product(range(3), repeat=3)
    draw = random.Random(0)
    drawn = (random_cell(KEEPS_ALL, draw, connected=False) for _ in range(3000))
    assert_frequencies(drawn, dict.fromkeys(cells, 1 / 27))


@EACH_SPACE
def test_random_cells_are_cells_of_their_space(space: SearchSpace) -> None:
    draw = random.Random(0)
    for share in (None, 0.0, 0.3, 1.0):
        for _ in range(100):
            cell = random_cell(space, draw, convolutions=share)
            assert space.connected(cell)
            assert Genotype.from_choices(space, cell).choices() == cell
    assert random_cell(space, random.Random(1)) == random_cell(space, random.Random(1))


@pytest.mark.parametrize("share", [0.0, 0.15, 0.5, 1.0])
def test_a_share_of_the_edges_are_convolutions(share: float) -> None:
    """Of 16 edges each, by operation; the four convolutions are as likely as one another."""
    draw = random.Random(0)
    cells = [random_cell(DARTS, draw, convolutions=share) for _ in range(300)]
    counts = Counter(DARTS.ops[op] for cell in cells for op in cell if op != DARTS.none)
    assert counts.total() == 300 * 16
    for op in DARTS.ops[1:]:
        wanted = share / 4 if "conv" in op else (1 - share) / 3
        assert counts[op] / 4800 == pytest.approx(wanted, abs=0.02)  # 4 standard deviations


def test_cells_without_convolutions_are_cheap() -> None:
    draw = random.Random(0)
    table = cost_table("params", Skeleton(DARTS, 3, 10, 32, 32, 16, 3))
    light = [table.total(random_cell(DARTS, draw, convolutions=0.0)) for _ in range(100)]
    # A skip that halves its input has weights of its own.
    assert max(light) < 2.5 * table.low < table.high


# ---------------------------------------------------------------- of a given cost


@EACH_SMALL
@pytest.mark.parametrize("cost", [13.0, 14.0, 15.0])
def test_cells_of_equal_cost_are_as_likely(space: SearchSpace, cost: float) -> None:
    """A window that holds one cost alone: 10, and 1, 2, 3, … for convolutions by edge."""
    prices = torch.zeros(space.num_edges, 3, dtype=torch.float64)
    prices[:, 0] = torch.arange(1, space.num_edges + 1)
    table = CostTable("params", 10.0, prices)
    cells = [cell for cell in every_cell(space) if table.total(cell) == cost]
    assert len(cells) >= 2
    found = random_cells_at(space, table, cost, 2000, random.Random(0), within=0.01)
    assert_frequencies(found, dict.fromkeys(cells, 1 / len(cells)))


@EACH_SMALL
def test_within_a_window_only_cost_matters(space: SearchSpace) -> None:
    """Every connected cell is in it: log p falls linearly with cost, with cost 12.5 on average."""
    prices = torch.zeros(space.num_edges, 3, dtype=torch.float64)
    prices[:, 0] = torch.arange(1, space.num_edges + 1)
    table = CostTable("params", 10.0, prices)
    cells = every_cell(space)

    # β by bisection over the space without its condition on connections, which comes after.
    product = [
        cell
        for cell in itertools.product(range(3), repeat=space.num_edges)
        if space.inputs_per_node is None or cell in cells
    ]

    def weights(beta: float, among: list[Choices]) -> list[float]:
        worth = [math.exp(-beta * table.total(cell)) for cell in among]
        return [w / sum(worth) for w in worth]

    low, high = -5.0, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        pairs = zip(weights(middle, product), product, strict=True)
        too_dear = sum(p * table.total(cell) for p, cell in pairs) > 12.5
        low, high = (middle, high) if too_dear else (low, middle)
    found = random_cells_at(space, table, 12.5, 6000, random.Random(0), within=1.0)
    assert_frequencies(found, dict(zip(cells, weights(low, cells), strict=True)))


@EACH_SPACE
@pytest.mark.parametrize("name", ["params", "flops"])
def test_costs_are_about_those_wanted(space: SearchSpace, name: str) -> None:
    """From the least to the most expensive cells, which uniform draws never reach."""
    table = cost_table(name, Skeleton(space, 3, 10, 32, 32, 16, 3))
    signs = torch.tensor([-1, 1])[:, None, None]
    low, high = table.totals(discretise(space, signs * table.table)).log().tolist()
    uniform = [table.total(random_cell(space, random.Random(seed))) for seed in range(200)]
    assert max(uniform) < 0.92 * math.exp(high)
    draw = random.Random(0)
    for position in (0.0, 0.1, 0.5, 0.9, 1.0):
        cost = math.exp((1 - position) * low + position * high)
        cells = random_cells_at(space, table, cost, 20, draw, within=0.08)
        assert len(cells) == 20 and (len(set(cells)) >= 5 or position == 1)
        for cell in cells:
            assert space.connected(cell)
            assert Genotype.from_choices(space, cell).choices() == cell
            assert table.total(cell) == pytest.approx(cost, rel=0.08)
    again = random_cells_at(space, table, cost, 3, random.Random(7))
    assert again == random_cells_at(space, table, cost, 3, random.Random(7))


@pytest.mark.parametrize("cost", [1e3, 1e9])
def test_a_cost_that_no_cell_has_is_named(cost: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "TRIES", 50)
    table = cost_table("params", Skeleton(DARTS, 3, 10, 32, 32, 16, 3))
    extreme = discretise(DARTS, (1 if cost > table.base else -1) * table.table)
    named = (
        rf"0 of 50 cells are within 5% of params .* nearest has {table.total(extreme):,.6g}: ask"
    )
    with pytest.raises(InputError, match=named) as error:
        random_cells_at(DARTS, table, cost, 1, random.Random(0))
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- neighbours


def distance(one: Choices, other: Choices) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("connected", [True, False])
def test_neighbours_have_another_operation_on_one_edge(connected: bool) -> None:
    """Of a cell with a single path; without it, 24 are left less those that cut it."""
    cell = tuple("nsc3a".index(op) for op in "3nnn3n")
    near = [other for other in itertools.product(range(5), repeat=6) if distance(cell, other) == 1]
    if connected:
        near = [other for other in near if NB201.connected(other)]
    assert len(near) == (22 if connected else 24)
    draw = random.Random(0)
    found = (mutate(NB201, cell, draw, connected=connected) for _ in range(2000))
    assert_frequencies(found, dict.fromkeys(near, 1 / len(near)))


def test_neighbours_in_darts_change_an_operation_or_an_input() -> None:
    """16 edges; half of the time one with states to choose from reads another of them."""
    draw = random.Random(3)
    cell = random_cell(DARTS, draw)
    probs: dict[Choices, float] = {}
    for rows in DARTS.incoming:
        free = [row for row in rows if cell[row] == DARTS.none]
        for row in set(rows) - set(free):
            for op in set(range(1, 8)) - {cell[row]}:
                probs[*cell[:row], op, *cell[row + 1 :]] = 1 / 16 / 6 / (2 if free else 1)
            for other in free:
                moved = list(cell)
                moved[row], moved[other] = DARTS.none, cell[row]
                probs[tuple(moved)] = 1 / 16 / 2 / len(free)
    assert len(probs) == 16 * 6 + 2 * (0 + 2 + 4 + 6) and sum(probs.values()) == pytest.approx(1)
    assert_frequencies((mutate(DARTS, cell, draw) for _ in range(6000)), probs)


@EACH_SPACE
def test_a_chain_of_neighbours_stays_in_its_space(space: SearchSpace) -> None:
    """Every step changes one edge: a row, or two rows of one node that swap."""
    draw = random.Random(0)
    cell = random_cell(space, draw)
    seen = {cell}
    for _ in range(300):
        mutant = mutate(space, cell, draw)
        changed = [row for row in range(space.num_edges) if mutant[row] != cell[row]]
        if len(changed) == 2:
            assert any(set(changed) <= set(rows) for rows in space.incoming)
            one, other = changed
            assert (mutant[one], mutant[other]) == (cell[other], cell[one])
            assert space.none in (cell[one], cell[other])
        else:
            assert len(changed) == 1
        assert space.connected(mutant)
        assert Genotype.from_choices(space, mutant).choices() == mutant
        cell = mutant
        seen.add(cell)
    assert len(seen) > 200


@EACH_SMALL
def test_cells_over_a_cost_are_equally_likely_where_costs_are_equal(space: SearchSpace) -> None:
    prices = torch.zeros(space.num_edges, 3, dtype=torch.float64)
    prices[:, 0] = 2.0
    table = CostTable("params", 1.0, prices)
    high = max(map(table.total, every_cell(space)))
    aims = [2.0 + (high - 2.0) * i / 899 for i in range(900)]
    found = random_cells_over(space, table, aims, random.Random(0))
    assert len(found) == 900
    by_cost: dict[float, list[Choices]] = {}
    for cell in found:
        by_cost.setdefault(table.total(cell), []).append(cell)
    for cost, cells in by_cost.items():
        alike = [cell for cell in every_cell(space) if table.total(cell) == cost]
        if len(cells) > 6 * len(alike) > 6:
            assert_frequencies(cells, dict.fromkeys(alike, 1 / len(alike)))
    thirds = [sum(map(table.total, found[i : i + 300])) / 300 for i in (0, 300, 600)]
    assert thirds == sorted(thirds)


def test_cells_over_a_cost_have_that_mean() -> None:
    """Where nearly all cells are connected, the mean cost is the one asked for."""
    table = cost_table("params", Skeleton(DARTS, 1, 10, 8, 8, 4, 2))
    low, high = table.base, max(table.total(random_cell(DARTS, random.Random(i))) for i in range(9))
    for share in (0.1, 0.6):
        aim = low + share * (high - low)
        found = random_cells_over(DARTS, table, [aim] * 100, random.Random(1))
        costs = torch.tensor([table.total(cell) for cell in found], dtype=torch.float64)
        assert abs(float(costs.mean()) - aim) < 4 * float(costs.std()) / 10 + 0.01 * aim


def test_cells_over_a_cost_have_kept_operations_only() -> None:
    table = cost_table("params", Skeleton(DARTS, 1, 10, 8, 8, 4, 2))
    kept = torch.tensor([[3, 4]] * DARTS.num_edges)
    found = random_cells_over(DARTS, table, [table.base + 500.0] * 20, random.Random(0), kept=kept)
    assert {op for cell in found for op in cell} <= {DARTS.none, 3, 4}
