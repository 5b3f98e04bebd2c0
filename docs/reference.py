"""Makes the pages of the reference: commands, settings and Python, of parsers and docstrings."""

import ast
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import nas
from nas.__main__ import GROUPS, usage
from nas.cell_search.config import SearchConfig
from nas.cell_search.presets import METHODS, PRESETS
from nas.commands import retrain, search
from nas.retraining.config import PRESETS as RETRAIN_PRESETS
from nas.retraining.config import RetrainConfig
from nas.run import ALL_PRESETS
from nas.runtime.commandline import grouped, help_texts, options
from nas.runtime.settings import OneOf, Range, Settings, setting_types
from nas.weight_search.config import WEIGHT_PRESETS, WeightConfig
from nas.weight_search.lottery import LotteryConfig

ROOT = Path(__file__).resolve().parent.parent

SORTS = {int: "integer", float: "number", str: "text", bool: "`True` or `False`"}
"""What the types of settings are called."""
RETURNED = (
    "nas.selection.front.Front",
    "nas.journey.Retrained",
    "nas.export.predict.Prediction",
    "nas.export.predict_rows.RowPrediction",
    "cells.genotype.Genotype",
    "cells.network.Network",
)
"""Classes that the functions of `nas` return."""
PAGE_OF = {
    "search": "the settings [of cells](search.md) or [of the space mlp](mlp.md)",
    "retrain": "[the settings](retrain.md)",
    "family": "[those of a retraining](retrain.md)",
    "lottery": "`--out FOLDER` (default runs/lottery) and [the settings](mlp.md#lottery-tickets)",
}
"""Where the settings of a command are."""


def pages() -> dict[str, str]:
    """Returns the Markdown of every page, by its name."""
    changed = "## Presets\n\nWhat each changes of the defaults above.\n"
    methods = "What `--method` changes of the preset; see [Methods](../methods.md)."
    parts = {
        "search": [
            "# Settings of a search", SEARCH, tables(SearchConfig), changed, presets(PRESETS),
            "## Methods", methods, differences(METHODS),
        ],
        "retrain": [
            "# Settings of a retraining", RETRAIN, tables(RetrainConfig), changed,
            presets(RETRAIN_PRESETS),
        ],
        "mlp": [
            "# Settings of the space mlp", MLP, tables(WeightConfig), changed,
            presets(WEIGHT_PRESETS), "## Lottery tickets", "Settings of `nas lottery`.",
            tables(LotteryConfig, 3),
        ],
    }  # fmt: skip
    settings = {name: "\n\n".join(part) for name, part in parts.items()}
    return settings | {"commands": commands(), "python": functions(), "packages": packages()}


SEARCH = """`nas search PRESET --option value …` takes them, and
`nas.search(PRESET, option=value, …)` in Python, with `_` for `-`. A preset has defaults of its
own, listed below the settings; `nas search PRESET --help` shows them all.
"""
RETRAIN = """`nas retrain --genotype FILE --option value …` takes them, `nas family RUN`, and
`nas.retrain(genotype, option=value, …)` in Python, with `_` for `-`. The preset is that of the
data, if there is one.
"""
MLP = """`nas search PRESET --option value …` takes them, with a preset whose name begins with
`mlp`.
"""


def commands() -> str:
    """Returns the page of the commands, each with what its `--help` prints."""
    parts = ["# Commands", "`python -m nas` in a checkout, `nas` where the package is installed."]
    with called_nas():
        parts.append(f"```text\n{usage()}\n```")
        for title, verbs in GROUPS.items():
            parts.append(f"## {title}")
            for verb, text in verbs.items():
                parts += [f"### nas {verb}", f"{text[0].upper()}{text[1:]}."]
                if help_text := help_of(verb):
                    parts.append(f"```text\n{help_text}\n```")
                if verb in PAGE_OF:
                    parts.append(f"Its options are {PAGE_OF[verb]}.")
    return "\n\n".join(parts) + "\n"


def help_of(verb: str) -> str:
    """Returns what a command prints for `--help`, without settings that a page of their own has."""
    module = import_module(f"nas.commands.{verb}")
    if hasattr(module, "parser"):
        return str(module.parser().format_help()).strip()
    if verb == "search":
        return search.USAGE.format(
            prog="nas search", presets=", ".join(ALL_PRESETS), methods=", ".join(METHODS)
        )
    if verb == "retrain":
        return retrain.USAGE.format(prog="nas retrain", presets=", ".join(RETRAIN_PRESETS))
    return ""


@contextmanager
def called_nas() -> Iterator[None]:
    """Makes help texts those of the program `nas`, on lines of 88 characters."""
    argv, columns = sys.argv, os.environ.get("COLUMNS")
    sys.argv, os.environ["COLUMNS"] = ["nas"], "88"
    try:
        yield
    finally:
        sys.argv = argv
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns


