"""Cells as graphs: a genotype's, or a supernet's with its probabilities.

    python -m nas draw SOURCE [--out FOLDER]

Cells are laid out by the Graphviz that pygraphviz's wheels bring along, so no `dot` program is
needed. The same input gives the same bytes.
"""

import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import graphviz
import pygraphviz
from matplotlib.colors import to_hex, to_rgb
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from torch import Tensor

from cells.genotype import Genotype
from cells.output_files import write_atomically
from cells.space import SearchSpace, find_space
from nas.reports.style import FAINT, FONTS, INK, MUTED, NODE_FILL, PAPER

NODE_LINE = "#8493a8"
# The first prefix that fits decides.
FAMILIES = {
    "sep_": "#2b6cb0",
    "nor_": "#2b6cb0",
    "dil_": "#159a80",
    "skip": "#7b8494",
    "avg_": "#d9a036",
    "max_": "#c9772b",
    "none": FAINT,
    "": "#7a5ea8",
}
PILL_SIZE, NODE_SIZE = 11, 13  # points
HEADING = 22
"""Points for the name of a kind of cell above it."""
POINTS_PER_INCH = 72


class Wire(NamedTuple):
    """One edge of a cell as it is drawn."""

    source: int
    target: int
    op: str
    label: str
    width: float
    """Line width in points."""
    certainty: float
    """In [0, 1]: 1 is the full colour of the operation's family, 0 nearly light grey."""


def draw_genotype(genotype: Genotype, path_stem: Path) -> Path:
    """Draws all kinds of cell of a genotype into one picture.

    Returns:
        The file written, `<stem>.svg`.
    """
    space = find_space(genotype.space)
    graphs = {}
    for kind in space.kinds:
        wires = [
            Wire(edge.source, target, edge.op, edge.op.replace("_", " "), 2.6, 1.0)
            for target, edges in enumerate(genotype.cells[kind], start=space.num_inputs)
            for edge in sorted(edges, key=lambda edge: edge.source)
        ]
        graphs[kind] = _cell_graph(space, kind, wires, 0.6)
    return _render(graphs, path_stem)


def draw_supernet(space: SearchSpace, probs: Tensor, path_stem: Path) -> Path:
    """Draws all kinds of cell with the likeliest operation on every edge, into one picture.

    The line is as wide as that operation is likely and fades where the edge is undecided; an
    edge whose likeliest operation is `none` is a hairline without a label.

    Args:
        space: the space searched.
        probs: probabilities of the operations on the edges of all kinds, (edges, ops).
        path_stem: the picture's path, to which `.svg` is added.

    Returns:
        The file written.
    """
    assert probs.shape == (space.num_edges, len(space.ops)), probs.shape
    graphs = {}
    for kind in space.kinds:
        wires = []
        for row, (source, target) in enumerate(space.cell_edges, start=space.first_edge(kind)):
            prob, column = (value.item() for value in probs[row].max(dim=0))
            op = space.ops[int(column)]
            chance = 1 / len(space.ops)
            label = "" if op == "none" else f"{op.replace('_', ' ')} {prob:.0%}"
            width = 0.5 if op == "none" else 0.6 + 3.6 * prob
            certainty = max(0.0, (prob - chance) / (1 - chance))
            wires.append(Wire(source, target, op, label, width, certainty))
        graphs[kind] = _cell_graph(space, kind, wires, 0.35)
    return _render(graphs, path_stem)


def draw_dot(path_stem: Path) -> Path:
    """Draws a graph of one node, as quickly as shows whether Graphviz works."""
    graph = graphviz.Digraph("dot")
    graph.node("λ")
    return _render({"dot": graph}, path_stem)


def _cell_graph(
    space: SearchSpace, kind: str, wires: Sequence[Wire], gap: float
) -> graphviz.Digraph:
    """Returns the graph of a cell: operations are nodes of their own, halfway along the edges."""
    graph = graphviz.Digraph(
        f"{space.name} {kind}",
        graph_attr={
            "rankdir": "LR",
            "nodesep": "0.24",
            "ranksep": str(gap),
            "pad": "0.1",
            "bgcolor": PAPER,
            "mclimit": "4",
        },
        # Without a label written out here, Graphviz leaves boxes blank in its first drawing.
        node_attr={
            "label": r"\N",
            "shape": "box",
            "style": "rounded,filled",
            "fixedsize": "true",
            "fontname": ",".join(FONTS),
            "fontcolor": INK,
            "fontsize": str(NODE_SIZE),
        },
        edge_attr={"arrowsize": "0.7"},
    )
    names = state_names(space)
    for state, name in enumerate(names):
        width = max(0.7, _text_width(name, NODE_SIZE) + 0.25)
        box = {"width": f"{width:.3f}", "height": "0.4", "color": NODE_LINE, "fillcolor": NODE_FILL}
        graph.node(f"state{state}", name, **box)
    for wire in wires:
        _add_wire(graph, wire)
    last = len(names) - 1
    if space.concat:
        for state in range(space.num_inputs, last):
            style = {"style": "dashed", "color": FAINT, "arrowsize": "0.6"}
            graph.edge(f"state{state}", f"state{last}", **style)
    # States that nothing reaches, or that reach nothing, keep their place from left to right.
    reached, used = {wire.target for wire in wires}, {wire.source for wire in wires}
    for state in range(space.num_inputs, space.num_inputs + space.num_nodes):
        if state not in reached:
            graph.edge("state0", f"state{state}", style="invis", minlen="2")
        if state not in used and state < last and not space.concat:
            graph.edge(f"state{state}", f"state{last}", style="invis", minlen="2")
    return graph


