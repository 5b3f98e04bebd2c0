"""Search spaces: which cells exist, how their nodes are joined, what may stand on an edge."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from cells.errors import unknown


@dataclass(frozen=True)
class SearchSpace:
    """A family of cells.

    A cell is a directed acyclic graph. States `0 … num_inputs-1` are the cell's inputs, states
    `num_inputs … num_inputs+num_nodes-1` its inner nodes; every earlier state is joined to every
    inner node by an edge that carries one of `ops`. Edges are ordered by target, then source,
    and the kinds of cell follow one another, so that an architecture is a `(edges, ops)` table.
    """

    name: str
    ops: tuple[str, ...]
    """Candidate operations, the columns of every table."""
    kinds: tuple[str, ...]
    """Kinds of cell with an architecture of their own."""
    num_inputs: int
    """Inputs of a cell: outputs of the cells before it."""
    num_nodes: int
    """Inner nodes of a cell."""
    inputs_per_node: int | None
    """Edges a discrete cell keeps per node; None keeps every edge, `none` allowed."""
    concat: bool
    """True: a cell's output is the concatenation of its inner nodes, and its inputs are projected
    to the cell's width first. False: the output is the last node, and the width is constant."""
    stem_multiplier: int
    """Width of the stem in multiples of the first cells' width."""

    @cached_property
    def cell_edges(self) -> tuple[tuple[int, int], ...]:
        """Lists (source state, target state) of each edge of one cell."""
        first = self.num_inputs
        return tuple((i, j) for j in range(first, first + self.num_nodes) for i in range(j))

    @property
    def num_edges(self) -> int:
        """Counts the edges of all kinds together: the rows of every table."""
        return len(self.kinds) * len(self.cell_edges)

    @cached_property
    def incoming(self) -> tuple[tuple[int, ...], ...]:
        """Lists the rows of the edges into each inner node, kind of cell after kind."""
        targets = range(self.num_inputs, self.num_inputs + self.num_nodes)
        return tuple(
            tuple(
                row
                for row, (_, end) in enumerate(self.cell_edges, self.first_edge(kind))
                if end == target
            )
            for kind in self.kinds
            for target in targets
        )

    @property
    def none(self) -> int:
        """Returns the column of the operation that stands for an absent edge."""
        return self.ops.index("none")

    def connected(self, choices: Sequence[int], kind: str | None = None) -> bool:
        """Tells whether the output of every kind of cell, or of one, depends on its inputs.

        Args:
            choices: operation of each edge, `num_edges` column numbers.
        """
        last = self.num_inputs + self.num_nodes - 1
        for each in self.kinds if kind is None else (kind,):
            reached = set(range(self.num_inputs))
            for (source, target), op in zip(
                self.cell_edges, choices[self.first_edge(each) :], strict=False
            ):
                if source in reached and op != self.none:
                    reached.add(target)
            if not (len(reached) > self.num_inputs if self.concat else last in reached):
                return False
        return True

    def leading_out(self, choices: Sequence[int]) -> set[int]:
        """Finds the edges of a cell from which a path of operations leads to its output.

        Args:
            choices: operation of each edge of one cell, column numbers; `none` is no operation.
        """
        last = self.num_inputs + self.num_nodes - 1
        reaching = set(range(self.num_inputs, last + 1)) if self.concat else {last}
        edges = set()
        for edge in range(len(self.cell_edges) - 1, -1, -1):
            source, target = self.cell_edges[edge]
            if target in reaching and choices[edge] != self.none:
                edges.add(edge)
                reaching.add(source)
        return edges

    def live(self, choices: Sequence[int]) -> tuple[int, ...]:
        """Removes a cell's dead edges, those on no path from its inputs to its output.

        Args:
            choices: operation of each edge, `num_edges` column numbers.
        """
        live = [self.none] * self.num_edges
        for kind in self.kinds:
            first = self.first_edge(kind)
            leading_out = self.leading_out(choices[first : first + len(self.cell_edges)])
            reached = set(range(self.num_inputs))
            for edge, (source, target) in enumerate(self.cell_edges):
                if edge in leading_out and source in reached:
                    live[first + edge] = choices[first + edge]
                    reached.add(target)
        return tuple(live)

    def first_edge(self, kind: str) -> int:
        """Returns the row at which the edges of one kind of cell begin."""
        return self.kinds.index(kind) * len(self.cell_edges)


# Liu, Simonyan, Yang: DARTS (2019), section 3.1.
_DARTS = SearchSpace(
    name="darts",
    ops=(
        "none",
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    ),
    kinds=("normal", "reduce"),
    num_inputs=2,
    num_nodes=4,
    inputs_per_node=2,
    concat=True,
    stem_multiplier=3,
)

SPACES: dict[str, SearchSpace] = {
    space.name: space
    for space in (
        _DARTS,
        # Any number of inputs per node, none included: the small cells of DARTS-CC.
        replace(_DARTS, name="darts_free", inputs_per_node=None),
        # Dong, Yang: NAS-Bench-201 (2020), section 2.1.
        SearchSpace(
            name="nasbench201",
            ops=("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"),
            kinds=("cell",),
            num_inputs=1,
            num_nodes=3,
            inputs_per_node=None,
            concat=False,
            stem_multiplier=1,
        ),
    )
}


def find_space(name: str) -> SearchSpace:
    """Returns a space by name.

    Raises:
        InputError: if there is no such space.
    """
    if name not in SPACES:
        raise unknown("search space", name, SPACES)
    return SPACES[name]
