"""Members of a front and the volume that it dominates."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.selection.pareto import hypervolume, knee, pareto

small = st.integers(0, 3)


@given(st.lists(st.tuples(small, small, small), min_size=1, max_size=12))
def test_pareto_members_are_those_that_nothing_dominates(points) -> None:
    accuracies, costs = [p[0] for p in points], [p[1:] for p in points]
    members = pareto(accuracies, costs)
    for i, member in enumerate(members):
        dominators = [
            j
            for j in range(len(points))
            if accuracies[j] >= accuracies[i]
            and all(costs[j][k] <= costs[i][k] for k in range(2))
            and points[j] != points[i]
        ]
        assert member == (not dominators)


def counted(points, costs: int, side: int) -> int:
    """Unit cubes of the grid [0, side]^(1 + costs) that some point dominates, one by one."""
    return sum(
        any(
            cube[0] < point[0] and all(cube[1 + k] >= point[1 + k] for k in range(costs))
            for point in points
        )
        for cube in itertools.product(range(side), repeat=1 + costs)
    )


@pytest.mark.parametrize("costs", [1, 2, 3])
@given(data=st.data())
def test_hypervolume_counts_the_dominated_cubes(costs, data) -> None:
    coordinate = st.integers(0, 4)
    points = data.draw(st.lists(st.tuples(*[coordinate] * (1 + costs)), max_size=6))
    found = hypervolume(
        [p[0] for p in points], [p[1:] for p in points], least=0.0, most=(4.0,) * costs
    )
    assert found == counted(points, costs, 4)


def test_what_lies_beyond_the_reference_counts_nothing() -> None:
    inside = hypervolume([0.9], [[0.25]], least=0.8, most=[1.0])
    assert math.isclose(inside, 0.1 * 0.75)
    beyond = hypervolume([0.9, 0.7, 0.95], [[0.25], [0.0], [2.0]], least=0.8, most=[1.0])
    assert beyond == inside
    assert hypervolume([], [], least=0.8, most=[1.0]) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1))
def test_only_members_count(points) -> None:
    accuracies, costs = [p[0] for p in points], [p[1:] for p in points]
    members = pareto(accuracies, costs)
    kept = [i for i, member in enumerate(members) if member]
    everything = hypervolume(accuracies, costs, least=0.2, most=(0.9, 0.8))
    few = hypervolume([accuracies[i] for i in kept], [costs[i] for i in kept], least=0.2,
                      most=(0.9, 0.8))  # fmt: skip
    assert math.isclose(everything, few, abs_tol=1e-12)


def test_the_knee_is_the_member_farthest_above_the_line_between_the_ends() -> None:
    # On a logarithmic axis 10, 100, 1000 lie at 0, ½, 1: of shares 0, ¾, 1 the middle is ¼ above.
    assert knee([0.5, 0.875, 1.0], [10, 100, 1000]) == 1
    assert knee([1.0, 0.5, 0.9, 0.875], [1000, 10, 300, 100]) == 3
    assert knee([0.5, 0.75, 1.0], [10, 100, 1000]) is None  # a straight line
    assert knee([0.5, 0.6, 1.0], [10, 100, 1000]) is None  # and one that bends away
    assert knee([0.5, 0.6], [10, 100]) is None
    assert knee([], []) is None
    assert knee([0.5, 0.5, 0.5], [10, 20, 30]) is None
