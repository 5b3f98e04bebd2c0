"""The page of a search in the space `mlp`: evidence, KL and accuracy along λ, pruning, training."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from cells.errors import InputError
from cells.output_files import write_atomically
from nas.reports.page import PAGE, render
from nas.reports.page_curves import panels
from nas.reports.page_data import METRICS, describe_run, has_ended
from nas.reports.report import FRONT
from nas.runtime.metrics import MetricsLog
from nas.runtime.tables import number, read_table

SCRIPTS = ("base.js", "plot.js", "weights.js")
TITLES = {
    "evidence": "generalised evidence, nats",
    "kl": "KL of the weights, nats",
    "train_accuracy": "accuracy, training part",
    "train_rmse": "error (rmse), training part",
    "accuracy": "accuracy, training part",
    "rmse": "error (rmse), training part",
    "val_nll": "validation loss, nats per example",
    "val_accuracy": "accuracy, validation part",
    "val_rmse": "error (rmse), validation part",
}
"""Of the columns of front.csv that are drawn along λ, former names among them."""
MOST_PRUNED = 8
"""Curves of pruning on a page."""


def write_weights_page(folder: Path, settings: Mapping[str, Any]) -> None:
    """Writes `report.html` into the folder of a search in the space `mlp`, finished or not.

    Args:
        settings: of the search, as JSON values.

    Raises:
        InputError: if a table of the folder is damaged.
        OSError: naming the file, e.g. if no space is left.
    """
    document = weights_document(folder, settings)
    page = render("weights.html", SCRIPTS, document["run"]["name"], document)
    write_atomically(folder / PAGE, page)


def weights_document(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Collects what the page shows, as JSON values; tables that the folder lacks are left out."""
    names, rows = _numbers(folder / FRONT)
    along = panels(
        rows, "lam", {TITLES[name]: [(name, name, None)] for name in names if name in TITLES}
    )
    for panel in along:
        name = panel["curves"][0]["name"]
        panel |= {"logAlong": len(rows) > 1, "logValues": name == "kl"}
        if f"{name}_std" in names:
            spread = panels(rows, "lam", {"": [("", f"{name}_std", None)]})
            panel["curves"][0]["spread"] = spread[0]["curves"][0]["values"]
    is_curve = "seed" not in names and len(rows) > 1  # else a λ for each seed, as tuned
    training: dict[str, list[tuple[str, str, int | None]]] = {
        "loss, nats": [("training", "train_loss", None), ("validation", "val_loss", None)],
        "accuracy": [("training", "train_accuracy", None)],
        "KL, nats": [("lowest λ", "kl", 0), ("highest λ", "kl", -1)],
    }
    metrics = MetricsLog(folder / METRICS).read()
    epoch = max((row["epoch"] for row in metrics if "epoch" in row), default=0)
    return {
        "kind": "weights",
        "run": describe_run(folder),
        "settings": dict(settings),
        "finished": has_ended(folder, settings, epoch),
        "epoch": epoch,
        "epochs": settings["epochs"],
        "columns": names,
        "rows": [[row[name] for name in names] for row in rows],
        "along": along if is_curve else [],
        "pruned": _pruned(folder),
        "panels": panels(metrics, "epoch", training, settings["epochs"]),
    }


def _numbers(path: Path) -> tuple[list[str], list[dict[str, float]]]:
    """Reads a table of numbers; no columns and no rows if there is none."""
    if not path.is_file():
        return [], []
    names, lines = read_table(path)
    return names, [
        {name: number(text, where) for name, text in zip(names, line, strict=True)}
        for where, line in lines
    ]


def _pruned(folder: Path) -> list[dict[str, Any]]:
    """A plot for each table that `nas prune` has left: accuracy, or error, against what is removed.

    The mean over the runs of the search is drawn.
    """
    found = []
    for path in sorted(folder.glob("prune-*.csv"))[:MOST_PRUNED]:
        names, rows = _numbers(path)
        values = [name for name in names if name != "removed"]
        if "removed" not in names or not values or not rows:
            raise InputError(f"{path} has no columns removed and accuracy: prune again")
        kind = values[0].partition("_run")[0]
        means = [{"removed": row["removed"], "mean": fmean(row[n] for n in values)} for row in rows]
        title = f"{kind.removeprefix('test_')} by share removed, {path.stem.removeprefix('prune-')}"
        found += panels(means, "removed", {title: [("mean", "mean", None)]})
    return found
