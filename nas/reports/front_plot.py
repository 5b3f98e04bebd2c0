"""The front over λ as a picture: accuracy against each cost, its λ as colour."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from nas.reports.chance import band
from nas.reports.style import FAINT, INK, MUTED, NODE_FILL, PAPER, save_picture
from nas.selection.pareto import pareto

COSTS = {
    "params": "parameters",
    "flops": "multiply–adds",
    "latency": "latency, ms per batch, operation by operation",
    "kl": "KL divergence, nats",
}
VALIDATION = "validation accuracy, shared weights"
TEST = "test accuracy, retrained"
RANDOM = "random cells: median, 10–90 %"
BAND = "#dbe4ee"
MAX_LAM_LABELS = 6
MIN_LABEL_GAP = 60  # pixels
LABEL_OFFSETS = ((-6, 5), (0, 8), (8, -5), (0, -8), (9, 0), (-9, 0), (6, 5), (-6, -5))

Point = tuple[float, float]
Segment = tuple[Point, Point]


def draw_front(
    rows: Sequence[Mapping[str, Any]],
    path: Path,
    costs: Sequence[str],
    retrained: Sequence[Mapping[str, Any]] = (),
    chance: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Draws accuracy against each cost that has a λ, with that λ as colour.

    Non-dominated cells are filled, the others hollow; those that no other cell beats at this cost
    alone are joined by steps. A cost axis is logarithmic where the costs span more than a factor of
    ten.

    Args:
        rows: at least one cell on the front, each with λs (> 0) as `lam_` and the cost's name,
            its costs under their names (latency in milliseconds per batch), `val_accuracy` in
            [0, 1] and whether it is on the front, `pareto`.
        path: the picture; its suffix, `.svg` or `.png`, decides the format.
        costs: names of the costs with a λ, a panel for each, e.g. `["params"]`.
        retrained: cells trained from scratch: their costs, `mean` and `std` of the test accuracy;
            `std` is None where there is but one seed.
        chance: random cells, as in chance.csv.
    """

    def plot(figure: Figure) -> None:
        panels = figure.subplots(1, len(costs), squeeze=False)[0]
        known: dict[str, Any] = {}
        labels = []
        for axes, cost in zip(panels, costs, strict=True):
            labels.append(_plot_panel(axes, rows, cost, retrained, chance, len(costs) > 1))
            handles, names = axes.get_legend_handles_labels()
            known |= zip(names, handles, strict=True)
        order = sorted(known, key=lambda name: name == RANDOM)  # which is drawn first
        figure.legend(
            [known[name] for name in order], order, loc="outside upper left", ncols=2 * len(costs),
            frameon=False, fontsize=9, labelcolor=MUTED, handlelength=1.6,
        )  # fmt: skip
        figure.draw_without_rendering()  # settles the layout, so that pixels can be compared
        for axes, label in zip(panels, labels, strict=True):
            _label_lams(axes, *label)

    save_picture(path, (8 if len(costs) == 1 else 6.5 * len(costs), 4.8), plot)


def _plot_panel(
    axes: Axes,
    rows: Sequence[Mapping[str, Any]],
    cost: str,
    retrained: Sequence[Mapping[str, Any]],
    chance: Sequence[Mapping[str, Any]],
    several: bool,
) -> tuple[list[Point], list[float], list[Segment], list[Segment]]:
    """Draws accuracy against one cost.

    Returns:
        The front's cells and their λs; marks and lines that labels keep away from.
    """
    front = sorted(
        (row for row in rows if row["pareto"]), key=lambda row: (row[cost], row["val_accuracy"])
    )
    dominated = [(row[cost], row["val_accuracy"]) for row in rows if not row["pareto"]]
    cells = [(row[cost], row["val_accuracy"]) for row in front]
    bars = [(row[cost], row["mean"], row["std"] or 0.0) for row in retrained]
    accuracies = [accuracy for _, accuracy in (*cells, *dominated)]
    accuracies += [mean + sign * std for _, mean, std in bars for sign in (-1, 1)]
    found = band(chance, cost)
    if found is not None:
        accuracies += [*found.median, *found.high]
        # Bad cells may be very bad: the band leaves the picture before the front is squeezed.
        most, least = max(accuracies), min(accuracies)
        accuracies.append(max(float(found.low.min()), least - (most - least)))
        axes.fill_between(
            found.costs, found.low, found.high, color=BAND, linewidth=0, zorder=0.6, label=RANDOM
        )
        axes.plot(found.costs, found.median, color=FAINT, linewidth=1.6, zorder=0.7)
    _style_axes(axes, [row[cost] for row in [*rows, *retrained]], accuracies, cost)

    best = pareto([accuracy for _, accuracy in cells], [[at] for at, _ in cells])
    line = [cell for cell, member in zip(cells, best, strict=True) if member]
    axes.step(*zip(*line, strict=True), where="post", color=FAINT, linewidth=1.2, zorder=1)
    lams = [row[f"lam_{cost}"] for row in front]
    every = [row[f"lam_{cost}"] for row in rows]
    _scatter_front(axes, cells, lams, (min(every), max(every)), f"λ of {cost}" if several else "λ")
    if dominated:
        xs, ys = zip(*dominated, strict=True)
        axes.scatter(
            xs, ys, s=26, facecolors=PAPER, edgecolors=MUTED, linewidth=0.8,
            zorder=2, label="the same, of dominated cells",
        )  # fmt: skip
    for number, (row, (x, mean, _)) in enumerate(zip(retrained, bars, strict=True)):
        spread = ", mean ± s.d." if any(each["std"] is not None for each in retrained) else ""
        axes.errorbar(
            x, mean, yerr=row["std"], fmt="D", color=INK, markersize=4.5, elinewidth=1, capsize=2.5,
            zorder=3, label=None if number else f"{TEST}{spread}",
        )  # fmt: skip
    marks = [(point, point) for point in (*cells, *dominated)]
    marks += [((x, mean - std), (x, mean + std)) for x, mean, std in bars]
    steps = []
    for (x0, y0), (x1, y1) in itertools.pairwise(line):
        steps += [((x0, y0), (x1, y0)), ((x1, y0), (x1, y1))]
    return cells, lams, marks, steps


