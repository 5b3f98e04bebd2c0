"""Genotypes: one discrete architecture, its metadata, and its JSON, with names for everything."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from cells.errors import InputError, unknown
from cells.output_files import write_atomically
from cells.space import SearchSpace, find_space
from cells.strict_json import layout, load_json, show, typed

FORMAT = "genotype"
VERSION = 1

_METADATA = ("name", "lam", "costs", "seed", "search")
_FIELDS = ("format", "version", "space", "cells", *_METADATA)


class Edge(NamedTuple):
    """An operation and the state it reads, numbered as in `SearchSpace`."""

    op: str
    source: int


@dataclass(frozen=True)
class Genotype:
    """A discrete architecture: for each kind of cell, the edges that every inner node keeps.

    Raises:
        InputError: if the cells are not an architecture of the space, a λ is not positive and
            finite, or a cost is not finite.
    """

    space: str
    """Name of the search space."""
    cells: dict[str, tuple[tuple[Edge, ...], ...]]
    """Kind of cell -> inner node -> edges kept, in the order given; never an edge of `none`."""
    lam: dict[str, float] | None = None
    """Name of a cost -> the λ that found this architecture."""
    costs: dict[str, float] = field(default_factory=dict)
    """Name of a cost -> cost of the whole network, in the cost's own unit."""
    seed: int | None = None
    """Seed of the search."""
    search: dict[str, Any] = field(default_factory=dict)
    """Settings of the search, as JSON values."""
    name: str | None = None

    def __post_init__(self) -> None:
        _check_cells(find_space(self.space), self.cells)
        for cost, lam in (self.lam or {}).items():
            if not (math.isfinite(lam) and lam > 0):
                raise InputError(f"λ of {show(cost)} must be positive and finite, got {lam}")
        for cost, value in self.costs.items():
            if not math.isfinite(value):
                raise InputError(f"cost {show(cost)} must be finite, got {value}")

    @property
    def id(self) -> str:
        """Ten hex digits of SHA-256 over the architecture alone.

        Neither metadata nor the order of edges within a node matters.
        """
        kinds = find_space(self.space).kinds
        nodes = [[sorted(edges) for edges in self.cells[kind]] for kind in kinds]
        return hashlib.sha256(json.dumps([self.space, nodes]).encode()).hexdigest()[:10]

    def choices(self) -> tuple[int, ...]:
        """Returns the operation's column for each row of the (edges, ops) table.

        Absent edges have `space.none`.
        """
        space = find_space(self.space)
        kept = {
            (kind, edge.source, target): space.ops.index(edge.op)
            for kind, nodes in self.cells.items()
            for target, edges in enumerate(nodes, space.num_inputs)
            for edge in edges
        }
        return tuple(
            kept.get((kind, *edge), space.none) for kind in space.kinds for edge in space.cell_edges
        )

    @classmethod
    def from_choices(cls, space: SearchSpace, choices: Sequence[int], **metadata: Any) -> Self:
        """Builds the genotype with one column of the (edges, ops) table per row.

        Args:
            space: the search space, one of `SPACES`.
            choices: (edges,) column of each row; `space.none` leaves the edge out.
            metadata: `name`, `lam`, `costs`, `seed`, `search`.

        Raises:
            InputError: if a node keeps another number of edges than the space asks for.
        """
        assert len(choices) == space.num_edges, (len(choices), space.num_edges)
        cells = {}
        for kind in space.kinds:
            nodes: list[list[Edge]] = [[] for _ in range(space.num_nodes)]
            for row, (source, target) in enumerate(space.cell_edges, space.first_edge(kind)):
                op = int(choices[row])
                if op != space.none:
                    nodes[target - space.num_inputs].append(Edge(space.ops[op], source))
            cells[kind] = tuple(tuple(edges) for edges in nodes)
        return cls(space.name, cells, **metadata)

    def to_json(self) -> str:
        """Returns JSON, as a rule with one line per node.

        Raises:
            InputError: if `from_json` would refuse the text, e.g. for a NaN among the settings.
        """
        fields = {"format": FORMAT, "version": VERSION, "space": self.space, "cells": self.cells}
        for key in _METADATA:
            value = getattr(self, key)
            if value is not None:
                fields[key] = value
        text = layout(json.loads(json.dumps(fields))) + "\n"  # tuples become lists
        load_json(text)
        return text

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` writes.

        Raises:
            InputError: for anything else.
        """
        data = typed(load_json(text), dict, "a genotype")
        for key in ("format", "version", "space", "cells"):
            if key not in data:
                raise InputError(f"not a genotype: key {key!r} is missing")
        if data["format"] != FORMAT:
            raise InputError(f"unknown format {show(data['format'])}: expected {FORMAT!r}")
        if typed(data["version"], int, "version") != VERSION:
            raise InputError(
                f"unknown genotype version {data['version']}: this program reads {VERSION}"
            )
        for key in data:
            if key not in _FIELDS:
                raise unknown("genotype field", key, _FIELDS)
        cells = {
            kind: tuple(
                tuple(
                    read_edge(edge) for edge in typed(edges, list, f"a node of cell {show(kind)}")
                )
                for edges in typed(nodes, list, f"cell {show(kind)}")
            )
            for kind, nodes in typed(data["cells"], dict, "cells").items()
        }
        metadata = {key: data[key] for key in _METADATA if data.get(key) is not None}
        for key, kind in (("name", str), ("seed", int), ("search", dict)):
            if key in metadata:
                typed(metadata[key], kind, key)
        for key in ("lam", "costs"):
            for cost, value in typed(metadata.get(key, {}), dict, key).items():
                if type(value) not in (int, float):
                    raise InputError(f"{key} of {show(cost)} must be a number, got {show(value)}")
        return cls(typed(data["space"], str, "space"), cells, **metadata)

    def save(self, path: str | Path) -> None:
        """Writes JSON to `path`, whole or not at all; a file that is there is replaced.

        Raises:
            InputError: as `to_json`.
            OSError: if the folder is missing or full.
        """
        write_atomically(Path(path), self.to_json().encode())


def read_edge(value: Any) -> Edge:
    """Reads a pair of an operation and a state; whether the space has them is not checked.

    Raises:
        InputError: if `value` is no such pair.
    """
    match value:
        case [str(op), int(source)] if type(source) is int:
            return Edge(op, source)
    raise InputError(f"an edge must be an operation and a state, got {show(value)}")


def _check_cells(space: SearchSpace, cells: dict[str, tuple[tuple[Edge, ...], ...]]) -> None:
    for kind in cells:
        if kind not in space.kinds:
            raise unknown("kind of cell", kind, space.kinds)
    for kind in space.kinds:
        if kind not in cells:
            raise InputError(f"cell {kind!r} is missing")
        if len(cells[kind]) != space.num_nodes:
            raise InputError(
                f"cell {kind!r} must have {space.num_nodes} nodes, got {len(cells[kind])}"
            )
        for target, edges in enumerate(cells[kind], space.num_inputs):
            _check_node(space, f"node {target} of cell {kind!r}", target, edges)


def _check_node(space: SearchSpace, where: str, target: int, edges: tuple[Edge, ...]) -> None:
    for op, source in edges:
        if op not in space.ops:
            raise unknown(f"operation in {where}", op, space.ops)
        if op == "none":
            raise InputError(f"{where} has an edge of 'none': leave the edge out")
        if not 0 <= source < target:
            raise InputError(f"{where} cannot read state {source}: choose from 0 to {target - 1}")
    if len({edge.source for edge in edges}) < len(edges):
        raise InputError(f"{where} reads a state twice: {[edge.source for edge in edges][:8]}")
    if space.inputs_per_node not in (None, len(edges)):
        raise InputError(f"{where} must have {space.inputs_per_node} edges, got {len(edges)}")
