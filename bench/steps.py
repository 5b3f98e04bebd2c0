"""One search step side by side with the reference implementation.

    python -m bench.steps --reference PATH [--rounds 7] [--num-cells 3] [--channels 16]

The same work for all: that many cells, batch 64, 32×32 pixels, one step of the architecture and
one of the weights. The workers take turns; a ratio is the median over the rounds of the ratio
within a round.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

from bench.worker import Worker, take_turns


def cases(reference: Path, threads: int, sizes: dict[str, int]) -> dict[str, dict[str, Any]]:
    """What is compared, by name; the first is what the others are compared with."""

    def theirs(order: str, **settings: Any) -> dict[str, Any]:
        path = str(reference)
        return {"reference": path, "order": order, "threads": threads, **sizes, **settings}

    def ours(relax: str, order: str = "first", precision: str = "float32") -> dict[str, Any]:
        changes = {"relax": relax, "order": order, "precision": precision, "threads": threads}
        return {"preset": "cifar10", "threads": threads, "changes": changes | sizes}

    return {
        "DARTS-CC, softmax": theirs("first"),
        "DARTS-CC, softmax, channels-last": theirs("first", channels_last=True),
        "DARTS-CC, softmax, second order": theirs("second"),
        "ours, softmax": ours("softmax"),
        "ours, softmax, bfloat16": ours("softmax", precision="bfloat16"),
        "ours, straight-through": ours("straight_through"),
        "ours, softmax, second order": ours("softmax", "second"),
        "ours, straight-through, second order": ours("straight_through", "second"),
    }


def compare(chosen: dict[str, dict[str, Any]], rounds: int) -> list[dict[str, Any]]:
    """Measures the cases side by side; ratios are to the first.

    The reference's cases and ours run one group after the other, each beside the first case, so
    that fewer processes lie in memory at once.
    """
    first, *others = chosen
    theirs = [name for name in others if "reference" in chosen[name]]
    groups = [theirs, [name for name in others if name not in theirs]]
    rows: dict[str, dict[str, Any]] = {}
    for group in groups:
        if group:
            names = [first, *group]
            rows |= side_by_side({name: chosen[name] for name in names}, rounds)
    return [rows[name] for name in chosen]


def side_by_side(
    chosen: dict[str, dict[str, Any]], rounds: int, warm_up: int = 2
) -> dict[str, dict[str, Any]]:
    """Measures one group of cases; ratios are to the first.

    Returns:
        By name: median `seconds`; how many times `faster` than the first, the median over the
        rounds, the `least` and the `most`; peak `gib` and `memory`, its ratio to the first's.
    """
    workers = [Worker(case) for case in chosen.values()]
    seconds = take_turns(workers, rounds, warm_up)
    ends = [worker.close() for worker in workers]
    rows = {}
    for name, found, end in zip(chosen, seconds, ends, strict=True):
        ratios = [a / b for a, b in zip(seconds[0], found, strict=True)]
        rows[name] = {
            "case": name,
            "seconds": statistics.median(found),
            "faster": statistics.median(ratios),
            "least": min(ratios),
            "most": max(ratios),
            "gib": end["gib"],
            "memory": end["gib"] / ends[0]["gib"],
            "machine": end["machine"],
            "gpu": end["gpu"],
        }
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, with seconds only from a GPU: those of a shared CPU tell little."""
    gpu = rows[0]["gpu"]
    lines = [
        f"| one step |{' s |' * gpu} times faster (range over rounds) | peak GiB | share |",
        f"|---|{'--:|' * gpu}--:|--:|--:|",
    ]
    for row in rows:
        seconds = f" {row['seconds']:.3f} |" if gpu else ""
        lines.append(
            f"| {row['case']} |{seconds} "
            f"{row['faster']:.2f} ({row['least']:.2f}–{row['most']:.2f}) | "
            f"{row['gib']:.2f} | {row['memory']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--reference", type=Path, required=True, help="a checkout of DARTS-CC")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--num-cells", type=int, default=3)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--only", nargs="*", help="parts of the names of the cases to measure")
    args = parser.parse_args()
    sizes = {"num_cells": args.num_cells, "channels": args.channels, "batch_size": 64}
    chosen = cases(args.reference, args.threads, sizes)
    if args.only:
        first = next(iter(chosen))
        chosen = {
            name: case
            for name, case in chosen.items()
            if name == first or any(part == name for part in args.only)
        }
    rows = compare(chosen, args.rounds)
    print(table(rows), rows[0]["machine"])


if __name__ == "__main__":
    main()
