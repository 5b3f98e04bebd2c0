"""Genotypes as other programs write them: one of each kind against the same cells by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_genotype import refused
from test_notation import DARTS_V2, NASBENCH

from cells.notation import from_nasbench201, read_genotype

WANTED = read_genotype("DARTS_V2")
NODES = {kind: [[tuple(e) for e in node] for node in WANTED.cells[kind]] for kind in WANTED.cells}
FLAT = {kind: [edge for node in nodes for edge in node] for kind, nodes in NODES.items()}


def text(cells: dict[str, Any], more: str = "") -> str:
    fields = ", ".join(f"{kind}={cell}, {kind}_concat=[2, 3, 4, 5]" for kind, cell in cells.items())
    return f"Genotype({fields}{more})"


def nni(wrap: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"width": 36, "num_cells": 20}
    for kind, nodes in NODES.items():
        for target, edges in enumerate(nodes, 2):
            for number, (op, source) in enumerate(edges):
                found[f"{kind}/op_{target}_{number}"] = op
                found[f"{kind}/input_{target}_{number}"] = [source] if wrap else source
    return found


def nb301() -> dict[str, Any]:
    """The configuration of NAS-Bench-301; edges into node 2 are 0, 1, into node 3 are 2 to 4, …"""
    start = "NetworkSelectorDatasetInfo:darts:"
    found: dict[str, Any] = {"OptimizerSelector:optimizer": "sgd"}
    for kind, nodes in NODES.items():
        for target, first, edges in zip((2, 3, 4, 5), (0, 2, 5, 9), nodes, strict=True):
            for op, source in edges:
                found[f"{start}edge_{kind}_{first + source}"] = op
            if target > 2:
                inputs = "_".join(map(str, sorted(source for _, source in edges)))
                found[f"{start}inputs_node_{kind}_{target}"] = inputs
    return found


# NASLib's numbers: operations are those of DARTS without `none`, sources come first.
COMPACT = (
    ((0, 3), (1, 3), (0, 3), (1, 3), (1, 3), (0, 2), (0, 2), (2, 5)),
    ((0, 0), (1, 0), (2, 2), (1, 0), (0, 0), (2, 2), (2, 2), (1, 0)),
)
LOG = f"03/04 12:00:01 AM gpu device = 0\n03/04 12:09:11 AM genotype = {DARTS_V2}\n(1 of 50 :)\n"


@pytest.mark.parametrize(
    "given",
    [
        text(NODES),
        text({kind: tuple(map(tuple, nodes)) for kind, nodes in NODES.items()}),
        text(NODES, ", connectN=None, connects=None"),
        text({kind: [[(*e, 0.25) for e in node] for node in NODES[kind]] for kind in NODES}),
        f"Genotype({FLAT['normal']}, range(2, 6), {FLAT['reduce']}, range(2, 6))",
        f"Genotype({FLAT['normal']}, range(2, 6), {FLAT['reduce']}, reduce_concat=range(2, 6))",
        "# it's (good\n" + DARTS_V2.replace(", reduce=", ",  # [2\n reduce=") + "  # end)",
        LOG,
        LOG + LOG,
        f"import x\nGenotype = namedtuple('Genotype', 'normal')\nV2 = {DARTS_V2}\nDARTS = V2\n",
        "\ufeff" + DARTS_V2,
        repr(FLAT),
        repr(NODES),
        json.dumps(NODES),
        json.dumps({**FLAT, "normal_concat": [2, 3, 4, 5], "reduce_concat": [2, 3, 4, 5]}),
        json.dumps(nni(wrap=True)),
        json.dumps(nni(wrap=False)),
        repr(nni(wrap=True)),
        json.dumps(nb301()),
        json.dumps({"budget": 100, "optimized_hyperparamater_config": nb301()}),
        repr(COMPACT),
        json.dumps(COMPACT),
    ],
)
def test_the_same_cells_in_every_dialect(given: str, tmp_path: Path) -> None:
    assert read_genotype(given).id == WANTED.id
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "cell.txt").write_text(given, encoding=encoding)
        assert read_genotype(tmp_path / "cell.txt").id == WANTED.id


def test_gdas_as_published() -> None:
    """Dong and Yang 2019, with the text's own layout."""
    found = read_genotype(
        """GDAS_V1 = Genotype(
  normal=[
    (('skip_connect', 0), ('skip_connect', 1)),
    (('skip_connect', 0), ('sep_conv_5x5', 2)),
    (('sep_conv_3x3', 3), ('skip_connect', 0)),
    (('sep_conv_5x5', 4), ('sep_conv_3x3', 3))],
  normal_concat=[2, 3, 4, 5],
  reduce=[
    (('sep_conv_5x5', 0), ('sep_conv_3x3', 1)), # step 1
    (('sep_conv_5x5', 2), ('sep_conv_5x5', 1)),
    (('dil_conv_5x5', 2), ('sep_conv_3x3', 1)),
    (('sep_conv_5x5', 0), ('sep_conv_5x5', 1))],
  reduce_concat=[2, 3, 4, 5],
  connectN=None, connects=None
)"""
    )
    assert (found.name, found.space) == ("GDAS_V1", "darts")
    assert found.cells["normal"][3] == (("sep_conv_5x5", 4), ("sep_conv_3x3", 3))
    assert found.cells["reduce"][2] == (("dil_conv_5x5", 2), ("sep_conv_3x3", 1))


