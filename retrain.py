"""Trains a discrete network: python retrain.py --genotype runs/x/genotypes/….json --data mnist"""

import sys

from nas.commands.retrain import command
from nas.runtime.script import run_script


def main() -> None:
    """Entry of the console script."""
    run_script(lambda: command(sys.argv[1:]))


if __name__ == "__main__":
    main()
