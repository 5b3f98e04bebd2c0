"""Settings -> command line, with errors of one line."""

import argparse
import ast
import inspect
import math
import os
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from types import NoneType
from typing import Any, NoReturn, TypeVar, get_args, get_origin

from cells.errors import InputError, unknown
from nas.runtime.durations import read_duration
from nas.runtime.settings import Settings, setting_types

Kind = TypeVar("Kind", bound=Settings)

BEGUN = time.monotonic()
"""When the program started: this comes before what takes long to import."""
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Parser(argparse.ArgumentParser):
    """argparse, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def called(verb: str) -> str:
    """Returns what a command was called on this command line, for help and errors.

    `search.py` where that script runs, `nas search` from the console script, else
    `python -m nas search`.
    """
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    if name == f"{verb}.py":
        return name
    return f"nas {verb}" if name == "nas" else f"python -m nas {verb}"


def parse(kind: type[Kind], default: Kind, args: Sequence[str], prog: str) -> Kind:
    """Reads `--setting value` options over default settings; `--help` prints and leaves.

    Args:
        kind: class of the settings; the text under each is its help.
        default: values of the settings that are not named.
        args: the command line without the program's name.
        prog: what the help text calls the program.

    Raises:
        InputError: for an unknown option (with the nearest one) or a value that does not fit.
    """
    known = [_option(field.name) for field in fields(kind)]
    for arg in args:
        name = _option(arg.partition("=")[0].removeprefix("--"))
        if arg.startswith("--") and name not in (*known, "--help"):
            raise unknown("option", arg.partition("=")[0], known)
    parser = settings_parser(kind, default, prog)
    spelled = [
        "=".join((_option(name[2:]), *rest)) if arg.startswith("--") else arg
        for arg in args
        for name, *rest in (arg.split("=", 1),)
    ]
    given = vars(parser.parse_args(spelled))
    return replace(default, **shorter_warmup(default, given))


def settings_parser(kind: type[Settings], default: Settings, prog: str) -> Parser:
    """Returns a parser with an option for each setting; what is left out is absent in its result.

    Args:
        kind: class of the settings; the text under each is its help.
        default: values that the help shows.
        prog: what the help text calls the program.
    """
    parser = Parser(
        prog=prog,
        usage=f"{prog} [--option value …]",
        argument_default=argparse.SUPPRESS,
        formatter_class=partial(argparse.HelpFormatter, max_help_position=32),
        allow_abbrev=False,
        add_help=False,
    )
    _add_settings(parser, kind, default)
    return parser


def add_settings(parser: argparse.ArgumentParser, default: Settings) -> None:
    """Adds options for settings that stand beside other options, with their default values."""
    _add_settings(parser, type(default), default)
    parser.set_defaults(**vars(default))


def _add_settings(parser: argparse.ArgumentParser, kind: type[Settings], default: Settings) -> None:
    """Adds an option for each setting, group by group."""
    types, helps = setting_types(kind), help_texts(kind)
    for title, names in grouped(kind):
        group = parser.add_argument_group(title)
        for name in names:
            shown = _shown(getattr(default, name))
            text = f"{helps[name]} [{shown}]".replace("%", "%%")
            group.add_argument(_option(name), dest=name, help=text, **_value(types[name]))
        if names == kind.common:
            group.add_argument("--help", action="help", help="Show all options and leave.")


def shorter_warmup(default: Settings, given: dict[str, Any]) -> dict[str, Any]:
    """Keeps the warm-up's share of a run that is asked to be shorter than it, and says so."""
    long = vars(default).get("warmup_epochs", 0)
    if "warmup_epochs" in given or not 0 < given.get("epochs", math.inf) <= long:
        return given
    short = long * given["epochs"] // vars(default)["epochs"]
    print(f"warm-up: {short} of {given['epochs']} epochs, not {long}", file=sys.stderr)
    return given | {"warmup_epochs": short}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def grouped(kind: type[Settings]) -> list[tuple[str, tuple[str, ...]]]:
    """Returns titles and settings of `--help`: what is common first, then group by group."""
    groups = [("What most runs set", kind.common)] if kind.common else []
    left = {field.name for field in fields(kind)} - set(kind.common)
    for part in (*kind.__mro__[1:], kind):
        own = tuple(name for name in vars(part).get("__annotations__", {}) if name in left)
        if own:
            groups.append(((part.__doc__ or "").partition(".")[0], own))
            left -= set(own)
    return groups


