"""Pictures of generated networks: accuracy while they are pruned, and everything along λ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from nas.reports.style import MUTED, plain_axes, save_picture

COLOURS = ("#0f766e", "#b45309", "#7c3aed", "#be123c")


def draw_pruning(
    curves: Mapping[str, Any], shares: Sequence[float], lams: Sequence[float], path: Path
) -> None:
    """Accuracy against the share removed: a panel for each row, a band for the runs.

    Args:
        curves: by row, (shares, runs, lams).
        path: the PNG.
    """

    def plot(figure: Figure) -> None:
        columns = min(4, len(curves))
        panels = figure.subplots(
            -(-len(curves) // columns), columns, squeeze=False, sharex=True, sharey=True
        ).flatten()
        for panel in panels[len(curves) :]:
            panel.set_visible(False)
        for panel, (title, values) in zip(panels, curves.items(), strict=False):
            array = np.array(values)
            mean, std = array.mean(axis=1), array.std(axis=1)
            for column, (lam, colour) in enumerate(zip(lams, COLOURS, strict=True)):
                removed = [100 * share for share in shares]
                low, high = (mean[:, column] + sign * std[:, column] for sign in (-1, 1))
                panel.plot(removed, mean[:, column], color=colour, label=f"λ = {lam:g}")
                panel.fill_between(removed, low, high, color=colour, alpha=0.2, linewidth=0)
            panel.set_ylim(0, 1)
            plain_axes(panel, title)
        panels[0].legend(frameon=False, loc="lower left", fontsize=9)
        figure.supxlabel("removed, %", fontsize=10, color=MUTED)
        figure.supylabel("test accuracy", fontsize=10, color=MUTED)

    save_picture(path, (12, 0.6 + 2.8 * -(-len(curves) // 4)), plot)


def draw_sweep(
    sweep: Mapping[str, Sequence[float]],
    alone: Mapping[str, Any],
    lams: Sequence[float],
    path: Path,
) -> None:
    """Evidence, accuracy and KL of one hypernetwork along λ, networks trained alone on top.

    Args:
        sweep: `lams`, `evidence`, `accuracy` and `kl` along λ.
        alone: `evidence_train`, `accuracy` and `kl` of networks by themselves, (runs, lams).
        path: the PNG.
    """
    panels = (
        ("evidence", "evidence_train", "generalised evidence, thousand nats", 1e-3),
        ("accuracy", "accuracy", "test accuracy, %", 100.0),
        ("kl", "kl", "KL, nats", 1.0),
    )

    def plot(figure: Figure) -> None:
        for axes, (ours, theirs, title, scale) in zip(figure.subplots(1, 3), panels, strict=True):
            axes.plot(sweep["lams"], scale * np.array(sweep[ours]), color=COLOURS[0], marker=".")
            array = scale * np.array(alone[theirs])
            axes.errorbar(
                lams, array.mean(axis=0), yerr=array.std(axis=0), fmt="D", color=COLOURS[3],
                markersize=4.5, capsize=2.5, label="networks by themselves",
            )  # fmt: skip
            axes.set_xscale("log")
            axes.set_xlabel("λ")
            if ours == "kl":
                axes.set_yscale("log")
            plain_axes(axes, title)
            if ours == "evidence":
                axes.legend(frameon=False, loc="lower left", fontsize=9)

    save_picture(path, (12, 3.6), plot)
