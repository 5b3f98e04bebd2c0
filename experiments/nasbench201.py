"""Fronts of NAS-Bench-201 against the known truth, and what they must beat.

    python -m experiments.nasbench201 --out runs/nasbench201

searches CIFAR-10's training images, looks the cells of twenty λs up in the benchmark's table, and
prints the shares of the true fronts' hypervolume. Whoever runs the command again goes on where it
stopped; finished parts are only read.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.nasbench201_picture import draw_fronts
from experiments.nasbench201_rivals import by_parameters, chance, evolved
from experiments.nasbench201_searches import (
    LAMS,
    RANKED,
    SINGLE,
    Laboratory,
    darts_cc,
    ours,
    ranking,
    single,
)
from experiments.nasbench201_table import COLUMNS
from nas.cell_search.config import SearchConfig
from nas.runtime.commandline import Parser, run_script

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


def _command() -> None:
    parser = Parser(prog="python -m experiments.nasbench201", description="NAS-Bench-201 fronts.")
    parser.add_argument("--out", type=Path, default=Path("runs/nasbench201"), help="folder to keep")
    parser.add_argument(
        "--data-root", type=Path, default=Path(SearchConfig().data_root),
        help="folder with CIFAR-10 and the benchmark's table",
    )  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--costs", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument(
        "--methods", type=int, nargs="+", choices=range(len(METHODS)), default=range(len(METHODS)),
        help="numbers: " + ", ".join(f"{n} {name}" for n, name in enumerate(METHODS)),
    )  # fmt: skip
    parser.add_argument(
        "--surface", nargs=2, choices=COLUMNS, help="search for two costs at once instead"
    )
    args = parser.parse_args()
    lab = Laboratory(args.out, args.data_root)
    if args.surface is not None:
        print(surface(lab, args.seeds, tuple(args.surface)))
        return
    print(table(lab, [list(METHODS)[n] for n in args.methods], args.seeds, args.costs))
    if 0 in args.methods:
        found = {
            cost: {seed: ours(lab, seed, (cost,))["cells"] for seed in args.seeds}
            for cost in args.costs
        }
        draw_fronts(lab.benchmark, found, args.out / "fronts.png")
        print(f"\nPicture: {args.out / 'fronts.png'}")
        taus = [ranking(lab, seed) for seed in args.seeds]
        print(f"\nKendall's τ with the true accuracies, on {RANKED} random cells, and above 90 %:")
        for name in taus[0]:
            every, good = zip(*(tau[name] for tau in taus), strict=True)
            print(f"  {name}: {spread(every, 3)}, {spread(good, 3)}")


def main() -> None:
    """`python -m experiments.nasbench201`."""
    run_script(_command)


if __name__ == "__main__":
    main()