def tables(kind: type[Settings], level: int = 2) -> str:
    """Returns a table of settings for each group of `--help`.

    Args:
        kind: class of the settings.
        level: of the headings.
    """
    types, texts, limits = setting_types(kind), help_texts(kind), limits_of(kind)
    defaults = plain_defaults(kind)
    lines = []
    for title, names in grouped(kind):
        lines += [
            f"{'#' * level} {title}",
            "",
            "| option | default | values | |",
            "|:--|:--|:--|:--|",
        ]
        for name in names:
            values = in_words(types[name], limits.get(name))
            default = code(" ".join(options({name: defaults[name]})).partition("=")[2])
            if isinstance(defaults[name], tuple):
                default = code(" ".join(map(str, defaults[name])))
            lines.append(
                f"| `--{name.replace('_', '-')}` | {default} | {values} | {cell(texts[name])} |"
            )
        lines.append("")
    return "\n".join(lines) + "\n"


def plain_defaults(kind: type[Settings]) -> dict[str, Any]:
    """Returns the defaults of settings, where the environment names no folder of data."""
    found = os.environ.pop("NAS_DATA", None)
    try:
        return vars(kind())
    finally:
        if found is not None:
            os.environ["NAS_DATA"] = found


def limits_of(kind: type[Settings]) -> dict[str, OneOf | Range]:
    """Returns what restricts the values of settings, by name."""
    return {
        name: limit
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if get_origin(hint) is Annotated
        for limit in get_args(hint)[1:]
        if isinstance(limit, OneOf | Range)
    }


def in_words(types: tuple[Any, ...], limit: OneOf | Range | None) -> str:
    """Says which values a setting may have."""
    if isinstance(limit, OneOf):
        found = ", ".join(f"`{name}`" for name in limit.names)
    else:
        (sort,) = (each for each in types if each is not NoneType)
        several = get_origin(sort) is tuple
        found = f"{SORTS[get_args(sort)[0]]}s" if several else SORTS[sort]
        if isinstance(limit, Range) and not limit.words.startswith("be UTF-8"):
            found += f", {limit.words.removeprefix('be ')}"
    return f"{found}; or `None`" if NoneType in types else found


def presets(named: Mapping[str, Settings]) -> str:
    """Returns a table of presets: the settings of each that are not the default."""
    changed = {}
    for name, preset in named.items():
        defaults = plain_defaults(type(preset))
        changed[name] = {
            field.name: value
            for field in fields(preset)
            if (value := getattr(preset, field.name)) != defaults[field.name]
            and field.name != "data_root"
        }
    return differences(changed)


def differences(named: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a table of settings by a name for several."""
    rows = ["| name | settings |", "|:--|:--|"]
    for name, values in named.items():
        words = " ".join(options(values)).replace("=", " ")
        rows.append(f"| `{name}` | {code(words)} |")
    return "\n".join(rows) + "\n"


def code(text: str) -> str:
    """Returns a text as code in a cell of a table; nothing for an empty one."""
    return f"`{text}`" if text else ""


def cell(text: str) -> str:
    """Returns a text as a cell of a table."""
    return re.sub(r"([|*<\[])", r"\\\1", text)


def functions() -> str:
    """Returns the page of the package `nas`: its functions, and what they return."""
    lines = [
        "# Python",
        "",
        "`import nas` offers the whole way; it imports torch when it is needed.",
        "",
    ]
    lines += ["## Functions", ""]
    lines += [f"::: nas.{name}\n" for name in nas.__all__ if name != "Front"]
    lines += ["## What they return", ""]
    lines += [f"::: {name}\n" for name in RETURNED]
    return "\n".join(lines)


def packages() -> str:
    """Returns the page of the packages, with the names that each has for the others."""
    lines = [
        "# Packages",
        "",
        "What each folder of the code is for, and its names for the others.",
        "",
    ]
    for path in sorted([ROOT / "cells", *(ROOT / "nas").iterdir()]):
        if not (path / "__init__.py").is_file():
            continue
        package = ".".join(path.relative_to(ROOT).parts)
        text = (
            ast.get_docstring(ast.parse((path / "__init__.py").read_text(encoding="utf-8"))) or ""
        )
        text, _, names = text.partition("Names for others:")
        lines += [f"## {package}", "", text.strip(), ""]
        lines += [f"::: {home_of(path, name)}\n" for name in re.findall(r"`(\w+)`", names)]
    return "\n".join(lines)


def home_of(folder: Path, name: str) -> str:
    """Returns the dotted name of what a folder offers under a name.

    Raises:
        LookupError: if no file of the folder defines it.
    """
    for path in sorted(folder.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = (
                node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
            )
            if name in [getattr(t, "name", getattr(t, "id", None)) for t in targets]:
                return ".".join([*path.relative_to(ROOT).with_suffix("").parts, name])
    raise LookupError(f"no file of {folder} defines {name}, which its __init__.py offers")
