"""Fronts of NAS-Bench-201 by method, as tables."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from experiments.nasbench201.rivals import by_parameters, chance, evolved
from experiments.nasbench201.searches import (
    LAMS,
    SINGLE,
    Laboratory,
    darts_cc,
    ours,
    single,
)

METHODS: dict[str, Callable[[Laboratory, int, str], dict[str, Any]]] = {
    "one run for all λs": lambda lab, seed, cost: ours(lab, seed, (cost,)),
    "5 single λs, a fifth of a search each": partial(single, share=1 / SINGLE),
    "5 single λs, a whole search each": partial(single, share=1.0),
    "20 random cells": chance,
    "most parameters at its cost": by_parameters,
    "evolution on its supernets": evolved,
    "DARTS-CC": darts_cc,
    "DARTS-CC with finalists": partial(darts_cc, finalists=True),
    "its first search alone": lambda lab, seed, cost: ours(lab, seed, (cost,), searches=1),
}


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± sample standard deviation."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def table(
    lab: Laboratory, methods: Sequence[str], seeds: Sequence[int], costs: Sequence[str]
) -> str:
    """Runs what is not on record and returns the table of all, in Markdown."""
    lines = [
        "| cells of | cost | hypervolume | by seed | first, % | best, % | distinct | minutes |",
        "|:--|:--|--:|:--|--:|--:|--:|--:|",
    ]
    for method in methods:
        for cost in costs:
            found = [METHODS[method](lab, seed, cost) for seed in seeds]
            columns = [
                spread([f[name] for f in found], digits) if name in found[0] else ""
                for name, digits in (
                    ("hypervolume", 3), ("first", 2), ("best", 2), ("distinct", 0), ("minutes", 0),
                )
            ]  # fmt: skip
            by_seed = " ".join(f"{f['hypervolume']:.3f}" for f in found)
            columns.insert(1, by_seed)
            lines.append(f"| {method} | {cost} | " + " | ".join(columns) + " |")
    return "\n".join(lines)


def surface(lab: Laboratory, seeds: Sequence[int], costs: Sequence[str]) -> str:
    """Searches for several costs at once; shares of the volume under the true surface, Markdown."""
    found = [ours(lab, seed, costs) for seed in seeds]
    rows = {f"one run, {LAMS} × {LAMS} λs": [f["hypervolume"] for f in found]}
    for count in (LAMS, LAMS**2):
        rows[f"{count} random cells"] = [
            chance(lab, seed, *costs, count=count)["hypervolume"] for seed in seeds
        ]
    lines = [f"| cells of | hypervolume: {', '.join(costs)} |", "|:--|--:|"]
    lines += [f"| {name} | {spread(values, 3)} |" for name, values in rows.items()]
    lines.append(f"\nDifferent cells: {spread([f['distinct'] for f in found], 0)}.")
    return "\n".join(lines)
