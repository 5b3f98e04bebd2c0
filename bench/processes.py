"""Two processes against one, and what a link between GPUs would add.

    python -m bench.processes [--steps 6]

The same joint batch: one process with one thread, one with two, and two with one thread each that
average their gradients over gloo. For nccl the same traffic is put on paper: a ring moves
2 (n − 1) / n times the bytes of a step through every link.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

from bench.worker import noise
from nas.cell_search.presets import PRESETS
from nas.cell_search.searcher import Searcher
from nas.runtime.processes import start_processes, stop_processes

LINKS = {"NVLink 4, one H200 (450 GB/s each way)": 450e9, "PCIe 5 ×16 (63 GB/s)": 63e9}
RELAXATIONS = ("softmax", "straight_through")


def run(relax: str, steps: int, threads: int) -> dict[str, Any] | None:
    """Steps in this process, one of those that torchrun started; the first one answers."""
    config = replace(
        PRESETS["cifar10"], relax=relax, num_cells=3, channels=16, batch_size=64, threads=threads
    )
    processes = start_processes(config.device)
    searcher = Searcher(config, processes, data=noise(256, 32, 10))
    times = []
    for _ in range(2 + steps):
        start = time.perf_counter()
        searcher.advance()
        times.append(time.perf_counter() - start)
    trained = (*searcher.problem.weights, *searcher.problem.arch)
    answer = {"times": times[2:], "bytes": sum(p.numel() * p.element_size() for p in trained)}
    main = processes.is_main
    stop_processes(processes)
    return answer if main else None


def measure(steps: int) -> list[dict[str, Any]]:
    """Runs every relaxation on one and two processes."""
    rows = []
    for relax in RELAXATIONS:
        for processes, threads in ((1, 1), (1, 2), (2, 1)):
            launcher = ["-m", "torch.distributed.run", "--standalone"]
            launcher += [f"--nproc_per_node={processes}", "-m", "bench.processes"]
            launcher += ["--case", relax, str(threads), "--steps", str(steps)]
            done = subprocess.run(
                [sys.executable, *launcher],
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                check=True,
                capture_output=True,
                text=True,
            )
            answer = json.loads(done.stdout.strip().splitlines()[-1])
            seconds = statistics.median(answer["times"])
            rows.append(
                {
                    "relax": relax,
                    "processes": processes,
                    "threads": threads,
                    "seconds": seconds,
                    "bytes": answer["bytes"],
                }
            )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        "| relaxation | processes × threads | s / step | times faster than 1 × 1 |",
        "|---|--:|--:|--:|",
    ]
    for row in rows:
        alone = next(r for r in rows if r["relax"] == row["relax"])
        lines.append(
            f"| {row['relax'].replace('_', '-')} | {row['processes']} × {row['threads']} | "
            f"{row['seconds']:.2f} | {alone['seconds'] / row['seconds']:.2f} |"
        )
    size = rows[0]["bytes"]
    paper = []
    for name, speed in LINKS.items():
        two, eight = (1e6 * 2 * (n - 1) / n * size / speed for n in (2, 8))
        paper.append(f"{name}: {two:.0f} µs between 2 processes, {eight:.0f} µs between 8")
    lines.append("")
    lines.append(
        f"A step moves {size / 1e6:.2f} MB of gradients (float32, weights and architecture). "
        f"On paper, without latency: {'; '.join(paper)}."
    )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the table, or makes the steps of one case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--case", nargs=2, metavar=("RELAX", "THREADS"), help="make its steps")
    args = parser.parse_args()
    if args.case:
        answer = run(args.case[0], args.steps, int(args.case[1]))
        if answer is not None:
            print(json.dumps(answer))
        return
    print(table(measure(args.steps)))


if __name__ == "__main__":
    main()
