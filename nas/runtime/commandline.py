"""Frozen dataclass -> command line, with errors of one line."""

import argparse
import contextlib
import dataclasses
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

import tyro

from cells.errors import InputError, unknown
from nas.runtime.files import describe
from nas.runtime.processes import Stopped

Config = TypeVar("Config")


class Parser(argparse.ArgumentParser):
    """argparse, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def parse(kind: type[Config], default: Config, args: Sequence[str], prog: str) -> Config:
    """Reads `--field value` options over a default configuration; `--help` prints and leaves.

    Args:
        kind: the dataclass; its fields' docstrings become the help text.
        default: values of the fields that are not named.
        args: the command line without the program's name.
        prog: what the help text calls the program.

    Raises:
        InputError: for an unknown field (with the nearest one) or a value that does not fit.
    """
    assert dataclasses.is_dataclass(kind)
    options = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(kind)]
    for arg in args:
        name = arg.partition("=")[0].replace("_", "-")
        if name.startswith("--") and name not in (*options, "--help"):
            raise unknown("option", arg.partition("=")[0], options)
    text = io.StringIO()
    try:
        with contextlib.redirect_stderr(text):
            return tyro.cli(
                kind,
                default=default,
                args=args,
                prog=prog,
                config=(tyro.conf.FlagConversionOff,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            sys.stderr.write(text.getvalue())
            raise
        raise InputError(_message(text.getvalue())) from stop


def _message(box: str) -> str:
    """Takes the first paragraph out of tyro's framed error; its frame depends on the encoding."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    rules = [not line.strip("─-╰╯") for line in lines] + [True]
    start = rules.index(False) if False in rules else 0
    # Of a type such as `int | None`, tyro goes on with what is wrong for each part.
    text = " ".join(lines[start : rules.index(True, start)]).partition(" Got errors: ")[0] or box
    head, colon, rest = text.partition(": ")
    return rest if colon and head.startswith("Error parsing") and "--" not in head else text


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


def run_script(main: Callable[[], None]) -> None:
    """Runs a script's main function and tells its user's errors on one line.

    `InputError` and errors of the file system leave with exit code 2, a signal after which a run
    was saved with 128 and its number, Ctrl-C elsewhere with 130; any other exception is a fault of
    the program and keeps its traceback. Of several processes, which meet the same error, only the
    first tells it.
    """
    try:
        main()
    except InputError as error:
        _leave(str(error))
    except OSError as error:
        _leave(describe(error))
    except Stopped as stop:
        sys.exit(128 + stop.received)
    except KeyboardInterrupt:
        sys.exit(130)


def _leave(message: str) -> None:
    if os.environ.get("RANK", "0") == "0":
        print("error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