def _scatter_front(
    axes: Axes,
    cells: Sequence[Point],
    lams: Sequence[float],
    ends: tuple[float, float],
    title: str,
) -> None:
    """Draws the front's cells in the colours of their λs, with a bar that tells them."""
    low, high = ends
    # The lightest end of the map would vanish on white.
    viridis = matplotlib.colormaps["viridis"]
    colours = LinearSegmentedColormap.from_list("lam", viridis([i / 20 for i in range(19)]))
    norm = LogNorm(low, high) if low < high else None
    xs, ys = zip(*cells, strict=True)
    points = axes.scatter(
        xs, ys, s=56, c=lams, cmap=colours, norm=norm, edgecolors=PAPER,
        zorder=4, label=VALIDATION,
    )  # fmt: skip
    if norm is not None:
        ticks = [low * (high / low) ** (i / 4) for i in range(5)]
        figure = axes.figure
        assert isinstance(figure, Figure)
        bar = figure.colorbar(points, ax=axes, aspect=36, pad=0.02)
        bar.set_ticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
        bar.minorticks_off()
        bar.ax.set_title(title, fontsize=11 if title == "λ" else 9)
        bar.ax.tick_params(length=0, colors=MUTED, labelsize=9)
        bar.outline.set_visible(False)


def _label_lams(
    axes: Axes,
    cells: Sequence[Point],
    lams: Sequence[float],
    marks: Sequence[Segment],
    lines: Sequence[Segment],
) -> None:
    """Writes the λs of a few of the front's cells beside them."""
    picked = _spread(axes.transData.transform(cells).tolist())
    labels = [([cells[i]], f"λ = {lams[i]:.2g}") for i in picked]
    _place_labels(axes, labels, marks, lines)


def _style_axes(axes: Axes, costs: Sequence[float], accuracies: Sequence[float], cost: str) -> None:
    if min(costs) > 0 and max(costs) > 10 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
    prefixed = EngFormatter()
    plain_below = math.inf if cost == "latency" else 1000  # 1200 ms, not 1.2 k ms
    axes.xaxis.set_major_formatter(
        lambda value, _: f"{value:g}" if abs(value) < plain_below else prefixed(value)
    )
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.6g}%")
    axes.set_xlabel(COSTS.get(cost, cost))
    axes.set_title("accuracy", loc="left", fontsize=10)
    axes.margins(x=0.1)
    # Room for labels, but little beyond 0 and 100 %. Rounded: a last bit is no difference.
    room = 0.12 * round(max(accuracies) - min(accuracies), 9) or 0.01
    bottom = max(min(accuracies) - room, -room / 3)
    top = min(max(accuracies) + room, 1 + room / 3)
    axes.set_ylim(bottom, top)
    ticks = MaxNLocator(8, steps=(1, 2, 2.5, 5, 10)).tick_values(bottom, top)
    axes.yaxis.set_major_locator(
        FixedLocator([tick for tick in ticks if max(bottom, 0) <= tick <= min(top, 1)])
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(FAINT)
    axes.tick_params(length=0, colors=MUTED, labelsize=9)
    axes.grid(axis="y", color=NODE_FILL)
    axes.set_axisbelow(True)


def _spread(points: Sequence[Sequence[float]]) -> list[int]:
    """Returns the two ends of a line of points, then each time the one farthest from those taken.

    Args:
        points: (x, y) of each point in pixels.
    """
    taken = sorted({0, len(points) - 1})
    while len(taken) < MAX_LAM_LABELS:
        gaps = [min(math.dist(point, points[i]) for i in taken) for point in points]
        if max(gaps) < MIN_LABEL_GAP:
            break
        taken.append(gaps.index(max(gaps)))
    return taken


def _place_labels(
    axes: Axes,
    labels: Sequence[tuple[Sequence[Point], str]],
    marks: Sequence[Segment],
    lines: Sequence[Segment],
) -> None:
    """Writes labels where they cover nothing; leaves out what finds no room.

    Args:
        axes: where to write, its layout settled.
        labels: the points a label may stand beside, the best first, and its text; the most
            important label first.
        marks: the two ends of every marker or error bar, which labels keep away from.
        lines: the two ends of thin lines, which labels do not touch.
    """
    taken = [Bbox(axes.transData.transform(mark)).padded(5) for mark in marks]
    taken += [Bbox(axes.transData.transform(line)).padded(1) for line in lines]
    for anchors, text in labels:
        for anchor, (dx, dy) in itertools.product(anchors, LABEL_OFFSETS):
            label = axes.annotate(
                text,
                anchor,
                (dx, dy),
                textcoords="offset points",
                ha="right" if dx < 0 else "left" if dx > 0 else "center",
                va="top" if dy < 0 else "bottom" if dy > 0 else "center",
                fontsize=9,
                color=MUTED,
            )
            box = label.get_window_extent()
            if box.count_overlaps(taken) == 0 and axes.bbox.count_contains(box.corners()) == 4:
                taken.append(box.padded(6))
                break
            label.remove()
