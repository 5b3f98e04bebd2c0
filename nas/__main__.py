"""The commands beside search.py and retrain.py: python -m nas VERB …"""

import sys
from importlib import import_module

from cells.errors import unknown
from nas.runtime.commandline import run_script
from nas.runtime.signals import held_back

VERBS = {
    "front": "list the front of a search, or ask it for a cell by λ or budget",
    "report": "write the page of a search again",
    "family": "retrain several cells of a front",
    "predict": "classify images with a trained network",
    "export": "write a trained network as ONNX or for torch alone",
    "draw": "draw cells",
    "doctor": "tell versions, device and data, and try a small search",
    "generate": "write the network at a λ, of a search in the space mlp",
    "prune": "prune such a network",
    "tune": "find the λ that validates best, of such a search",
    "lottery": "train lottery tickets beside controls",
}


def command() -> None:
    """Runs the command that is named on the command line."""
    verb, *args = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        print("usage: python -m nas VERB …; python -m nas VERB --help explains one")
        print("\n".join(f"  {name:<10}{what}" for name, what in VERBS.items()))
        return
    if verb not in VERBS:
        raise unknown("command", verb, VERBS)
    with held_back():
        module = import_module(f"nas.commands.{verb}")  # imports what it needs, and no more
    module.command(args)


def main() -> None:
    """Runs the console script."""
    run_script(command)


if __name__ == "__main__":
    main()
