"""Imports point down: the layers of the house, read from the source with `ast`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A module may import from the lines below its own, never from its own line or above it.
LAYERS = (
    "search retrain experiments bench",
    "nas cells",  # the packages' own __init__
    "nas.family",
    "nas.search nas.retrainer",
    "nas.shortlist",
    "nas.searcher nas.variational nas.weight_report nas.prune nas.lottery nas.tune",
    "nas.loop nas.generated nas.keeper",
    "nas.report nas.trainer nas.problem nas.evidence",
    "nas.diagnostics",
    "nas.recipe nas.examples nas.inherit",
    "nas.front nas.export nas.draw nas.runs nas.naswot",
    "nas.plot nas.elbo nas.presets nas.methods nas.latency cells.network",
    "nas.weight_config nas.weightnet nas.terms nas.stages nas.recorded",
    "cells.supernet nas.config nas.finalists",
    "nas.method_config",
    "nas.bounds nas.curvature nas.perturb nas.evolution",
    "nas.discretise cells.sampling",
    "cells.cost nas.hypernet nas.relax nas.score nas.posterior nas.kernels nas.bilevel nas.data "
    "nas.checkpoint nas.metrics nas.price nas.regularise nas.step_graph",
    "cells.cell nas.augment",
    "cells.notation",
    "cells.genotype",
    "cells.ops cells.space nas.complexity",
    "cells.conv cells.chain nas.settings",
    "cells.strict_json nas.commandline nas.runtime nas.folder nas.pareto nas.best_response",
    "cells.errors",
)

LEVEL = {module: level for level, line in enumerate(LAYERS) for module in line.split()}
FILES = sorted(
    path
    for pattern in ("*.py", "cells/**/*.py", "nas/**/*.py", "experiments/**/*.py", "bench/**/*.py")
    for path in ROOT.glob(pattern)
)


def module_name(path: Path) -> str:
    """Returns the module in the table that a file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] in ("experiments", "bench"):
        return parts[0]
    return ".".join(parts).removesuffix(".__init__")


def own(name: str) -> str | None:
    """Returns the module in the table behind a dotted name, None for other people's modules.

    `nas.data.Images` is `nas.data`; a name that `nas` itself defines is `nas`.
    """
    parts = name.split(".")
    if parts[0] not in LEVEL:
        return None
    return next(
        module
        for length in range(len(parts), 0, -1)
        if (module := ".".join(parts[:length])) in LEVEL
    )


def imported_names(source: str) -> set[str]:
    """Returns the dotted names that a text of Python imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: name the package in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imports(source: str) -> set[str]:
    """Returns the project's modules that a text of Python imports."""
    return {module for name in imported_names(source) if (module := own(name))}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    module = module_name(path)
    assert module in LEVEL, f"{module} has no place in the table of layers"
    wrong = {
        imported
        for imported in imports(path.read_text(encoding="utf-8"))
        if imported != module and LEVEL[imported] <= LEVEL[module]
    }
    assert not wrong, f"{module} imports from its own line or above: {sorted(wrong)}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("cells/*.py")), ids=lambda path: path.name)
def test_cells_never_import_nas(path: Path) -> None:
    found = imports(path.read_text(encoding="utf-8"))
    assert not {module for module in found if module.split(".")[0] == "nas"}


def test_only_the_command_line_imports_tyro() -> None:
    users = {
        module_name(path)
        for path in FILES
        for name in imported_names(path.read_text(encoding="utf-8"))
        if name.split(".")[0] == "tyro"
    }
    assert users == {"nas.commandline"}


def test_every_form_of_import_is_read() -> None:
    source = """
import torch, nas.front as front
from nas import data, load
def late():
    from cells.errors import InputError
"""
    assert imports(source) == {"nas.front", "nas.data", "nas", "cells.errors"}
