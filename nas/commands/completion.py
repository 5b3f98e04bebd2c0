"""Prints the completions of a shell: nas completion bash."""

from collections.abc import Sequence
from pathlib import Path

from nas.runtime.commandline import Parser, called

SHELLS = {
    "bash": "~/.local/share/bash-completion/completions/nas",
    "zsh": "a folder of $fpath, as _nas",
    "fish": "~/.config/fish/completions/nas.fish",
}
"""Where each looks for completions."""


def script_of(shell: str) -> Path:
    """Where the completions of a shell lie; `docs/completions.py` writes them."""
    return Path(__file__).parent / "completions" / f"nas.{shell}"


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(
        prog=called("completion"),
        description="Print what a shell needs to complete verbs, presets, options and choices. "
        "It goes to " + "; ".join(f"{where} ({shell})" for shell, where in SHELLS.items()) + ".",
    )
    parser.add_argument("shell", choices=list(SHELLS), help="which")
    return parser


def command(args: Sequence[str]) -> None:
    """Prints the completions of a shell.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    print(script_of(parser().parse_args(args).shell).read_text(encoding="utf-8"), end="")
