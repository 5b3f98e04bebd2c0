"""Several searches on one page: their fronts, what they dominate, the settings that differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cells.errors import InputError
from cells.output_files import write_atomically
from nas.reports.answer import UNITS, costs_of, known_cells
from nas.reports.front_plot import COSTS
from nas.reports.page import render
from nas.reports.page_data import describe_run
from nas.selection.pareto import hypervolume, pareto

SCRIPTS = ("base.js", "plot.js", "compare.js")
KINDS = ("val_accuracy", "retrained")
"""Accuracies that a front may be of: with shared weights, and of networks trained by themselves."""


def write_comparison(runs: Mapping[Path, Mapping[str, Any]], path: Path) -> None:
    """Writes a page about several finished searches.

    Args:
        runs: settings as JSON values by the folder of each.
        path: of the page.

    Raises:
        InputError: if a search is unfinished or a table damaged, or they share no cost.
    """
    document = comparison(runs)
    title = ", ".join(run["label"] for run in document["runs"])
    write_atomically(path, render("compare.html", SCRIPTS, title, document))


def comparison(runs: Mapping[Path, Mapping[str, Any]]) -> dict[str, Any]:
    """Collects what a page about several searches shows, as JSON values; see `write_comparison`."""
    cells = {run: known_cells(run) for run in runs}
    costs = [name for name in COSTS if all(name in costs_of(rows[0]) for rows in cells.values())]
    if not costs:
        raise InputError(f"{', '.join(map(str, runs))} have no cost in common: compare others")
    labels = _labels([*runs])
    fronts = {name: {kind: _fronts([*cells.values()], name, kind) for kind in KINDS}
              for name in costs}  # fmt: skip
    return {
        "kind": "compare",
        "costs": {name: {"label": COSTS[name], "unit": UNITS[name]} for name in costs},
        "runs": [
            {"label": label, **describe_run(run), "cells": len(cells[run])}
            for label, run in zip(labels, runs, strict=True)
        ],
        "fronts": fronts,
        "settings": differing([*runs.values()]),
        "sameData": len({_data(settings) for settings in runs.values()}) == 1,
    }


def differing(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Returns the settings in which runs differ, by name, one value for each run.

    Args:
        settings: of each run; None stands for one that it lacks.
    """
    names = dict.fromkeys(name for values in settings for name in values)
    found = {name: [values.get(name) for values in settings] for name in names}
    return {
        name: values
        for name, values in found.items()
        if any(value != values[0] for value in values)
    }


def _data(settings: Mapping[str, Any]) -> str:
    return str([settings.get(name) for name in ("data", "split_seed", "image_size")])


def _labels(runs: Sequence[Path]) -> list[str]:
    """Names of folders, or their paths where two have the same name."""
    names = [run.resolve().name for run in runs]
    return names if len({*names}) == len(names) else [str(run) for run in runs]


def _fronts(runs: Sequence[Sequence[Mapping[str, Any]]], cost: str, kind: str) -> dict[str, Any]:
    """The cells of each run that have an accuracy of a kind, and the shares that they dominate.

    A share is that of the box between the least and the most expensive cell of all runs, and
    between the worst and the best: 1 is dominated by a cell that is both cheapest and best.
    """
    points = [
        sorted(
            [row[cost], row[kind], row["retrained_std"] if kind == "retrained" else None]
            for row in rows
            if row[kind] is not None
        )
        for rows in runs
    ]
    every = [point for each in points for point in each]
    if not every:
        return {"points": points, "members": points, "shares": [None for _ in runs]}
    prices, accuracies = [p[0] for p in every], [p[1] for p in every]
    area = (max(prices) - min(prices)) * (max(accuracies) - min(accuracies))
    shares: list[float | None] = []
    members = []
    for each in points:
        on_front = pareto([p[1] for p in each], [[p[0]] for p in each])
        members.append([i for i, member in enumerate(on_front) if member])
        volume = hypervolume(
            [p[1] for p in each],
            [[p[0]] for p in each],
            least=min(accuracies),
            most=[max(prices)],
        )
        shares.append(volume / area if area > 0 and each else None)
    return {"points": points, "members": members, "shares": shares}
