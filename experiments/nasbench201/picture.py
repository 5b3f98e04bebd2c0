"""Fronts that were found beside the true ones, as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cells.output_files import write_atomically
from cells.sampling import Choices
from experiments.nasbench201.benchmark import LEAST, Benchmark
from nas.reports.style import FAINT, FONTS, INK, MUTED

LABELS = {
    "params": "parameters, million",
    "flops": "multiply–adds, million",
    "edgegpu": "edge GPU, ms",
    "raspi4": "Raspberry Pi 4, ms",
}
COLOURS = ("#0f766e", "#b45309", "#7c3aed", "#be123c", "#0369a1")


def draw_fronts(
    benchmark: Benchmark, found: dict[str, dict[int, Sequence[Choices]]], path: Path
) -> None:
    """Draws true accuracies against costs: all cells, the true front, ours by seed.

    Args:
        found: cells by cost and seed.
        path: the PNG.
    """
    with matplotlib.rc_context({"font.family": FONTS[0], "font.size": 9}):
        figure = Figure(figsize=(10, 0.5 + 3.2 * -(-len(found) // 2)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(-(-len(found) // 2), 2, squeeze=False).flatten()
        for panel in panels[len(found) :]:
            panel.set_visible(False)
        for panel, (cost, by_seed) in zip(panels, found.items(), strict=False):
            costs, accuracy = benchmark.costs[cost], benchmark.accuracy
            panel.plot(costs, accuracy, ".", color=FAINT, markersize=1.5, zorder=0)
            lowest, ends = costs.min(), costs.max()
            true = _staircase(costs, accuracy, ends)
            panel.step(*true, where="post", color=INK, label="true front")
            for colour, (seed, cells) in zip(COLOURS, sorted(by_seed.items()), strict=False):
                numbers = sorted(set(benchmark.numbers(cells)))
                ours = costs[numbers], accuracy[numbers]
                share = benchmark.share(cells, cost)
                panel.step(*_staircase(*ours, ends), where="post", color=colour, linewidth=1)
                panel.plot(
                    *ours, "o", color=colour, markersize=4, label=f"seed {seed}: {share:.3f}"
                )
            panel.set_xscale("log")
            panel.set_xlim(lowest * 0.95, ends * 1.05)
            panel.set_ylim(LEAST, 95)
            panel.set_xlabel(LABELS[cost])
            panel.set_ylabel("true test accuracy, %", color=MUTED)
            panel.legend(loc="lower right", frameon=False)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=110)
    write_atomically(path, picture.getvalue())


def _staircase(
    costs: np.ndarray, accuracy: np.ndarray, ends: float
) -> tuple[list[float], list[float]]:
    """Corners of the front of some cells, from the least cost to that where the picture ends."""
    xs, ys = list[float](), list[float]()
    for n in np.lexsort((-accuracy, costs)):
        if accuracy[n] > LEAST and (not ys or accuracy[n] > ys[-1]):
            xs.append(float(costs[n]))
            ys.append(float(accuracy[n]))
    return ([*xs, ends], [*ys, ys[-1]]) if xs else ([], [])
