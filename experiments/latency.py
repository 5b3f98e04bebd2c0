"""Latency that the cost table predicts, beside that of whole networks, timed end to end.

    python -m experiments.latency --out runs/latency

takes 30 random networks of each space, 3 cells × 16 channels, 32×32 pixels, in batches of 1 and of
64, on one thread. Every network has a turn in every round, in another order each, so that whatever
else the machine does hits all alike. In its turn it runs for one image first, and then for the
batch, timed by the clock of the thread, which stands while others have the processor. A network's
latency is its median over the rounds. What can be asked of the prediction is bounded by how well
the even rounds agree with the odd ones.
"""

import random
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import torch
from scipy.stats import kendalltau, spearmanr

from cells.cell import Skeleton
from cells.cost import cost_table
from cells.genotype import Genotype
from cells.network import Network
from cells.sampling import random_cell
from cells.space import find_space
from experiments.records import recorded
from nas.objective.timing import timed
from nas.runtime.commandline import Parser
from nas.runtime.script import run_script
from nas.runtime.streams import stream

SPACES = ("darts", "nasbench201")
BATCHES = (1, 64)
ROUNDS = 40
"""Turns of every network."""


def skeleton(space: str, cells: int, channels: int, side: int) -> Skeleton:
    """The networks' sizes, with 10 classes."""
    return Skeleton(find_space(space), 3, 10, side, side, channels, cells)


def measure(where: Skeleton, count: int, batch: int, rounds: int) -> dict[str, Any]:
    """Predicted and measured milliseconds of random networks.

    Returns:
        `cells`; `predicted`; `measured`, the median over all rounds, and over those that are
        `even` and `odd`.
    """
    space = where.space
    draw = random.Random(stream(0, f"latency/{space.name}", 0).initial_seed())
    cells = [random_cell(space, draw) for _ in range(count)]
    networks = [Network(Genotype.from_choices(space, cell), where).eval() for cell in cells]
    table = cost_table("latency", where, latency_batch=batch)
    image = torch.randn(batch, where.in_channels, where.height, where.width)
    for network in networks:
        network.to(memory_format=torch.channels_last)
    times = timed(networks, image.contiguous(memory_format=torch.channels_last), rounds)
    return {
        "cells": cells,
        "predicted": [table.total(cell) for cell in cells],
        "measured": [statistics.median(each) for each in times],
        "even": [statistics.median(each[::2]) for each in times],
        "odd": [statistics.median(each[1::2]) for each in times],
    }


def agreement(found: dict[str, Any]) -> dict[str, float]:
    """How prediction and measurement agree.

    Returns:
        Rank correlations `spearman` and `kendall`; the median, the least and the most of predicted
        over measured; Spearman's correlation of the even rounds with the odd ones (`rounds`).
    """
    predicted, measured = found["predicted"], found["measured"]
    ratios = [a / b for a, b in zip(predicted, measured, strict=True)]
    return {
        "spearman": float(spearmanr(predicted, measured).statistic),
        "kendall": float(kendalltau(predicted, measured).statistic),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "rounds": float(spearmanr(found["even"], found["odd"]).statistic),
    }


def report(
    out: Path,
    count: int = 30,
    cells: int = 3,
    channels: int = 16,
    side: int = 32,
    rounds: int = ROUNDS,
) -> str:
    """The table, in Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    lines = [
        "| space | batch | measured, ms | Spearman | Kendall | predicted / measured (range) "
        "| Spearman, even and odd rounds |",
        "|:--|--:|--:|--:|--:|--:|--:|",
    ]
    for space in SPACES:
        where = skeleton(space, cells, channels, side)
        for batch in BATCHES:
            found = recorded(
                out / f"{space}-{batch}.json",
                partial(measure, where, count, batch, rounds),
            )
            row = agreement(found)
            times = found["measured"]
            lines.append(
                f"| {space} | {batch} | {min(times):.3g}–{max(times):.3g} | {row['spearman']:.3f} "
                f"| {row['kendall']:.3f} | {row['ratio']:.2f} "
                f"({row['least']:.2f}–{row['most']:.2f}) | {row['rounds']:.3f} |"
            )
    return "\n".join(lines)


def _command() -> None:
    parser = Parser(prog="python -m experiments.latency")
    parser.add_argument("--out", type=Path, default=Path("runs/latency"), help="folder")
    print(report(parser.parse_args().out))


def main() -> None:
    """`python -m experiments.latency`."""
    run_script(_command)


if __name__ == "__main__":
    main()