def family_colour(op: str) -> str:
    """Returns the colour of an operation's family, `#rrggbb`."""
    return next(FAMILIES[prefix] for prefix in FAMILIES if op.startswith(prefix))


def _add_wire(graph: graphviz.Digraph, wire: Wire) -> None:
    colour = _blend(FAINT, family_colour(wire.op), 0.25 + 0.75 * wire.certainty)
    source, target = f"state{wire.source}", f"state{wire.target}"
    line = {"color": colour, "penwidth": f"{wire.width:.2f}"}
    if not wire.label:
        graph.edge(source, target, arrowsize="0.5", minlen="2", **line)
        return
    pill = f"edge{wire.source}to{wire.target}"
    graph.node(
        pill,
        wire.label,
        fontsize=str(PILL_SIZE),
        fontcolor=_blend(MUTED, INK, wire.certainty),
        width=f"{_text_width(wire.label, PILL_SIZE) + 0.2:.3f}",
        height="0.27",
        color=colour,
        fillcolor=_blend(PAPER, colour, 0.13),
        penwidth=f"{min(1.6, 0.5 + wire.width / 2):.2f}",
    )
    graph.edge(source, f"{pill}:w", arrowhead="none", **line)
    graph.edge(f"{pill}:e", target, **line)


def state_names(space: SearchSpace) -> list[str]:
    """Returns the names of a cell's inputs, inner nodes and, where it has one, its output."""
    if not space.concat:
        return ["input", *(str(node) for node in range(1, space.num_nodes)), "output"]
    inputs = [f"c_{{k-{space.num_inputs - i}}}" for i in range(space.num_inputs)]
    return [*inputs, *(str(node) for node in range(space.num_nodes)), "c_{k}"]


@functools.cache
def _text_width(text: str, size: float) -> float:
    """Returns the width of a line of text in inches."""
    font = FontProperties(family=FONTS[0])
    return float(TextPath((0, 0), text, size=size, prop=font).get_extents().x1) / POINTS_PER_INCH


def _blend(start: str, end: str, share: float) -> str:
    """Returns the colour at `share` in [0, 1] of the way between two."""
    pairs = zip(to_rgb(start), to_rgb(end), strict=True)
    red, green, blue = (a + (b - a) * share for a, b in pairs)
    return to_hex((red, green, blue))


def _render(graphs: Mapping[str, graphviz.Digraph], stem: Path) -> Path:
    """Writes graphs as one SVG, whole or not at all: several one above the other, with names."""
    drawn = {name: _layout(graph) for name, graph in graphs.items()}
    if len(drawn) == 1:
        (svg,) = drawn.values()
    else:
        svg = _stacked(drawn)
    path = stem.with_name(f"{stem.name}.svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, svg.encode())
    return path


def _layout(graph: graphviz.Digraph) -> str:
    """Returns a graph as SVG."""
    _read_fonts()
    svg = pygraphviz.AGraph(string=graph.source).draw(format="svg", prog="dot").decode()
    # Graphviz signs the file with its version and date.
    return re.sub(r"<!-- Generated by.*?-->\n", "", svg, flags=re.S)


@functools.cache
def _read_fonts() -> None:
    """Has Graphviz read the system's fonts, and hides what its Fontconfig says meanwhile.

    That is a warning for each of the system's settings that is newer than it.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # closed
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        pygraphviz.AGraph(string='digraph { a [label="a"] }').draw(format="svg", prog="dot")
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _stacked(drawn: Mapping[str, str]) -> str:
    """Returns SVGs of Graphviz as one, each below its name and inside an element of that id."""
    parts, top, widest = [], 0.0, 0.0
    for name, svg in drawn.items():
        found = re.search(r'<svg width="(\d+)pt" height="(\d+)pt"\s+viewBox="([^"]+)"', svg)
        assert found is not None, svg[:400]
        width, height = float(found[1]), float(found[2])
        inside = svg[svg.index(">", found.end()) + 1 : svg.rindex("</svg>")].strip()
        parts += [
            f'<text x="8" y="{top + NODE_SIZE + 5:g}" font-family="{",".join(FONTS)}" '
            f'font-size="{NODE_SIZE}" fill="{MUTED}">{name}</text>',
            f'<svg id="{name}" y="{top + HEADING:g}" width="{width:g}" height="{height:g}" '
            f'viewBox="{found[3]}">',
            inside,
            "</svg>",
        ]
        top, widest = top + HEADING + height, max(widest, width)
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8" standalone="no"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{widest:g}pt" height="{top:g}pt" '
            f'viewBox="0 0 {widest:g} {top:g}">',
            f'<rect width="100%" height="100%" fill="{PAPER}"/>',
            *parts,
            "</svg>\n",
        ]
    )
