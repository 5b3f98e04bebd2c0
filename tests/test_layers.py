"""Imports point down: the folders of the house, read from the source with `ast`."""

from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from docs.house import LEVEL, ROOT, arrows, files, folder_of, imported, module_name

FOLDERS = sorted({path.parent for path in files()})


def test_imports_between_folders_point_down() -> None:
    wrong = [
        f"{home} imports {target}" for home, target in arrows() if LEVEL[home] >= LEVEL[target]
    ]
    assert not wrong


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_files_of_a_folder_import_each_other_without_a_circle(folder: Path) -> None:
    modules = {module_name(path): path for path in folder.glob("*.py")}
    graph = {
        module: {
            own
            for name in imported(path.read_text(encoding="utf-8"))
            for own in (name, name.rpartition(".")[0])
            if own in modules and own != module
        }
        for module, path in modules.items()
        if path.name != "__init__.py"
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_cells_never_import_nas() -> None:
    assert not [target for home, target in arrows() if home == "cells"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_folder_says_what_it_is_for(folder: Path) -> None:
    if folder == ROOT:
        return
    text = (folder / "__init__.py").read_text(encoding="utf-8")
    assert text.startswith('"""')
    if folder.parent.name == "nas":
        assert 4 <= len(text.strip('"\n').splitlines()) <= 8


def test_every_form_of_import_is_read() -> None:
    source = """
import torch, nas.selection.front as front
from nas import run, load
def late():
    from cells.errors import InputError
"""
    assert {folder_of(name) for name in imported(source)} == {
        None, "nas.selection", "nas.run", "nas", "cells",
    }  # fmt: skip
