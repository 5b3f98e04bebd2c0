"""What is imported is declared, and what is declared is pinned within its range."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TOOLS = {"mypy", "pytest-xdist", "ruff"}  # run, not imported
OWN_INSTALL = {"atheris"}  # for tests/campaign/guided.py, which says so
LARGE = {"datasets"}  # 300 MB with what it needs: not pinned, its tests skip where it is absent

Version = tuple[int, ...]


def version(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))


def ranges() -> dict[str, Version]:
    """Least version of every direct dependency, the extras' included."""
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra)]
    found = {}
    for line in lines:
        match = re.fullmatch(r"([a-z0-9-]+)>=([0-9.]+)", line)
        assert match, f"{line!r} is no range name>=version"
        assert match[1] not in found, f"{match[1]} is declared twice"
        found[match[1]] = version(match[2])
    return found


def pins() -> dict[str, Version]:
    found = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([a-z0-9-]+)==([0-9.]+)", line)
            assert match, f"{line!r} is no pin name==version"
            assert match[1] not in found, f"{match[1]} is pinned twice"
            found[match[1]] = version(match[2])
    return found


def _python(folder: str) -> Iterable[Path]:
    """The Python files of a folder and those below it; of the root, those in it alone."""
    return (ROOT / folder).glob("*.py" if folder == "." else "**/*.py")


def imported(folders: tuple[str, ...]) -> set[str]:
    """Distributions that files import, anywhere in them, without the project's own modules."""
    files = [path for folder in folders for path in sorted(_python(folder))]
    assert files
    names = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    own = {path.stem for folder in (".", "tests") for path in _python(folder)}
    own |= {path.name for path in ROOT.iterdir() if path.is_dir()}
    distributions = packages_distributions()
    return {
        re.sub(r"[-_.]+", "-", distributions[name][0]).lower()
        for name in names - own - OWN_INSTALL - LARGE - sys.stdlib_module_names
    }


def test_the_same_packages_are_pinned_and_declared() -> None:
    assert pins().keys() == ranges().keys() - LARGE


def test_pins_lie_in_their_ranges() -> None:
    for name, pin in pins().items():
        assert pin >= ranges()[name], name


def test_what_the_program_imports_is_declared_and_the_other_way_round() -> None:
    extras = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *extras["cluster"], *extras["export"]]
    declared = {re.match("[a-z0-9-]+", line)[0] for line in lines}
    assert imported((".", "cells", "nas")) == declared
    assert {re.match("[a-z0-9-]+", line)[0] for line in extras["hub"]} == LARGE


def test_what_tests_and_experiments_import_is_declared() -> None:
    found = imported(("tests", "experiments"))
    assert found <= ranges().keys()
    declared = {
        re.match("[a-z0-9-]+", line)[0] for line in PROJECT["optional-dependencies"]["test"]
    }
    assert declared - TOOLS <= found
