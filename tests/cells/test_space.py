"""Search spaces: their sizes against the papers', the numbering of states and rows."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest

from cells.errors import InputError
from cells.space import SPACES, find_space

EACH_SPACE = pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)


def test_darts_has_two_cells_of_14_edges_with_8_candidates() -> None:
    space = SPACES["darts"]  # Liu, Simonyan, Yang 2019, section 3.1: 2 + 3 + 4 + 5 edges
    assert len(space.cell_edges) == 14 and space.num_edges == 28 and len(space.ops) == 8
    assert (space.first_edge("normal"), space.first_edge("reduce")) == (0, 14)


def test_darts_free_keeps_any_number_of_inputs() -> None:
    free = SPACES["darts_free"]
    assert free.inputs_per_node is None
    assert replace(free, name="darts", inputs_per_node=2) == SPACES["darts"]


def test_nasbench201_has_15625_cells() -> None:
    space = SPACES["nasbench201"]  # Dong, Yang 2020, section 2.1: 5 candidates on 6 edges
    assert len(space.ops) ** space.num_edges == 15625
    assert space.cell_edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def test_dead_edges_are_those_on_no_path_from_input_to_output() -> None:
    space = SPACES["nasbench201"]
    # Into a node nothing leads out of, and out of one that nothing leads into.
    assert space.live([3, 2, 3, 1, 0, 0]) == (0, 0, 0, 1, 0, 0)
    assert space.live([0, 3, 2, 1, 4, 1]) == (0, 3, 0, 1, 0, 1)
    assert space.live([3, 2, 3, 1, 1, 4]) == (3, 2, 3, 1, 1, 4)
    free = SPACES["darts_free"]  # every node is part of the output
    cell = [free.none] * 28
    cell[4] = cell[16] = 3  # from the first node, which nothing leads into; from an input
    assert free.live(cell) == tuple([free.none] * 16 + [3] + [free.none] * 11)


@EACH_SPACE
def test_what_is_live_stays_so(space) -> None:
    generator = random.Random(0)
    for _ in range(50):
        cell = [generator.randrange(len(space.ops)) for _ in range(space.num_edges)]
        live = space.live(cell)
        assert space.live(live) == live and space.connected(live) == space.connected(cell)
        assert all(op in (space.none, old) for op, old in zip(live, cell, strict=True))


@EACH_SPACE
def test_edges_run_by_target_then_source_and_make_no_cycle(space) -> None:
    assert all((t, s) < (u, r) for (s, t), (r, u) in pairwise(space.cell_edges))
    assert all(source < target for source, target in space.cell_edges)
    incoming = [t for _, t in space.cell_edges]
    for target in range(space.num_inputs, space.num_inputs + space.num_nodes):
        assert incoming.count(target) == target
    assert set(incoming) == {space.num_inputs + node for node in range(space.num_nodes)}


@EACH_SPACE
def test_none_is_a_candidate_and_names_are_distinct(space) -> None:
    assert space.ops[space.none] == "none"
    assert len(set(space.ops)) == len(space.ops)
    assert find_space(space.name) is space


@pytest.mark.parametrize(
    ("cell", "connected"),
    [("nnnsnn", True), ("333nnn", False), ("3nnn3n", True), ("n3n3nn", True), ("n3nnnc", True),
     ("nn3nn3", False), ("s3cnn3", True), ("nnnnnn", False), ("3nsnna", True)],
)  # fmt: skip
def test_a_cell_is_connected_if_its_output_depends_on_its_input(cell, connected) -> None:
    assert SPACES["nasbench201"].connected(["nsc3a".index(op) for op in cell]) == connected


def test_both_cells_of_a_darts_network_must_be_connected() -> None:
    space = SPACES["darts"]
    skip = space.ops.index("skip_connect")
    normal, both = [space.none] * 28, [space.none] * 28
    normal[0] = both[0] = both[20] = skip
    assert not space.connected(normal) and space.connected(both)
    later = [space.none] * 28
    later[4] = later[20] = skip  # from a node that nothing reaches
    assert not space.connected(later)


def test_unknown_space_gets_one_line() -> None:
    with pytest.raises(InputError) as error:
        find_space("nasbench-201")
    message = "unknown search space 'nasbench-201': did you mean 'nasbench201'?"
    assert str(error.value) == message
