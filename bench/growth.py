"""How the time and the memory of a step grow with everything that can be chosen.

    python -m bench.growth [--steps 5]

One size changes at a time from 3 cells × 8 channels, batch 32, 32×32 pixels, all 8 candidates, one
λ, softmax. Each point is a process of its own. The exponent p of `y ∝ size^p` is the slope of a
least-squares line through the logarithms; for memory, too, which at small sizes has a constant
part and so a smaller slope.
"""

import argparse
import math
import statistics
from typing import Any

from bench.worker import Worker, take_turns

SIZES: dict[str, tuple[tuple[int, ...], str]] = {
    "cells": ((3, 8, 20), "1, less what halved images save: later cells cost less"),
    "channels": ((8, 16, 36), "1 where memory bounds, 2 in pointwise convolutions"),
    "batch": ((16, 32, 64, 128), "1"),
    "candidates": ((2, 4, 8), "about 1: evenly from the space's list, so of all kinds"),
    "side": ((16, 32, 64), "2"),
    "lams": ((1, 2, 4), "1: a pass for each λ"),
}
"""Values of each size, and the exponent to be expected of the time."""

BASE = {"cells": 3, "channels": 8, "batch": 32, "candidates": 8, "side": 32, "lams": 1}


def case(threads: int, **sizes: int) -> dict[str, Any]:
    """The worker of one point."""
    every = BASE | sizes
    changes = {
        "relax": "softmax",
        "threads": threads,
        "num_cells": every["cells"],
        "channels": every["channels"],
        "batch_size": every["batch"],
        "lams_per_step": every["lams"],
    }
    return {
        "preset": "cifar10",
        "threads": threads,
        "changes": changes,
        "side": every["side"],
        "candidates": every["candidates"],
    }


def measure(steps: int, threads: int) -> list[dict[str, Any]]:
    """Measures every point."""
    rows = []
    for name, (values, _) in SIZES.items():
        for value in values:
            worker = Worker(case(threads, **{name: value}))
            (times,) = take_turns([worker], steps, warm_up=1)
            seconds = statistics.median(times)
            rows.append(
                {"size": name, "value": value, "seconds": seconds, "gib": worker.close()["gib"]}
            )
    return rows


def exponent(values: list[float], measured: list[float]) -> float:
    """Slope of the line through the logarithms."""
    slope: float = statistics.linear_regression(
        [math.log(value) for value in values], [math.log(value) for value in measured]
    ).slope
    return slope


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, a line for each size."""
    lines = [
        "| size | values | s / step | exponent | peak GiB | exponent | expected of the time |",
        "|---|---|---|--:|---|--:|---|",
    ]
    for name, (_, expected) in SIZES.items():
        own = [row for row in rows if row["size"] == name]
        values = [row["value"] for row in own]
        seconds, gib = [row["seconds"] for row in own], [row["gib"] for row in own]
        lines.append(
            f"| {name} | {', '.join(map(str, values))} | "
            f"{', '.join(f'{s:.2f}' for s in seconds)} | {exponent(values, seconds):.2f} | "
            f"{', '.join(f'{g:.2f}' for g in gib)} | {exponent(values, gib):.2f} | {expected} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    print(table(measure(args.steps, args.threads)))


if __name__ == "__main__":
    main()
