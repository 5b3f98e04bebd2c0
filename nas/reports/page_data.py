"""All that the page of a search for cells shows, as one JSON document."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from cells.errors import InputError
from nas.reports.answer import UNITS, known_cells
from nas.reports.cell_graph import family_colour
from nas.reports.chance import band, read_chance
from nas.reports.diagnostics import advise, diagnose
from nas.reports.front_plot import COSTS
from nas.reports.page_curves import panels, thinned
from nas.reports.page_layout import cell_layout
from nas.reports.report import FRONT
from nas.runtime.metrics import MetricsLog
from nas.selection.front import Front
from nas.selection.pareto import knee, pareto

DISTRIBUTIONS = "distributions.jsonl"
"""What the hypernetwork said after each epoch, at a few λs, in thousandths."""
METRICS = "metrics.jsonl"
LAMS, LAMS_OF_SEVERAL = 41, 100
"""λs at which the page has probabilities: of one cost, and of all costs together."""
LAMS_OF_AN_EPOCH = 5
BAND_POINTS = 20
"""Costs at which the band of random cells is drawn."""
NUMBERS_OF_EPOCHS = 25_000
"""Probabilities of former epochs on a page, which leaves out epochs beyond."""


def has_ended(folder: Path, settings: Mapping[str, Any], epoch: int) -> bool:
    """Tells whether a search has its table, and it is not that of a run made longer since.

    Args:
        settings: of the search, as JSON values.
        epoch: the last one that is over.
    """
    last = settings["epochs"] - (settings.get("steps") is not None)  # it may be cut short
    return (folder / FRONT).is_file() and epoch >= last


def search_document(folder: Path, front: Front, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Collects what is known of a search, finished or not, from its folder and its front.

    Args:
        folder: of the run. Tables that it lacks are left out.
        settings: of the search, as JSON values.

    Returns:
        JSON values. Cells are strings with the column of an operation for each edge.

    Raises:
        InputError: if a table is damaged.
    """
    grid = front.lam_range.grid(settings["grid"])
    found = diagnose(front, grid)
    cells: dict[tuple[int, ...], int] = {}
    cell_at = [cells.setdefault(tuple(c), len(cells)) for c in found.choices.tolist()]
    rows = _rows(folder, front, grid, cells, cell_at)
    metrics = MetricsLog(folder / METRICS).read()
    epochs = [row["epoch"] for row in metrics if type(row.get("epoch")) is int]
    space = front.space
    return {
        "kind": "search",
        "run": describe_run(folder),
        "settings": dict(settings),
        "finished": has_ended(folder, settings, max(epochs, default=0)),
        "epoch": max(epochs, default=0),
        "epochs": settings["epochs"],
        "space": {
            "name": space.name,
            "ops": space.ops,
            "colours": [family_colour(op) for op in space.ops],
            "none": space.none,
            "kinds": space.kinds,
            "layout": cell_layout(space),
        },
        "axes": [
            {"cost": name, "low": low, "high": high, "count": len(grid[:, k].unique())}
            for k, (name, low, high) in enumerate(
                zip(front.costs, front.lam_range.low, front.lam_range.high, strict=True)
            )
        ],
        "costs": {name: {"label": COSTS[name], "unit": UNITS[name]} for name in front.tables},
        "cells": ["".join(map(_digit, cell)) for cell in cells],
        "cellAt": cell_at,
        "rows": rows,
        "along": {name: _along(rows, name) for name in front.tables},
        "probabilities": _probabilities(front, LAMS if len(front.costs) == 1 else LAMS_OF_SEVERAL),
        "history": _history(folder, front, max(epochs, default=0)),
        "panels": panels(metrics, "epoch", _series(front.costs), settings["epochs"]),
        "chance": _bands(folder, [*front.tables]),
        "advice": advise(front, grid, found),
        "diagnostics": found.text().splitlines(),
    }


def describe_run(folder: Path) -> dict[str, str]:
    """Returns the name of a run's folder, and its path as a shell takes it, for commands."""
    path = str(folder)
    return {
        "name": folder.resolve().name,
        "path": shlex.quote(f"./{path}" if path.startswith("-") else path),
    }


def note_distribution(folder: Path, front: Front, step: int, epoch: int) -> None:
    """Adds what the hypernetwork says after an epoch to the record from which pages show epochs.

    Raises:
        OSError: naming the file, e.g. if no space is left.
    """
    permille = _permille(front, front.lam_range.grid(LAMS_OF_AN_EPOCH))
    MetricsLog(folder / DISTRIBUTIONS).append({"step": step, "epoch": epoch, "permille": permille})


