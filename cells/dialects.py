"""Genotypes as other programs write them: as values, already read from JSON or a Python literal.

* cells by name, `{"normal": [("sep_conv_3x3", 0), …], "reduce": […]}`: pairs in a row (DARTS) or
  node by node, with or without weights (GDAS, SETN), or triples of operation, node and source
  (FairDARTS); with triples or `none` they are of the space darts_free;
* `{"normal/op_2_0": "sep_conv_3x3", "normal/input_2_0": [0], …}` (NNI);
* `{"NetworkSelectorDatasetInfo:darts:edge_normal_0": "sep_conv_3x3", …}` (NAS-Bench-301);
* two cells of 8 pairs of source and operation, or 6 operations, as numbers (NASLib);
* two cells of a list of operations per node, as numbers (DARTS-CC).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cells.errors import InputError
from cells.genotype import Edge, Genotype, read_edge
from cells.space import SPACES
from cells.strict_json import load_json, show, typed

DARTS, FREE, NASBENCH201 = (SPACES[name] for name in ("darts", "darts_free", "nasbench201"))

_DARTS_CC_OPS = (*DARTS.ops[1:], "none")
_COMPACT_OPS = DARTS.ops[1:]
_NASLIB_201_OPS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_NASLIB_201_EDGES = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
_NB301 = "NetworkSelectorDatasetInfo:darts:"
_NB301_KEY = re.compile(re.escape(_NB301) + r"(edge|inputs_node)_(normal|reduce)_(\d{1,2})")
_NNI_KEY = re.compile(r"(normal|reduce)/(op|input)_(\d)_(\d)")

Nodes = list[list[Edge]]
"""Edges of each inner node of a cell."""


def from_values(values: Any) -> Genotype:
    """Reads any of the forms above.

    Raises:
        InputError: saying what does not fit; or if it is none of them.
    """
    match values:
        case {"normal": _, "reduce": _}:
            return from_cells(values)
        case dict() if any(_NNI_KEY.fullmatch(str(key)) for key in values):
            return _from_nni(values)
        case dict():
            for each in (values, *values.values()):
                if isinstance(each, dict) and any(_NB301_KEY.fullmatch(str(key)) for key in each):
                    return _from_nasbench301(each)
        case [int(), *_]:
            return _from_naslib_201(values)
        case [list() | tuple() as normal, list() | tuple() as reduce]:
            if any(_is_pairs(cell) for cell in (normal, reduce)):
                return _from_compact({"normal": normal, "reduce": reduce})
            return _from_darts_cc(values)
    raise InputError(
        f"not the lists [reduce, normal] of DARTS-CC, nor another known form: {show(values)}"
    )


def from_cells(values: Mapping[str, Any], name: str | None = None) -> Genotype:
    """Reads the cells `normal` and `reduce`, and what is concatenated if that is told.

    Raises:
        InputError: if they are not such cells.
    """
    cells, free = {}, False
    for kind in DARTS.kinds:
        concat = values.get(f"{kind}_concat", range(2, 6))
        if concat not in (range(2, 6), [2, 3, 4, 5], (2, 3, 4, 5)):
            raise InputError(f"{kind}_concat must be range(2, 6), got {show(concat)}")
        cells[kind], of_triples = _read_cell(values[kind], kind)
        free |= of_triples or any(edge.op == "none" for node in cells[kind] for edge in node)
    return _genotype(cells, free, name)


def _genotype(cells: Mapping[str, Nodes], free: bool, name: str | None = None) -> Genotype:
    """Makes a genotype of nodes, which in the space darts_free may have any number of inputs."""
    kept = {
        kind: tuple(tuple(e for e in node if not (free and e.op == "none")) for node in nodes)
        for kind, nodes in cells.items()
    }
    return Genotype(FREE.name if free else DARTS.name, kept, name=name)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_pairs(cell: Sequence[Any]) -> bool:
    """Tells a cell of NASLib's, 8 pairs of numbers, from one of DARTS-CC's, 4 lists of 2 to 5."""
    return len(cell) > 4 and all(_is_sequence(edge) and len(edge) == 2 for edge in cell)


def _read_cell(value: Any, kind: str) -> tuple[Nodes, bool]:
    """Reads a cell; returns its nodes, and whether its edges name them, so that some may lack."""
    if not _is_sequence(value):
        raise InputError(f"{kind} must be of type list, got {show(value)}")
    if value and all(_is_sequence(item) and item and _is_sequence(item[0]) for item in value):
        if len(value) != DARTS.num_nodes:
            raise InputError(f"cell {kind!r} must have {DARTS.num_nodes} nodes, got {len(value)}")
        nodes = []
        for target, node in enumerate(value, DARTS.num_inputs):
            if len(node) != 2:
                raise InputError(
                    f"node {target} of cell {kind!r} must have 2 edges, got {len(node)}"
                )
            # GDAS notes the weight of an edge behind it.
            nodes.append([read_edge(e[:2] if _is_weighted(e) else e) for e in node])
        return nodes, False
    if value and all(_is_sequence(item) and len(item) == 3 for item in value):
        nodes = [[] for _ in range(DARTS.num_nodes)]
        for op, target, source in value:
            if type(target) is not int or not 2 <= target <= 5:
                raise InputError(
                    f"an edge of cell {kind!r} must end at node 2, 3, 4 or 5, got {show(target)}"
                )
            nodes[target - DARTS.num_inputs].append(read_edge([op, source]))
        return nodes, True
    edges = [read_edge(edge) for edge in value]
    if len(edges) != 8:
        raise InputError(f"cell {kind!r} must have 8 edges, two per node, got {len(edges)}")
    return [edges[i : i + 2] for i in range(0, 8, 2)], False


def _is_weighted(edge: Any) -> bool:
    return _is_sequence(edge) and len(edge) == 3 and isinstance(edge[2], float)


def _from_nni(values: Mapping[str, Any]) -> Genotype:
    """Reads NNI's choices; those of other things, such as the width, are left out."""
    cells: dict[str, Nodes] = {}
    known = set()
    for kind in DARTS.kinds:
        cells[kind] = []
        for node in range(2, 6):
            edges = []
            for number in range(2):
                op, source = (f"{kind}/{what}_{node}_{number}" for what in ("op", "input"))
                for key in (op, source):
                    if key not in values:
                        raise InputError(f"choice {key!r} is missing")
                chosen = values[source]
                if _is_sequence(chosen) and len(chosen) == 1:
                    chosen = chosen[0]
                edges.append(read_edge([values[op], chosen]))
                known |= {op, source}
            cells[kind].append(edges)
    for key in values:
        if _NNI_KEY.fullmatch(str(key)) and key not in known:
            raise InputError(f"choice {key!r} is of no edge: nodes are 2 to 5, each with edge 0, 1")
    none = any(e.op == "none" for nodes in cells.values() for node in nodes for e in node)
    return _genotype(cells, none)


