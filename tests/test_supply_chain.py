"""Nothing in the program runs text as code or unpickles a stranger's file; read with `ast`."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("nas", "cells", "experiments", "bench", "docs")

FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "builtins.compile",
    "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
}  # fmt: skip
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
SAFE_KEYWORDS = {"torch.load": ("weights_only", True)}
"""Calls that are allowed with this keyword alone."""
UNSAFE_KEYWORDS = {"shell", "allow_pickle"}
"""Keywords that may be nothing but False."""

EXCEPTIONS = {
    ("nas/runtime/archive.py", "import of pickle"),
}
"""The reader of checkpoints is a subclass of Python's unpickler that knows no calls but its own."""


def faults(source: str) -> Iterator[str]:
    """Yields what is forbidden in a text of Python."""
    tree = ast.parse(source)
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
                yield from _module(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            yield from _module(node.module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
            called = _dotted(node, names)
            if called in FORBIDDEN_CALLS:
                yield f"use of {called}"
        if isinstance(node, ast.Call):
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            called = _dotted(node.func, names)
            if called in SAFE_KEYWORDS:
                name, value = SAFE_KEYWORDS[called]
                if not _is(keywords.get(name), value):
                    yield f"{called} without {name}={value}"
            for name in UNSAFE_KEYWORDS & keywords.keys():
                if not _is(keywords[name], False):
                    yield f"keyword {name}"


def _module(name: str) -> Iterator[str]:
    if name.partition(".")[0] in FORBIDDEN_MODULES:
        yield f"import of {name}"


def _is(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name of what an expression names, by the imports of its file; else ''."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value, names)
        return f"{owner}.{node.attr}" if owner else ""
    return ""


def test_the_program_runs_no_text_and_unpickles_nothing() -> None:
    files = [*ROOT.glob("*.py"), *(p for folder in FOLDERS for p in ROOT.glob(f"{folder}/**/*.py"))]
    assert {"search.py", "retrain.py"} <= {file.name for file in files}
    found = {
        (str(file.relative_to(ROOT)), fault)
        for file in files
        for fault in faults(file.read_text(encoding="utf-8"))
    }
    assert found == EXCEPTIONS


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("eval('1')", "use of eval"),
        ("list(map(eval, ['1']))", "use of eval"),
        ("import builtins as b\nb.exec('1')", "use of builtins.exec"),
        ("def f():\n    exec('1')", "use of exec"),
        ("compile('1', '', 'exec')", "use of compile"),
        ("__import__('os')", "use of __import__"),
        ("def f():\n    import pickle", "import of pickle"),
        ("from pickle import loads", "import of pickle"),
        ("import marshal, shelve", "import of marshal"),
        ("import torch\ntorch.load('x')", "torch.load without weights_only=True"),
        ("from torch import load as r\nr('x')", "torch.load without weights_only=True"),
        ("import torch as t\nt.load('x', weights_only=False)", "torch.load without weights_only="),
        ("import numpy as np\nnp.load('x', allow_pickle=True)", "keyword allow_pickle"),
        ("import numpy as np\nnp.load('x', allow_pickle=flag)", "keyword allow_pickle"),
        ("import yaml\nyaml.load('x')", "use of yaml.load"),
        ("import subprocess\nsubprocess.run('x', shell=True)", "keyword shell"),
        ("import os\nos.system('x')", "use of os.system"),
        ("from os import popen\npopen('x')", "use of os.popen"),
    ],
)
def test_each_of_them_is_found(source: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults(source))


def test_what_only_looks_alike_is_allowed() -> None:
    source = """
import re, subprocess, torch, numpy as np
pattern = re.compile("x")
network.eval()
compile: bool = False
model.compile()
torch.load("x", weights_only=True)
np.load("x", allow_pickle=False)
subprocess.run(["ls"], shell=False)
json.load(file)
"""
    assert list(faults(source)) == []