def _series(costs: Sequence[str]) -> dict[str, list[tuple[str, str, int | None]]]:
    """The curves of a search for cells; see `panels`."""
    ends = (("lowest λ", 0), ("highest λ", -1))
    return {
        "loss, nats": [("training", "train_loss", None), ("validation", "val_loss", None)],
        "accuracy": [("training", "train_accuracy", None), ("validation", "val_accuracy", None)],
        **{
            f"expected {COSTS[name]}": [(end, f"expected_{name}", i) for end, i in ends]
            for name in costs
        },
        "entropy of an edge, nats": [(end, "entropy", i) for end, i in ends],
    }


def _digit(column: int) -> str:
    return "0123456789abcdefghijklmnopqrstuvwxyz"[column]


def _rows(
    folder: Path,
    front: Front,
    grid: Tensor,
    cells: Mapping[tuple[int, ...], int],
    cell_at: Sequence[int],
) -> list[dict[str, Any]]:
    """What is known of each cell: its costs, and what the tables of the folder say of it."""
    known = {row["genotype"]: row for row in known_cells(folder)} if _is_finished(folder) else {}
    rows = []
    for choices, cell in cells.items():
        genotype = front.genotype(grid[cell_at.index(cell)].tolist(), choices)
        row = known.get(genotype.id, {})
        names = ("retrained", "retrained_std", "file")
        rows.append(
            {name: _number(table.total(choices)) for name, table in front.tables.items()}
            | {"accuracy": row.get("val_accuracy"), **{name: row.get(name) for name in names}}
            | {"genotype": genotype.id, "model": _model(folder, row.get("file"))}
        )
    return rows


def _bands(folder: Path, costs: Sequence[str]) -> dict[str, list[list[float]]]:
    """For each cost the middle 80 % of random cells along it: cost, 10 %, 50 % and 90 %."""
    chance = read_chance(folder)
    found = {cost: band(chance, cost, BAND_POINTS) for cost in costs}
    return {
        cost: [[float(f"{v:.5g}") for v in point] for point in zip(*drawn, strict=True)]
        for cost, drawn in found.items()
        if drawn is not None
    }


def _model(folder: Path, file: str | None) -> str | None:
    """The network of a cell that was retrained as a member of the run's family, if there is one."""
    path = None if file is None else f"retrained/{Path(file).stem}/model.safetensors"
    return path if path is not None and (folder / path).is_file() else None


def _is_finished(folder: Path) -> bool:
    return (folder / FRONT).is_file()


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else float(f"{value:.6g}")


def _along(rows: Sequence[Mapping[str, Any]], cost: str) -> dict[str, Any]:
    """The members of the front of accuracy against one cost, least expensive first, its knee."""
    scored = [i for i, row in enumerate(rows) if row["accuracy"] is not None]
    accuracies, costs = ([rows[i][name] for i in scored] for name in ("accuracy", cost))
    found = pareto(accuracies, [[c] for c in costs])
    members = sorted(
        (i for i, member in zip(scored, found, strict=True) if member),
        key=lambda i: (rows[i][cost], -rows[i]["accuracy"]),
    )
    bend = knee([rows[i]["accuracy"] for i in members], [rows[i][cost] for i in members])
    return {"members": members, "knee": None if bend is None else members[bend]}


def _permille(front: Front, lams: Tensor) -> list[list[list[int]]]:
    probs = front.log_probs(lams).exp().nan_to_num()
    thousandths: list[list[list[int]]] = (1000 * probs).round().int().tolist()
    return thousandths


def _sizes(lams: Tensor) -> list[int]:
    return [len(lams[:, k].unique()) for k in range(lams.shape[1])]


def _probabilities(front: Front, count: int) -> dict[str, Any]:
    """Probabilities at λs evenly spaced in log λ, for `LambdaRange.grid(count)`."""
    lams = front.lam_range.grid(count)
    return {"sizes": _sizes(lams), "permille": _permille(front, lams)}


def _history(folder: Path, front: Front, last: int) -> dict[str, Any]:
    """The distributions of former epochs, evenly thinned to what a page can hold."""
    lams = front.lam_range.grid(LAMS_OF_AN_EPOCH)
    shape = (len(lams), front.space.num_edges, len(front.space.ops))
    path = folder / DISTRIBUTIONS
    by_epoch = {row.get("epoch"): row.get("permille") for row in MetricsLog(path).read()}
    epochs = sorted(e for e in by_epoch if type(e) is int and 0 < e <= last)
    most = max(2, NUMBERS_OF_EPOCHS // (shape[0] * shape[1] * shape[2]))
    epochs = thinned(epochs, most)
    for epoch in epochs:
        if not _has_shape(by_epoch[epoch], shape):
            raise InputError(f"{path}: epoch {epoch} is no distribution: remove that line")
    return {
        "sizes": _sizes(lams), "epochs": epochs, "permille": [by_epoch[e] for e in epochs],
    }  # fmt: skip


def _has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    if not shape:
        return type(value) is int and 0 <= value <= 1000
    return (
        type(value) is list
        and len(value) == shape[0]
        and all(_has_shape(part, shape[1:]) for part in value)
    )
