"""What DARTS-CC reports of its own small networks: test accuracy against parameters.

The figures are those of github.com/Intelligent-Systems-Phystech/DARTS-CC at commit 6545cca, the
notebooks toy_example_cifar and toy_example_fmnist in `analysis/hyper`. They print the accuracies of
λ = 1e-7 on CIFAR-10; all others were read off the two plots, whose pixels are 0.05 points high on
CIFAR-10 and 0.02 on Fashion-MNIST (the five printed ones were read within 0.11). Parameters are
counted from its committed cells, as its code counts them: without scales and shifts after an
operation. Some points at 21,000 parameters lie on each other; which seed they belong to is unknown.

The networks are not trained alike: 100 epochs, but 300 for λ = 1e-8 and DARTS on CIFAR-10; a cutout
of 16, but none for random cells; and the best epoch is chosen on the test images.
"""

import csv
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

from experiments.chance import Chance

FILE = Path(__file__).with_name("published.csv")


class Point(NamedTuple):
    """One network."""

    kind: str
    """`DARTS-CC`, `DARTS-CC, DARTS` or `DARTS-CC, random`."""
    lam: float | None
    """Price of a parameter, by the settings of its search; None if there was none."""
    params: int
    accuracy: float
    """In [0, 1]."""


def published_points(data: str) -> list[Point]:
    """What is reported for some data, `cifar10` or `fashion`; nothing for all other."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return [
            Point(
                row["kind"],
                float(row["lam"]) if row["lam"] else None,
                int(row["params"]),
                float(row["accuracy"]),
            )
            for row in csv.DictReader(file)
            if row["data"] == data
        ]


def published_table(points: Sequence[Point]) -> str:
    """Means by kind and λ, and how far they lie above its own random cells, in Markdown.

    That is said of cells between the smallest and the largest random one; brackets say how many.

    Args:
        points: of one data set, random cells among them.
    """
    chance = Chance([(p.params, p.accuracy) for p in points if p.kind == "DARTS-CC, random"])
    lines = [
        "| published | λ / parameter | parameters | accuracy, % | above its random cells, points |",
        "|:--|--:|--:|--:|--:|",
    ]
    for (kind, lam), group in groupby(points, lambda p: (p.kind, p.lam)):
        cells = list(group)
        sizes = [cell.params for cell in cells]
        within = [(p.params, p.accuracy) for p in cells if chance.low <= p.params <= chance.high]
        ahead = ""
        if within and kind != "DARTS-CC, random":
            ahead = f"{100 * chance.ahead(within):+.2f} ({len(within)} of {len(cells)})"
        accuracies = [100 * cell.accuracy for cell in cells]
        lines.append(
            f"| {kind} | {'' if lam is None else f'{lam:.0e}'} | {min(sizes):,}–{max(sizes):,} | "
            f"{mean(accuracies):.2f} ± {stdev(accuracies):.2f} | {ahead} |"
        )
    return "\n".join(lines)