def _from_nasbench301(values: Mapping[str, Any]) -> Genotype:
    """Reads a configuration: operations by the number of their edge, by target and then source."""
    cells: dict[str, Nodes] = {kind: [[] for _ in range(DARTS.num_nodes)] for kind in DARTS.kinds}
    for number, (source, target) in enumerate(DARTS.cell_edges):
        for kind in DARTS.kinds:
            op = values.get(f"{_NB301}edge_{kind}_{number}")
            if op is not None:
                cells[kind][target - DARTS.num_inputs].append(read_edge([op, source]))
    for key, value in values.items():
        found = _NB301_KEY.fullmatch(key)
        if found is None:
            continue
        what, kind, number = found[1], found[2], int(found[3])
        if what == "edge" and number >= len(DARTS.cell_edges):
            raise InputError(f"edge {number} of cell {kind!r} is unknown: 0 to 13 are")
        if what == "inputs_node":
            if not 2 <= number <= 5:
                raise InputError(f"node {number} of cell {kind!r} is unknown: 2 to 5 are")
            edges = "_".join(str(edge.source) for edge in cells[kind][number - 2])
            if value != edges:
                raise InputError(
                    f"node {number} of cell {kind!r} has inputs {show(value)}, its edges are from "
                    f"{edges.replace('_', ', ') or 'nowhere'}: mend one of the two"
                )
    return _genotype(cells, free=False)


def _from_compact(cells: Mapping[str, Sequence[Any]]) -> Genotype:
    """Reads NASLib's cells: pairs of a source and the number of an operation, two per node."""
    found: dict[str, Nodes] = {}
    for kind, pairs in cells.items():
        if len(pairs) != 8:
            raise InputError(f"cell {kind!r} must have 8 edges, two per node, got {len(pairs)}")
        edges = []
        for pair in pairs:
            if not _is_sequence(pair) or len(pair) != 2:
                raise InputError(f"an edge must be a state and an operation, got {show(pair)}")
            op = _numbered(pair[1], _COMPACT_OPS, f"cell {kind!r}")
            edges.append(read_edge([op, pair[0]]))
        found[kind] = [edges[i : i + 2] for i in range(0, 8, 2)]
    return _genotype(found, free=False)


def _from_naslib_201(numbers: Sequence[Any]) -> Genotype:
    """Reads NASLib's operations of a NAS-Bench-201 cell, edges by their source."""
    if len(numbers) != len(_NASLIB_201_EDGES):
        raise InputError(f"a NAS-Bench-201 cell has 6 edges, got {len(numbers)} numbers")
    ops = [_numbered(number, _NASLIB_201_OPS, "the cell") for number in numbers]
    by_edge = dict(zip(_NASLIB_201_EDGES, ops, strict=True))
    choices = [NASBENCH201.ops.index(by_edge[edge]) for edge in NASBENCH201.cell_edges]
    return Genotype.from_choices(NASBENCH201, choices)


def _numbered(number: Any, ops: Sequence[str], where: str) -> str:
    """Returns the operation of a number."""
    if not 0 <= typed(number, int, "an operation") < len(ops):
        raise InputError(
            f"operation {number} of {where} is unknown: 0 to {len(ops) - 1} are {', '.join(ops)}"
        )
    return ops[number]


def from_darts_cc(text: str) -> Genotype:
    """Reads `[reduce, normal]`: for each inner node the operation on the edge from every state.

    A node's list has an index into `_DARTS_CC_OPS` for each earlier state, the two inputs first.

    Raises:
        InputError: for anything else.
    """
    match load_json(text):
        case [list(), list()] as values:
            return _from_darts_cc(values)
    raise InputError(f"not the lists [reduce, normal] of DARTS-CC: {show(text)}")


def _from_darts_cc(values: Sequence[Any]) -> Genotype:
    """Does what `from_darts_cc` does, for lists."""
    reduce, normal = values
    cells = {"normal": normal, "reduce": reduce}
    choices = []
    for kind in FREE.kinds:
        if len(cells[kind]) != FREE.num_nodes:
            raise InputError(f"not the lists [reduce, normal] of DARTS-CC: {show(values)}")
        for target, node in enumerate(cells[kind], FREE.num_inputs):
            if len(typed(node, list, f"a node of cell {kind!r}")) != target:
                raise InputError(
                    f"node {target} of cell {kind!r} wants {target} operations, got {len(node)}"
                )
            for number in node:
                op = _numbered(number, _DARTS_CC_OPS, f"cell {kind!r}")
                choices.append(FREE.ops.index(op))
    return Genotype.from_choices(FREE, choices)
