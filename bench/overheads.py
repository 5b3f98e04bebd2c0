"""What the λ, the data and the questions to a search cost.

    python -m bench.overheads [--rounds 7]

* λ-conditioned against single: the same steps with a hypernetwork of λ, and with a table for one.
* Data: what drawing a step's two batches, λs and noise takes of the step.
* 1 000 λs: logits, discrete cells, their cost and their expected cost.
* Five λs: a whole search and five questions to it, against five whole searches for a λ each.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.worker import Worker, noise, take_turns
from nas.cell_search.config import SearchConfig
from nas.cell_search.fronts import load_front
from nas.cell_search.presets import PRESETS
from nas.cell_search.searcher import Searcher
from nas.run import search
from nas.runtime.processes import start_processes
from nas.selection.front import Front

LAMS = (0.001, 0.01, 0.1, 1.0, 10.0)


def milliseconds(work: Callable[[], object], repeats: int = 25) -> float:
    """Median time on the wall after one call to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def conditioned(rounds: int, threads: int) -> float:
    """Time of a step with λ over one without, the median of the ratios of each round."""
    changes = {"relax": "softmax", "num_cells": 3, "channels": 16, "threads": threads}
    changes |= {"batch_size": 64}
    single = {"hypernet": "constant", "lam": [0.1]}
    workers = [
        Worker({"preset": "cifar10", "threads": threads, "changes": changes | extra})
        for extra in (single, {})
    ]
    single_times, conditioned_times = take_turns(workers, rounds)
    for worker in workers:
        worker.close()
    ratios = [b / a for a, b in zip(single_times, conditioned_times, strict=True)]
    return statistics.median(ratios)


def data_share(relax: str, threads: int) -> tuple[float, float]:
    """Milliseconds to draw what one step needs, and those of the whole step."""
    config = replace(
        PRESETS["cifar10"], relax=relax, num_cells=3, channels=16, batch_size=64, threads=threads
    )
    searcher = Searcher(config, start_processes(config.device), data=noise(5000, 32, 10))
    problem = searcher.problem
    draw = milliseconds(lambda: [problem.sample(half, 7) for half in ("train", "val")])
    return draw, milliseconds(searcher.advance, 5)


def thousand_lams() -> float:
    """Milliseconds to ask a front for the cells of 1 000 λs."""
    config = replace(PRESETS["cifar10"], num_cells=3, channels=16)
    searcher = Searcher(config, start_processes(config.device), data=noise(256, 32, 10))
    front: Front = searcher.front()
    table = front.tables["params"]
    lams = searcher.problem.lam_range.sample(1000, torch.Generator().manual_seed(0))

    def ask() -> None:
        with torch.no_grad():
            table.expected(front.log_probs(lams).exp())
            table.totals(front.choices(lams))

    return milliseconds(ask)


def five_lams(epochs: int) -> tuple[float, float]:
    """Seconds of one search and five questions, and of five searches, all on digits."""
    base = replace(PRESETS["digits"], epochs=epochs, warmup_epochs=epochs // 2)

    def run(config: SearchConfig, folder: Path) -> float:
        start = time.perf_counter()
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            search(config, folder)
        return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        five = sum(
            run(replace(base, hypernet="constant", lam=(lam,)), root / f"{lam}") for lam in LAMS
        )
        one = run(base, root / "all")
        start = time.perf_counter()
        front = load_front(root / "all")
        for lam in LAMS:
            front.at(lam)
        return one + time.perf_counter() - start, five


def measure(rounds: int, threads: int, epochs: int = 20) -> dict[str, Any]:
    """Measures everything."""
    one, five = five_lams(epochs)
    return {
        "conditioned": conditioned(rounds, threads),
        "data": {relax: data_share(relax, threads) for relax in ("softmax", "straight_through")},
        "thousand": thousand_lams(),
        "one": one,
        "five": five,
    }


def table(found: dict[str, Any]) -> str:
    """What was measured, as Markdown."""
    lines = [
        "| | |",
        "|---|---|",
        f"| λ-conditioned over single λ, time of a step | {found['conditioned']:.3f} |",
        f"| five searches for a λ each, over one search for all | "
        f"{found['five'] / found['one']:.2f} ({found['five']:.0f} s over {found['one']:.0f} s) |",
    ]
    for relax, (draw, step) in found["data"].items():
        lines.append(
            f"| data and noise of a step, {relax.replace('_', '-')} | "
            f"{100 * draw / step:.2f} % ({draw:.2f} ms of {step:.0f} ms) |"
        )
    lines.append(
        f"| 1 000 λs: logits, expected costs, cells, their costs | {found['thousand']:.1f} ms |"
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    print(table(measure(args.rounds, args.threads)))


if __name__ == "__main__":
    main()
