"""Accuracy against parameters of networks that were all retrained alike, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullLocator

from experiments.chance import Chance
from experiments.small_protocol.published import Point
from nas.reports.style import MUTED, plain_axes, save_picture

STYLES = {
    "ours": ("#0f766e", "o"),
    "ours, shrink 2": ("#0891b2", "P"),
    "random": ("#78716c", "s"),
    "DARTS": ("#be123c", "D"),
    "DARTS-CC": ("#b45309", "^"),
    "DARTS-CC, DARTS": ("#7c3aed", "v"),
    "DARTS-CC, random": ("#0369a1", "x"),
}
"""Colour and marker by kind."""


def draw_protocol(
    rows: Sequence[Mapping[str, Any]], path: Path, published: Sequence[Point] = ()
) -> None:
    """Draws every network once per seed, and the curve through the random cells.

    Args:
        rows: as `protocol` (`protocol.py`) returns them, two random cells or more among them.
        path: the picture; its suffix, `.svg` or `.png`, decides the format.
        published: networks that others have trained, drawn hollow.
    """
    random = [(r["params"], a) for r in rows if r["kind"] == "random" for a in r["accuracies"]]
    chance = Chance(random)

    def plot(figure: Figure) -> None:
        axes = figure.subplots()
        sizes = np.geomspace(chance.low, chance.high, 100)
        axes.plot(sizes, [100 * chance.accuracy(size) for size in sizes], color=STYLES["random"][0])
        for kind, (colour, marker) in STYLES.items():
            hollow = [(point.params, 100 * point.accuracy) for point in published
                      if point.kind == kind]  # fmt: skip
            if hollow:
                axes.plot(*zip(*hollow, strict=True), marker, color=colour, alpha=0.6,
                          fillstyle="none", markersize=5, label=f"{kind}, published")  # fmt: skip
            points = [(r["params"], 100 * a) for r in rows if r["kind"] == kind
                      for a in r["accuracies"]]  # fmt: skip
            if points:
                axes.plot(*zip(*points, strict=True), marker, color=colour, label=kind)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.set_xlabel("parameters", color=MUTED)
        axes.legend(frameon=False, loc="lower right", fontsize=9)
        plain_axes(axes, "test accuracy, %")

    save_picture(path, (7, 4), plot)
