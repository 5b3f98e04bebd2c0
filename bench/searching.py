"""Steps of a search on a GPU: kernel by kernel, and with recorded passes of the supernet.

    python -m bench.searching [--rounds 3]

The cases take turns; a time is that of one step, from the first launch to the last result.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch

from bench.worker import noise
from nas.cell_search.config import SearchConfig
from nas.cell_search.presets import PRESETS
from nas.cell_search.searcher import Searcher
from nas.data.datasets import ImageData
from nas.objective.likelihood import EAGER_PASSES
from nas.runtime.processes import Processes, describe_machine, start_processes

STEPS = 20
"""Steps of each search in a round."""
EPOCHS = 400
_SCORE = replace(PRESETS["nasbench201"], epochs=EPOCHS, warmup_epochs=EPOCHS // 2)
CASES = {
    "nasbench201, weights alone": (_SCORE, False),
    "nasbench201, weights and hypernetwork": (_SCORE, True),
    "cifar10 (softmax, first order, 8 cells)": (
        replace(PRESETS["cifar10"], epochs=EPOCHS, precision="auto"),
        True,
    ),
}
"""Settings, and whether the architecture moves."""


def make(
    config: SearchConfig, arch: bool, recorded: bool, processes: Processes, data: ImageData
) -> Searcher:
    """A search that has taken its first steps."""
    searcher = Searcher(config, processes, data=data)
    if arch:
        searcher.step = searcher.problem.schedule.warmup_steps
    if not recorded:
        searcher.problem.objective.recorded = None
    for _ in range(EAGER_PASSES + 1):
        searcher.advance()
    return searcher


def measure(
    cases: dict[str, tuple[SearchConfig, bool]], rounds: int, processes: Processes
) -> dict[str, tuple[float, float]]:
    """Milliseconds of a step kernel by kernel and recorded, medians over the rounds, by case."""
    data = noise(8 * 64, 32, 10)
    found = {}
    for name, (config, arch) in cases.items():
        pair = [make(config, arch, recorded, processes, data) for recorded in (False, True)]
        times: list[list[float]] = [[], []]
        for _ in range(rounds):
            for searcher, each in zip(pair, times, strict=True):
                start = time.perf_counter()
                for _ in range(STEPS):
                    searcher.advance()  # looks at its numbers, so it waits
                each.append(1000 * (time.perf_counter() - start) / STEPS)
        found[name] = (statistics.median(times[0]), statistics.median(times[1]))
    return found


def table(times: dict[str, tuple[float, float]]) -> str:
    """The times, and how many times faster recordings are, as Markdown."""
    lines = ["| search | kernel by kernel, ms / step | recorded | times faster |"]
    lines.append("|---|--:|--:|--:|")
    for name, (eager, recorded) in times.items():
        lines.append(f"| {name} | {eager:.1f} | {recorded:.1f} | {eager / recorded:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("only a GPU records steps, and torch finds none here")
    processes = start_processes("auto")
    print(describe_machine(processes), flush=True)
    print(table(measure(CASES, args.rounds, processes)))


if __name__ == "__main__":
    main()
