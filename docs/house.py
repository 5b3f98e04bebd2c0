"""Prints and draws the folders of the code: their lines, and who imports whom.

python docs/house.py            # the table
python docs/house.py --draw     # and docs/pictures/house.svg and .png
"""

import ast
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent

FOLDERS = (
    "search retrain experiments bench",
    "nas",
    "nas.commands",
    "nas.run",
    "nas.retraining",
    "nas.cell_search",
    "nas.weight_search",
    "nas.optim",
    "nas.reports",
    "nas.objective",
    "nas.selection",
    "nas.export",
    "nas.hypernets",
    "nas.data",
    "nas.architecture",
    "nas.weights",
    "nas.runtime",
    "cells",
)
"""A folder imports from itself and from the lines below its own. `nas` is what lies in it alone."""

LEVEL = {folder: level for level, line in enumerate(FOLDERS) for folder in line.split()}


def files() -> list[Path]:
    """Lists the Python files of the program, in order."""
    patterns = ("*.py", "cells/**/*.py", "nas/**/*.py", "experiments/**/*.py", "bench/**/*.py")
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern))


def module_name(path: Path) -> str:
    """Returns the dotted name of a file's module."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def folder_of(module: str) -> str | None:
    """Returns the folder in the table that a dotted name lies in, None for others' modules."""
    parts = module.split(".")
    for length in (2, 1):
        if (name := ".".join(parts[:length])) in LEVEL:
            return name
    return None


def imported(source: str) -> set[str]:
    """Returns the dotted names that a text of Python imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: name the package in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def arrows() -> Counter[tuple[str, str]]:
    """Counts the files of one folder that import another, for every pair of different folders."""
    found: Counter[tuple[str, str]] = Counter()
    for path in files():
        home = folder_of(module_name(path))
        assert home is not None, f"{path} has no place in the table of folders"
        targets = {folder_of(name) for name in imported(path.read_text(encoding="utf-8"))}
        found.update((home, target) for target in targets - {None, home} if target is not None)
    return found


def table() -> str:
    """Returns files, lines and imports of each folder, as Markdown."""
    lines: Counter[str] = Counter()
    number: Counter[str] = Counter()
    for path in files():
        home = folder_of(module_name(path))
        assert home is not None
        lines[home] += len(path.read_text(encoding="utf-8").splitlines())
        number[home] += 1
    rows = ["| folder | files | lines | imports |", "|:--|--:|--:|:--|"]
    found = arrows()
    for folder in sorted(LEVEL, key=LEVEL.__getitem__):
        targets = sorted((b for a, b in found if a == folder), key=LEVEL.__getitem__)
        short = ", ".join(target.removeprefix("nas.") for target in targets)
        rows.append(f"| {folder} | {number[folder]} | {lines[folder]:,} | {short} |")
    rows.append(f"\n{len(LEVEL)} folders, {len(found)} arrows, {sum(number.values())} files.")
    return "\n".join(rows)


def draw() -> None:
    """Draws the folders of `nas` and `cells`, each above what it imports."""
    import graphviz
    import pygraphviz

    graph = graphviz.Digraph(
        graph_attr={"rankdir": "TB", "nodesep": "0.25", "ranksep": "0.45", "fontname": "Helvetica"},
        node_attr={"shape": "box", "style": "rounded,filled", "fillcolor": "#eef2f7",
                   "color": "#8493a8", "fontname": "Helvetica", "fontsize": "13"},
        edge_attr={"color": "#8493a8", "arrowsize": "0.6"},
    )  # fmt: skip
    drawn = [name for name in LEVEL if name.startswith("nas.") or name == "cells"]
    found = {pair for pair in arrows() if set(pair) <= set(drawn)}
    below = {name: {b for a, b in found if a == name} for name in drawn}

    def reaches(start: str, goal: str) -> bool:
        return any(step == goal or reaches(step, goal) for step in below[start])

    for name in drawn:
        graph.node(name, name.removeprefix("nas."))
        for target in below[name]:
            # What follows from another arrow is left out: the picture is of the floors.
            if not any(reaches(other, target) for other in below[name] - {target}):
                graph.edge(name, target)
    for suffix in ("svg", "png"):
        target = ROOT / "docs" / "pictures" / f"house.{suffix}"
        pygraphviz.AGraph(graph.source).draw(str(target), prog="dot")
        print(target.relative_to(ROOT))


if __name__ == "__main__":
    print(table())
    if "--draw" in sys.argv[1:]:
        draw()
