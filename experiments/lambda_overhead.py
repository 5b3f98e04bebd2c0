"""Time of a λ-conditioned search against one for a single λ, same steps, in one run.

    python -m experiments.lambda_overhead [--steps 30] [--rounds 7]

Two searches on the same data differ in nothing but the hypernetwork: one has a constant table and
λ = 0.1, the other the Gibbs form and a λ drawn at every step. They take turns, a block of steps
each, so that whatever else the machine does falls on both. The relaxation is softmax: every
operation is computed at every step, so that both do the same work. On a CPU the clock is that of
the processor, which other processes hardly disturb.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch

from nas.config import PRESETS, SearchConfig
from nas.retrainer import describe_machine
from nas.runtime import Processes, start_processes
from nas.searcher import Searcher


def block(searcher: Searcher, steps: int) -> float:
    """Seconds per step over some steps."""
    cuda = searcher.processes.device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    start = clock()
    for _ in range(steps):
        searcher.advance()
    if cuda:
        torch.cuda.synchronize()
    return (clock() - start) / steps


def compare(base: SearchConfig, processes: Processes, steps: int, rounds: int) -> list[float]:
    """Time ratios, conditioned over single, one for each round of two blocks."""
    single = Searcher(replace(base, hypernet="constant", lam=(0.1,)), processes)
    conditioned = Searcher(replace(base, hypernet="gibbs", lam=None), processes)
    for searcher in (single, conditioned):
        block(searcher, 5)  # the first steps allocate
    ratios = []
    for number in range(rounds):
        pair = (single, conditioned) if number % 2 == 0 else (conditioned, single)
        seconds = {searcher: block(searcher, steps) for searcher in pair}
        ratios.append(seconds[conditioned] / seconds[single])
    return ratios


def main() -> None:
    """Prints the ratio of each round and their median."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--preset", default="digits", choices=list(PRESETS))
    parser.add_argument("--steps", type=int, default=30, help="steps per block")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of blocks")
    args = parser.parse_args()
    config = replace(PRESETS[args.preset], relax="softmax", warmup_epochs=0, threads=1)
    processes = start_processes(config.device)
    ratios = compare(config, processes, args.steps, args.rounds)
    print("ratio of each round:", "  ".join(f"{ratio:.3f}" for ratio in ratios))
    print(f"median {statistics.median(ratios):.3f}; {describe_machine(processes)}")


if __name__ == "__main__":
    main()
