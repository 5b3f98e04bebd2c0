"""The commands: nas VERB …, or python -m nas VERB …"""

import sys
from importlib import import_module

from cells.errors import unknown
from nas.runtime.commandline import called
from nas.runtime.script import run_script
from nas.runtime.signals import held_back

GROUPS = {
    "A search, and what it found": {
        "search": "search for the cells of every λ",
        "ask": "list the front of a search, or ask it for a cell by λ or budget",
        "draw": "draw cells",
        "report": "write the page of a search again",
        "compare": "compare finished searches on one page",
    },
    "Trained networks": {
        "retrain": "train the network of a cell by itself",
        "family": "retrain several cells of a front",
        "predict": "classify images with a trained network",
        "export": "write a trained network as ONNX or for torch alone",
    },
    "Weights generated from λ (the space mlp)": {
        "generate": "write the network at a λ",
        "prune": "prune such a network",
        "tune": "find the λ that validates best",
        "lottery": "train lottery tickets beside controls",
    },
    "This installation": {
        "doctor": "tell versions, device and data, and try a small search",
        "completion": "print the completions of a shell: bash, zsh or fish",
    },
}
"""What there is, by what it is about: files in `nas/commands/`."""
VERBS = {verb: text for verbs in GROUPS.values() for verb, text in verbs.items()}
FORMER = {"front": "ask"}
"""Verbs of older versions, and what they are called now."""


def usage() -> str:
    """Returns the verbs, group by group."""
    prog = called("VERB")
    lines = [f"usage: {prog} …; {prog} --help explains one"]
    for title, verbs in GROUPS.items():
        lines += ["", f"{title}:", *(f"  {verb:<12}{text}" for verb, text in verbs.items())]
    former = "; ".join(f"{old} is the former name of {new}" for old, new in FORMER.items())
    return "\n".join([*lines, "", f"{former}."])


def command() -> None:
    """Runs the command that is named on the command line."""
    verb, *args = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        print(usage())
        return
    verb = FORMER.get(verb, verb)
    if verb not in VERBS:
        raise unknown("command", verb, (*VERBS, *FORMER))
    with held_back():
        module = import_module(f"nas.commands.{verb}")  # imports what it needs, and no more
    module.command(args)


def main() -> None:
    """Runs the console script."""
    run_script(command)


if __name__ == "__main__":
    main()