TRIPLES = (
    "FairDARTS_a = Genotype(normal=[('sep_conv_3x3', 2, 0), ('sep_conv_5x5', 2, 1), "
    "('max_pool_3x3', 4, 0), ('none', 5, 1), ('sep_conv_3x3', 5, 0)], normal_concat=range(2, 6), "
    "reduce=[('max_pool_3x3', 2, 0), ('skip_connect', 5, 4)], reduce_concat=range(2, 6))"
)


def test_triples_and_none_leave_edges_out() -> None:
    found = read_genotype(TRIPLES)
    assert (found.space, found.name) == ("darts_free", "FairDARTS_a")
    assert found.cells == {
        "normal": (
            (("sep_conv_3x3", 0), ("sep_conv_5x5", 1)),
            (),
            (("max_pool_3x3", 0),),
            (("sep_conv_3x3", 0),),
        ),
        "reduce": ((("max_pool_3x3", 0),), (), (), (("skip_connect", 4),)),
    }
    with_none = read_genotype(DARTS_V2.replace("'skip_connect', 0", "'none', 0"))
    assert with_none.space == "darts_free"
    assert with_none.cells["normal"][2:] == ((("sep_conv_3x3", 1),), (("dil_conv_3x3", 2),))
    assert with_none.cells["reduce"] == WANTED.cells["reduce"]


@pytest.mark.parametrize(
    "given",
    [
        f"['{NASBENCH}']",
        f'["{NASBENCH}"]',
        f"\ufeff{NASBENCH}\n",
        f"[epoch 250] Structure(4 nodes with {NASBENCH})\n{NASBENCH}: 93.5\n",
        # NASLib's numbers, edges by their source: identity, zero, 3×3, 1×1, average.
        "[2, 1, 4, 0, 1, 3]",
        "(2, 1, 4, 0, 1, 3)",
    ],
)
def test_nasbench201_in_every_dialect(given: str) -> None:
    assert read_genotype(given).cells == from_nasbench201(NASBENCH).cells


OTHER = DARTS_V2.replace("dil_conv_3x3", "dil_conv_5x5")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (text(NODES, ", connectN=4, connects=None"), "connectN must be None, got 4"),
        (text({**NODES, "reduce": NODES["reduce"][:3]}), "cell 'reduce' must have 4 nodes, got 3"),
        (text({**NODES, "normal": [[*NODES["normal"][0]] * 2] * 4}), "node 2 .* 2 edges, got 4"),
        (text(NODES).replace("sep_conv_3x3", "conv_3x1_1x3", 1), "unknown operation in node 2 of"),
        (f"Genotype({FLAT['normal']}, range(2, 6))", "not a DARTS text"),
        (f"Genotype({FLAT['normal']}, normal={FLAT['normal']})", "not a DARTS text"),
        (LOG + OTHER, "holds 2 different genotypes, the last of them \"Genotype"),
        (f"{DARTS_V2}\n{OTHER}", "2 different genotypes"),
        (f"{NASBENCH} and {NASBENCH.replace('none~0', 'skip_connect~0')}", "not a NAS-Bench-201"),
        (f"a {NASBENCH} and {NASBENCH.replace('none~0', 'skip_connect~0')}", "2 different"),
        ("a " + DARTS_V2 * 101, "it holds 101 genotypes: keep the one"),
        (TRIPLES.replace("4, 0", "6, 0"), "must end at node 2, 3, 4 or 5, got 6"),
        (TRIPLES.replace("4, 0", "2, 0"), "node 2 of cell 'normal' reads a state twice"),
        (TRIPLES.replace("2, 1)", "2, 2)"), "cannot read state 2: choose from 0 to 1"),
        (json.dumps(nni(True) | {"normal/op_6_0": "skip_connect"}), "op_6_0' is of no edge"),
        (json.dumps({k: v for k, v in nni(True).items() if k != "reduce/op_3_1"}), "is missing"),
        (json.dumps(nni(True) | {"normal/input_2_0": [0, 1]}), "an edge must be"),
        (json.dumps({k: v for k, v in nb301().items() if "edge_normal_0" not in k}), "got 1"),
        (json.dumps(nb301() | {"NetworkSelectorDatasetInfo:darts:inputs_node_normal_3": "0_2"}),
         "node 3 of cell 'normal' has inputs '0_2', its edges are from 0, 1"),
        (json.dumps(nb301() | {"NetworkSelectorDatasetInfo:darts:edge_normal_14": "x"}), "edge 14"),
        (repr((COMPACT[0][:7], COMPACT[1])), "cell 'normal' must have 8 edges, .* got 7"),
        (repr(COMPACT).replace("5", "7"), "operation 7 of cell 'normal' is unknown: 0 to 6"),
        ("[2, 1, 4, 0, 1]", "6 edges, got 5 numbers"),
        ("[2, 1, 4, 0, 1, 5]", "operation 5 of the cell is unknown: 0 to 4 are skip_connect"),
        (repr({"normal": 1, "reduce": []}), "normal must be of type list, got 1"),
        ("{'normal': [], 'normal': [], 'reduce': []}", "a key stands twice"),
        ("[__import__('os')]", "not JSON"),
        ("['a', 'b', 'c']", "nor another known form"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(given: str, match: str) -> None:
    refused(match, read_genotype, given)
