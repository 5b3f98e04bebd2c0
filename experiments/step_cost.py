"""Seconds and peak memory of one search step, for each relaxation and order.

    python -m experiments.step_cost [--preset cifar10] [--steps 2] [--out FILE]

Every case runs in a process of its own: one step to warm up, then the median of the others. On a
CPU it is the processor time of one thread, which other processes hardly disturb; on a GPU the
time on the wall. Memory is the peak of the process (resident set on a CPU, allocated on a GPU)
less what it held before its first step.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nas.config import PRESETS
from nas.relax import RELAXATIONS
from nas.retrainer import describe_machine
from nas.runtime import start_processes, write_atomically
from nas.searcher import Searcher

ORDERS = ("first", "second")


def measure(preset: str, relax: str, order: str, steps: int) -> dict[str, Any]:
    """Measures one case in this process."""
    config = replace(PRESETS[preset], relax=relax, order=order, warmup_epochs=0, threads=1)
    processes = start_processes(config.device)
    cuda = processes.device.type == "cuda"
    searcher = Searcher(config, processes)
    searcher.problem.sample("train", 0)
    before = torch.cuda.memory_allocated() if cuda else _resident()
    clock = time.perf_counter if cuda else time.process_time
    seconds = []
    for _ in range(1 + steps):
        start = clock()
        searcher.advance()
        if cuda:
            torch.cuda.synchronize()
        seconds.append(clock() - start)
    peak = torch.cuda.max_memory_allocated() if cuda else _peak_resident()
    return {
        "relax": relax,
        "order": order,
        "seconds": statistics.median(seconds[1:]),
        "gib": (peak - before) / 2**30,
        "machine": describe_machine(processes),
    }


def _resident() -> int:
    """Resident set of this process now, in bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _peak_resident() -> int:
    """Largest resident set of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, with ratios to first-order softmax."""
    base = rows[0]
    lines = [
        "| relaxation | order | s / step | ratio | peak GiB | ratio |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['relax']} | {row['order']} | {row['seconds']:.2f} | "
            f"{row['seconds'] / base['seconds']:.2f} | {row['gib']:.2f} | "
            f"{row['gib'] / base['gib']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures every case and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--preset", default="cifar10", choices=list(PRESETS))
    parser.add_argument("--steps", type=int, default=2, help="measured steps of each case")
    parser.add_argument("--case", nargs=2, metavar=("RELAX", "ORDER"), help="measure one, as JSON")
    parser.add_argument("--out", type=Path, help="write the table to this file, too")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(measure(args.preset, *args.case, args.steps)))
        return
    rows = []
    for relax in RELAXATIONS:
        for order in ORDERS:
            case = [sys.executable, "-m", "experiments.step_cost", "--preset", args.preset]
            case += ["--steps", str(args.steps), "--case", relax, order]
            done = subprocess.run(case, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout))
            print(rows[-1], file=sys.stderr)
    text = table(rows)
    print(text, rows[0]["machine"])
    if args.out:
        write_atomically(args.out, text.encode())


if __name__ == "__main__":
    main()
