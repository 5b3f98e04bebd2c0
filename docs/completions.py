"""Writes the completions of shells, which `nas completion` prints: python docs/completions.py

They hold all verbs, presets, options and choices, so that completing starts no Python.
"""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import shtab

from nas.__main__ import VERBS
from nas.cell_search.config import SearchConfig
from nas.cell_search.presets import METHODS
from nas.commands import retrain, search
from nas.commands.completion import SHELLS, script_of
from nas.export.deploy import TARGETS
from nas.retraining.config import PRESETS, RetrainConfig
from nas.run import ALL_PRESETS
from nas.runtime.commandline import settings_parser
from nas.runtime.jobs import JobsConfig
from nas.runtime.settings import OneOf, Settings
from nas.weight_search.config import WeightConfig
from nas.weight_search.lottery import LotteryConfig
from nas.weight_search.pruning import RULES

SETTINGS: dict[str, tuple[type[Settings], ...]] = {
    "search": (SearchConfig, WeightConfig, JobsConfig),
    "retrain": (RetrainConfig,),
    "family": (RetrainConfig, JobsConfig),
    "lottery": (LotteryConfig,),
}
"""Settings that are options of a verb."""
OPTIONS = {"search": search.OPTIONS, "retrain": retrain.OPTIONS, "lottery": ("--out",)}
"""Options beside the settings, of verbs that read them by themselves."""
FLAGS = {"search": search.FLAGS, "retrain": retrain.FLAGS}
"""Those of them without a value."""
POSITIONAL = {"search": ALL_PRESETS, "retrain": PRESETS}
"""What may stand behind a verb."""
CHOICES = {"method": METHODS, "to": TARGETS, "by": RULES, "device": ("auto", "cpu", "cuda")}
"""Of options whose type does not say them."""
PATHS = {
    "resume", "config", "out", "data", "data_root", "genotype", "inherit", "latency_file", "start",
    "source", "images",
}  # fmt: skip
"""Files or folders, beside those whose type says it."""


def choices_of(kind: type[Settings]) -> dict[str, list[str]]:
    """Returns the choices of settings that have some, by name."""
    return {
        name: list(limit.names)
        for name, hint in get_type_hints(kind, include_extras=True).items()
        if get_origin(hint) is Annotated
        for limit in get_args(hint)[1:]
        if isinstance(limit, OneOf)
    }


def own_parser(verb: str) -> argparse.ArgumentParser:
    """Returns what a verb takes beside settings."""
    module = import_module(f"nas.commands.{verb}")
    if hasattr(module, "parser"):
        parser: argparse.ArgumentParser = module.parser()
        return parser
    parser = argparse.ArgumentParser()
    if verb in POSITIONAL:
        parser.add_argument("preset", nargs="?", choices=list(POSITIONAL[verb]))
    for name in OPTIONS[verb]:
        parser.add_argument(name)
    for name in FLAGS.get(verb, ()):
        parser.add_argument(name, action="store_true")
    return parser


def tree() -> argparse.ArgumentParser:
    """Returns a parser of all verbs, with the choices of all options."""
    root = argparse.ArgumentParser(prog="nas")
    verbs = root.add_subparsers()
    for verb, text in VERBS.items():
        kinds = SETTINGS.get(verb, ())
        parents = [settings_parser(kind, kind(), verb) for kind in kinds] + [own_parser(verb)]
        parser = verbs.add_parser(verb, help=text, add_help=False)
        # Kinds of search share names of settings, which argparse would refuse.
        actions = {action.dest: action for parent in parents for action in parent._actions}
        for action in actions.values():
            parser._add_action(action)
            found = [names[action.dest] for names in map(choices_of, kinds) if action.dest in names]
            named = list(dict.fromkeys(name for names in found for name in names))
            named = named or list(CHOICES.get(action.dest, ()))
            if named and action.option_strings:
                action.choices = named
            elif action.dest in PATHS or action.type is Path:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            # Shells show a line: the first sentence, without the default behind it.
            action.help = (action.help or "").partition(". ")[0].partition(" [")[0].rstrip(".")
    return root


if __name__ == "__main__":
    for shell in SHELLS:
        path = script_of(shell)
        path.write_text(shtab.complete(tree(), shell), encoding="utf-8")
        print(f"{path}: {path.stat().st_size:,} bytes")
