"""Genotypes: round trips through JSON and the table, identity, and what bad input gets."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cells.errors import InputError
from cells.genotype import Edge, Genotype
from cells.notation import read_genotype
from cells.space import SPACES

words = st.text(max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)
integers = st.integers(-(10**18), 10**18)
scalars = st.none() | st.booleans() | integers | numbers | words
settings = st.dictionaries(words, scalars | st.lists(st.dictionaries(words, scalars, max_size=2)))
metadata = st.fixed_dictionaries(
    {},
    optional={
        "name": words,
        "lam": st.dictionaries(words, st.floats(1e-300, 1e300), max_size=3),
        "costs": st.dictionaries(words, numbers | integers, max_size=3),
        "seed": integers,
        "search": settings,
    },
)


@st.composite
def darts_genotypes(draw: st.DrawFn) -> Genotype:
    space = SPACES["darts"]
    cells = {}
    for kind in space.kinds:
        nodes = []
        for target in range(2, 6):
            sources = draw(st.permutations(range(target)))[:2]
            nodes.append(tuple(Edge(draw(st.sampled_from(space.ops[1:])), i) for i in sources))
        cells[kind] = tuple(nodes)
    return Genotype("darts", cells, **draw(metadata))


@st.composite
def nasbench_genotypes(draw: st.DrawFn) -> Genotype:
    space = SPACES["nasbench201"]
    nodes = []
    for target in range(1, 4):
        ops = [draw(st.sampled_from(space.ops)) for _ in range(target)]
        nodes.append(tuple(Edge(op, i) for i, op in enumerate(ops) if op != "none"))
    return Genotype("nasbench201", {"cell": tuple(nodes)}, **draw(metadata))


def refused(match: str, read: Callable[[Any], object], value: object) -> None:
    with pytest.raises(InputError, match=match) as caught:
        read(value)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300


@given(darts_genotypes() | nasbench_genotypes())
def test_json_round_trip(genotype: Genotype) -> None:
    text = genotype.to_json()
    assert Genotype.from_json(text) == genotype
    assert json.loads(text)["format"] == "genotype"


@given(darts_genotypes() | nasbench_genotypes())
def test_choices_round_trip(genotype: Genotype) -> None:
    space = SPACES[genotype.space]
    again = Genotype.from_choices(space, genotype.choices(), seed=3)
    assert again.id == genotype.id
    for kind, nodes in genotype.cells.items():
        assert again.cells[kind] == tuple(
            tuple(sorted(node, key=lambda edge: edge.source)) for node in nodes
        )


@given(darts_genotypes(), darts_genotypes())
def test_id_is_of_the_architecture(first: Genotype, second: Genotype) -> None:
    assert (first.id == second.id) == (first.choices() == second.choices())


def test_id_of_a_published_cell() -> None:
    # Ids stand in users' files, so they never change.
    assert read_genotype("DARTS_V2").id == "90655af460"


def test_darts_choices_by_hand() -> None:
    # Rows of the normal cell: node 2 reads 0, 1; node 3 reads 0, 1, 2; node 4 …; node 5 ….
    normal = (4, 4, 4, 4, 0, 3, 4, 0, 0, 3, 0, 6, 0, 0)
    reduce = (1, 1, 0, 1, 3, 1, 0, 3, 0, 0, 1, 3, 0, 0)
    assert read_genotype("DARTS_V2").choices() == normal + reduce


def test_json_has_one_line_per_node() -> None:
    lines = read_genotype("DARTS_V2").to_json().splitlines()
    assert '      [["skip_connect", 0], ["dil_conv_3x3", 2]]' in lines


def test_save_replaces_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cell.json"
    path.write_text("before")
    first = read_genotype("DARTS_V1")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", no_space)
        with pytest.raises(OSError, match="No space"):
            first.save(path)
    assert path.read_text() == "before"
    first.save(path)
    assert read_genotype(path) == first
    assert list(tmp_path.iterdir()) == [path]


def published(**changes: object) -> str:
    return json.dumps(json.loads(read_genotype("DARTS_V2").to_json()) | changes)


def first_node(*edges: object, nodes: int = 4) -> str:
    cells = json.loads(published())["cells"]
    cells["normal"][0] = edges
    cells["normal"] = cells["normal"][:nodes]
    return published(cells=cells)


OTHER = ["sep_conv_3x3", 1]
BAD_JSON = {
    "not JSON": ("{" + "'space': 1}", "not JSON: .* 1:2"),
    "empty": ("", "not JSON"),
    "a list": ("[]", "must be of type dict"),
    "NaN": (published(costs={"flops": float("nan")}), "must not hold 'NaN'"),
    "duplicate key": (published()[:-1] + ', "space": "darts"}', "'space' stands twice"),
    "brackets": ("[" * 50_000, "deeper than 8"),
    "format": (published(format="onnx"), "unknown format 'onnx'"),
    "format missing": ("{}", "key 'format' is missing"),
    "version": (published(version=2), "unknown genotype version 2: this program reads 1"),
    "version type": (published(version=True), "version must be of type int, got True"),
    "field": (published(sed=1), "unknown genotype field 'sed': did you mean 'seed'"),
    "space": (published(space="dart"), "unknown search space 'dart': did you mean 'darts'"),
    "space type": (published(space=["darts"]), "space must be of type str"),
    "kinds": (published(cells={"normal": [], "reduction": []}), "did you mean 'reduce'"),
    "kind missing": (published(cells={}), "cell 'normal' is missing"),
    "cells type": (published(cells=[]), "cells must be of type dict"),
    "cell type": (published(cells={"normal": 3}), "cell 'normal' must be of type list, got 3"),
    "node type": (published(cells={"normal": [3]}), "node of cell 'normal' must be of type list"),
    "node missing": (first_node(["skip_connect", 0], OTHER, nodes=3), "4 nodes, got 3"),
    "edge missing": (first_node(OTHER), "node 2 of cell 'normal' must have 2 edges, got 1"),
    "no edges": (first_node(), "must have 2 edges, got 0"),
    "operation": (first_node(["sep_conv_3x4", 0], OTHER), "did you mean 'sep_conv_3x3'"),
    "none": (first_node(["none", 0], OTHER), "leave the edge out"),
    "later source": (first_node(["skip_connect", 2], OTHER), "cannot read state 2: .* 0 to 1"),
    "negative source": (first_node(["skip_connect", -1], OTHER), "cannot read state -1"),
    "source twice": (first_node(["skip_connect", 1], OTHER), r"reads a state twice: \[1, 1\]"),
    "edge type": (first_node(["skip_connect", True], OTHER), "got .'skip_connect', True."),
    "edge length": (first_node(["skip_connect"], OTHER), "an edge must be an operation and a"),
    "λ zero": (published(lam={"params": 0}), "λ of 'params' must be positive and finite, got 0"),
    "λ type": (published(lam={"params": "1"}), "lam of 'params' must be a number, got '1'"),
    "costs type": (published(costs=[1]), "costs must be of type dict"),
    "seed type": (published(seed=0.5), "seed must be of type int, got 0.5"),
    "name type": (published(name=1), "name must be of type str"),
    "search type": (published(search=[]), "search must be of type dict"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json_is_refused(case: str) -> None:
    text, match = BAD_JSON[case]
    refused(match, Genotype.from_json, text)


def test_unwritable_settings_are_refused() -> None:
    cells = read_genotype("DARTS_V2").cells
    refused("'NaN'", Genotype.to_json, Genotype("darts", cells, search={"a": float("nan")}))
    refused("surrogates", Genotype.to_json, Genotype("darts", cells, name="\udcff"))
    refused(
        "params.* got nan", lambda lam: Genotype("darts", cells, lam=lam), {"params": float("nan")}
    )
    refused("flops.* got inf", lambda c: Genotype("darts", cells, costs=c), {"flops": float("inf")})
