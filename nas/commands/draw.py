"""Draws the cells of a genotype: python -m nas draw GENOTYPE."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cells.errors import InputError
from nas.runtime.commandline import Parser, called
from nas.runtime.signals import held_back


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(prog=called("draw"), description="Draw cells.")
    parser.add_argument(
        "source",
        help="genotype JSON, DARTS text, NAS-Bench-201 string, name of a published cell, "
        "or a run folder",
    )
    parser.add_argument(
        "--out", type=Path, help="folder for the pictures; default: pictures, or RUN/cells"
    )
    return parser


def command(args: Sequence[str]) -> None:
    """Draws a genotype, or a run folder's genotypes.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    given = parser().parse_args(args)
    # Here, as these take seconds, and --help needs none of them.
    with held_back():
        from cells.notation import read_genotype
        from nas.reports.cell_graph import draw_genotype

    source: str = given.source
    if os.path.isdir(source):
        files = sorted(Path(source, "genotypes").glob("*.json"))
        if not files:
            raise InputError(f"no genotypes/*.json in {source}: name the folder of a finished run")
        cells = {file.stem: read_genotype(file) for file in files}
        folder = given.out or Path(source, "cells")
    else:
        genotype = read_genotype(source)
        named = re.fullmatch(r"[\w .+-]+", Path(source).stem)
        cells = {named.group() if named else genotype.id: genotype}
        folder = given.out or Path("pictures")
    for name, genotype in cells.items():
        print(draw_genotype(genotype, folder / name))
