"""Where a page draws a cell: its graph of all edges, laid out once, so that nothing jumps with λ.

Sizes and positions are in points, x to the right and y down.
"""

import copy
import functools
from typing import Any

import pygraphviz

from cells.space import SearchSpace, find_space
from nas.reports.cell_graph import state_names

POINTS_PER_INCH = 72
NODE_SIZE, PILL_HEIGHT = (44, 28), 30
CHARACTER = 6.1
"""Width of a character of a pill's name."""


def cell_layout(space: SearchSpace) -> dict[str, Any]:
    """Lays out the graph of all edges of one cell of a space; those of all kinds are alike.

    Returns:
        JSON values: `width` and `height`; `nodes`, each with `name`, `x`, `y` of its middle,
        `width` and `height`; `edges`, in the order of `cell_edges`, each with the ends `source`
        and `target`, the middle `x`, `y` of its pill with `width` and `height`, and two paths as
        SVG has them, `tail` from the source to the pill and `head` from there; `joins`, paths
        from the inner nodes to an output that concatenates them.
    """
    return copy.deepcopy(_layout(space.name))


@functools.cache
def _layout(name: str) -> dict[str, Any]:
    space = find_space(name)
    names = state_names(space)
    graph = pygraphviz.AGraph(directed=True, strict=False)
    graph.graph_attr.update(rankdir="LR", nodesep="0.16", ranksep="0.22", pad="0", mclimit="2")
    graph.node_attr.update(shape="box", fixedsize="true", label="")
    width, height = NODE_SIZE
    for state in range(len(names)):
        graph.add_node(f"state{state}", width=_inches(width), height=_inches(height))
    pill_width = max(_inches(CHARACTER * len(op) + 16) for op in space.ops)
    for number, (source, target) in enumerate(space.cell_edges):
        pill = f"pill{number}"
        graph.add_node(pill, width=pill_width, height=_inches(PILL_HEIGHT))
        graph.add_edge(f"state{source}", pill, headport="w", arrowhead="none")
        graph.add_edge(pill, f"state{target}", tailport="e")
    last = len(names) - 1
    inner = range(space.num_inputs, last) if space.concat else ()
    for state in inner:
        graph.add_edge(f"state{state}", f"state{last}")
    graph.layout(prog="dot")
    left, bottom, right, top = map(float, graph.graph_attr["bb"].split(","))
    at = functools.partial(_place, left=left, top=top)
    return {
        "width": round(right - left, 1),
        "height": round(top - bottom, 1),
        "nodes": [
            {"name": name, **_box(graph.get_node(f"state{state}"), at)}
            for state, name in enumerate(names)
        ],
        "edges": [
            {
                "source": source,
                "target": target,
                **_box(graph.get_node(f"pill{number}"), at),
                "tail": _path(graph.get_edge(f"state{source}", f"pill{number}"), at),
                "head": _path(graph.get_edge(f"pill{number}", f"state{target}"), at),
            }
            for number, (source, target) in enumerate(space.cell_edges)
        ],
        "joins": [_path(graph.get_edge(f"state{n}", f"state{last}"), at) for n in inner],
    }


def _inches(points: float) -> float:
    return round(points / POINTS_PER_INCH, 3)


def _place(text: str, left: float, top: float) -> tuple[float, float]:
    """Reads a point `x,y` of Graphviz, whose y goes up."""
    x, y = text.split(",")
    return round(float(x) - left, 1), round(top - float(y), 1)


def _box(node: Any, at: Any) -> dict[str, float]:
    x, y = at(node.attr["pos"])
    size = (round(POINTS_PER_INCH * float(node.attr[side]), 1) for side in ("width", "height"))
    return {"x": x, "y": y, **dict(zip(("width", "height"), size, strict=True))}


def _path(edge: Any, at: Any) -> str:
    """Turns a spline of Graphviz, `e,x,y` the arrow's tip and Bézier points, into an SVG path."""
    tip, points = None, []
    for part in edge.attr["pos"].split():
        if part.startswith("e,"):
            tip = at(part.removeprefix("e,"))
        else:
            points.append(at(part))
    first, *others = ("{:g} {:g}".format(*point) for point in points)
    end = "" if tip is None else "L{:g} {:g}".format(*tip)
    return f"M{first}C{' '.join(others)}{end}"
