"""Colours, fonts and axes that all pictures share."""

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cells.output_files import write_atomically

# What all pictures share. Cells are measured in the widest of these fonts, which matplotlib
# bundles: boxes fit the text in all of them.
FONTS = ("DejaVu Sans", "Helvetica", "Arial", "sans-serif")
INK, MUTED, FAINT, PAPER = "#1f2937", "#64748b", "#c5ccd6", "#ffffff"
NODE_FILL = "#eef2f7"


def save_picture(path: Path, size: tuple[float, float], plot: Callable[[Figure], None]) -> None:
    """Draws a figure in the style of all pictures and writes it, whole or not at all.

    Args:
        path: its suffix, `.svg` or `.png`, decides the format.
        size: width and height in inches.
        plot: draws into the figure.
    """
    with matplotlib.rc_context(
        {
            "font.family": "sans-serif",
            "font.sans-serif": FONTS[:-1],
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "front",  # identifiers stay the same
            "text.color": INK,
            "axes.labelcolor": INK,
        }
    ):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        plot(figure)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        picture = io.BytesIO()
        figure.savefig(picture, format=path.suffix[1:], dpi=120, metadata=metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, picture.getvalue())


def draw_letter(path: Path) -> None:
    """Draws a letter, as quickly as shows whether pictures can be drawn."""

    def plot(figure: Figure) -> None:
        figure.text(0.5, 0.5, "λ")

    save_picture(path, (1, 1), plot)


def plain_axes(axes: Axes, title: str) -> None:
    """Gives a panel the look of all pictures."""
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(FAINT)
    axes.tick_params(length=0, which="both", colors=MUTED, labelsize=9)
    axes.grid(axis="y", color=NODE_FILL)
