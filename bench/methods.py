"""One search step of every method of `nas/cell_search/presets.py`, beside that of plain softmax.

    python -m bench.methods [--rounds 3] [--num-cells 3 8] [--only darts snas]

The methods' settings over the preset cifar10: 16 channels, batch 64, 32×32 pixels, one step of the
architecture and one of the weights. The preset itself, softmax in first order, is what they are
compared with. A few workers at a time take turns with one of softmax, so that they fit in memory;
a ratio is the median over the rounds of the ratio within a round. On a CPU the time is that of all
threads at work, on a GPU that on the wall.
"""

import argparse
import sys
from typing import Any

from bench.steps import side_by_side
from cells.cell import Skeleton
from cells.cost import cost_table
from cells.space import find_space
from nas.cell_search.presets import METHODS, PRESETS, RESTING

PRESET = "cifar10"
BASE = "softmax"
CELLS = (3, 8)
HEAVY = {3: 4, 8: 2}
"""Workers beside softmax at a time that compute all operations, by number of cells: each holds 3
and 6 GiB."""
LIGHT = 8
"""Workers at a time that compute one operation on each edge, or all on part of the channels."""


def cases(threads: int, sizes: dict[str, int]) -> dict[str, dict[str, Any]]:
    """The worker of every row, by name; the first is what the others are compared with.

    Args:
        sizes: settings that change the preset's sizes: `num_cells`, `channels`, `batch_size`.
    """

    def case(settings: dict[str, Any]) -> dict[str, Any]:
        changes = settings | sizes | {"threads": threads}
        if settings.get("constraint", "none") != "none":
            changes["bounds"] = (f"params={_middle(changes):.0f}",)
        return {"preset": PRESET, "threads": threads, "clock": "processor", "changes": changes}

    rows = {BASE: case({})}
    for name, settings in METHODS.items():
        rest = {"warmup_epochs": PRESETS[PRESET].epochs} if name in RESTING else {}
        rows[name] = case(settings | rest)
    return rows


def _middle(changes: dict[str, Any]) -> float:
    """Parameters half-way between the least and the most expensive cell with all its edges."""
    config = PRESETS[PRESET]
    space = find_space(changes.get("space", config.space))
    sizes = (changes.get(name, getattr(config, name)) for name in ("channels", "num_cells"))
    table = cost_table("params", Skeleton(space, 3, 10, 32, 32, *sizes))
    return (table.low + table.high) / 2


def groups(chosen: dict[str, dict[str, Any]], cells: int) -> list[list[str]]:
    """Names of the cases but the first, in groups that fit in memory."""
    heavy: list[str] = []
    light: list[str] = []
    for name in list(chosen)[1:]:
        changes = chosen[name]["changes"]
        partial = changes.get("partial_channels", (1,)) != (1,)
        small = partial or changes.get("relax") == "straight_through"
        (light if small else heavy).append(name)
    pairs = ((light, LIGHT), (heavy, HEAVY.get(cells, 1)))
    return [names[i : i + n] for names, n in pairs for i in range(0, len(names), n)]


def compare(
    chosen: dict[str, dict[str, Any]], rounds: int, cells: int
) -> dict[str, tuple[float, float, float, float]]:
    """Measures the cases, so many at a time beside the first.

    The step before the rounds, which warms up, is also the one step on which SDARTS' ball of
    perturbations has no size yet.

    Returns:
        By name: time over that of the first case, its least and most over the rounds, and peak
        memory over that of the first.
    """
    base = next(iter(chosen))
    found = {base: (1.0, 1.0, 1.0, 1.0)}
    for names in groups(chosen, cells):
        rows = side_by_side({name: chosen[name] for name in (base, *names)}, rounds, warm_up=1)
        for name in names:
            row = rows[name]
            times = (1 / row["faster"], 1 / row["most"], 1 / row["least"])
            found[name] = (*times, row["memory"])
            print(name, *(f"{value:.3f}" for value in found[name]), file=sys.stderr, flush=True)
    return {name: found[name] for name in chosen}


def measure(
    rounds: int, threads: int, cells: tuple[int, ...] = CELLS, only: tuple[str, ...] = ()
) -> dict[int, dict[str, tuple[float, float, float, float]]]:
    """Measures the methods at every number of cells; all of them, or only some."""
    found = {}
    for number in cells:
        sizes = {"num_cells": number, "channels": 16, "batch_size": 64}
        chosen = {
            name: case
            for name, case in cases(threads, sizes).items()
            if not only or name in (BASE, *only)
        }
        found[number] = compare(chosen, rounds, number)
    return found


def table(found: dict[int, dict[str, tuple[float, float, float, float]]]) -> str:
    """The ratios as Markdown, a line for each method."""
    lines = [
        "| method |" + "".join(f" time, {n} cells (range) | memory |" for n in found),
        "|---|" + "--:|--:|" * len(found),
    ]
    for name in next(iter(found.values())):
        line = f"| {name} |"
        for rows in found.values():
            middle, least, most, memory = rows[name]
            line += f" {middle:.2f} ({least:.2f}–{most:.2f}) | {memory:.2f} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--num-cells", type=int, nargs="+", default=list(CELLS))
    parser.add_argument("--only", nargs="*", default=[], help="names of rows to measure")
    args = parser.parse_args()
    print(table(measure(args.rounds, args.threads, tuple(args.num_cells), tuple(args.only))))


if __name__ == "__main__":
    main()
