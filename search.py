"""Searches for the cells of every λ: python search.py digits --out runs/digits"""

import sys

from nas.commands.search import command
from nas.runtime.script import run_script


def main() -> None:
    """Entry of the console script."""
    run_script(lambda: command(sys.argv[1:]))


if __name__ == "__main__":
    main()