def help_texts(kind: type[Settings]) -> dict[str, str]:
    """Returns the text under each setting, on one line, by name."""
    texts: dict[str, str] = {}
    for part in reversed(kind.__mro__[:-1]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                texts[ast.unparse(field.target)] = " ".join(
                    str(ast.literal_eval(text.value)).split()
                )
    return texts


def _value(types: tuple[Any, ...]) -> dict[str, Any]:
    """Returns how argparse reads a setting that may have one of these types."""
    (sort,) = (each for each in types if each is not NoneType)
    if get_origin(sort) is tuple:
        item = get_args(sort)[0]
        return {"type": _reader(item), "nargs": "*", "action": _Tuple, "metavar": _METAVAR[item]}
    if sort is bool:
        return {"type": _truth, "nargs": "?", "const": True, "metavar": "True|False"}
    return {"type": _reader(sort, NoneType in types), "metavar": _METAVAR[sort]}


_METAVAR = {int: "N", float: "X", str: "TEXT"}


class _Tuple(argparse.Action):
    """Keeps several values as a tuple, as settings do."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, tuple(values))


def _reader(sort: type, or_none: bool = False) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        return None if or_none and text.lower() == "none" else sort(text)

    read.__name__ = sort.__name__  # what the message calls it
    return read


def _truth(text: str) -> bool:
    if text.lower() not in TRUTH:
        raise argparse.ArgumentTypeError(f"must be True or False, got {text!r}")
    return TRUTH[text.lower()]


def options(settings: Mapping[str, Any]) -> list[str]:
    """Returns the command line that gives settings; `parse` reads it back."""
    words = []
    for name, value in settings.items():
        values = value if isinstance(value, tuple) else (value,)
        if len(values) == 1:
            words.append(f"{_option(name)}={values[0]}")
        else:
            words += [_option(name), *map(str, values)]
    return words


def take(args: list[str], name: str) -> str | None:
    """Removes `--name value` (or `--name=value`) from a command line and returns the value.

    Raises:
        InputError: if the option stands without a value.
    """
    for i, arg in enumerate(args):
        if arg == name:
            args.pop(i)
            value = "" if i == len(args) or args[i].startswith("--") else args.pop(i)
        elif arg.startswith(name + "="):
            value = args.pop(i).partition("=")[2]
        else:
            continue
        if not value:
            raise InputError(f"option {name} needs a value")
        return value
    return None


def take_number(args: list[str], name: str) -> int | None:
    """Removes `--name N` from a command line and returns it; None where it is absent.

    Raises:
        InputError: if it is no integer.
    """
    text = take(args, name)
    if text is None:
        return None
    if not text.removeprefix("-").isdecimal():
        raise InputError(f"{name.removeprefix('--')} must be an integer, got {text!r}")
    return int(text)


def take_timeout(args: list[str]) -> float | None:
    """Removes `--timeout SECONDS` from a command line and returns it; None where it is absent.

    Raises:
        InputError: if it is no number from 1 to 86,400.
    """
    text = take(args, "--timeout")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86400:
        raise InputError(f"timeout must be from 1 to 86400 seconds, got {text!r}")
    return seconds


def take_flag(args: list[str], name: str) -> bool:
    """Removes `--name`, which has no value, from a command line and tells whether it was there.

    Raises:
        InputError: if it has a value.
    """
    for arg in args:
        if arg.startswith(name + "="):
            raise InputError(f"option {name} has no value: leave {arg.partition('=')[2]!r} out")
    found = name in args
    args[:] = [arg for arg in args if arg != name]
    return found


def print_plan(lines: Sequence[tuple[str, str]]) -> None:
    """Prints what a dry run has found, as names and texts."""
    for name, text in lines:
        print(f"{name:<10} {text}")
    print("nothing was written; times are of this machine as busy as it was just now")


def take_time(args: list[str]) -> float | None:
    """Removes `--time DURATION` from a command line and returns seconds; None where it is absent.

    Raises:
        InputError: if it is no duration, or the length is given as well.
    """
    text = take(args, "--time")
    if text is None:
        return None
    for name in ("--epochs", "--steps"):
        if any(arg == name or arg.startswith(name + "=") for arg in args):
            raise InputError(f"--time sets the length: leave {name} out")
    return read_duration(text, "time")
