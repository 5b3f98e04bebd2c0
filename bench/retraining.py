"""Retraining small networks on a GPU: step by step, as a recorded step, and several at once.

    python -m bench.retraining [--at-once 1 8 16] [--rounds 3]

Random cells of DARTS' space, 3 cells × 16 channels, batches of 96 images of 32×32 pixels. The cases
take turns; a time is that of one step of one network, from the first launch to the last result.
"""

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from bench.worker import noise
from cells.genotype import Genotype
from cells.sampling import random_cell
from cells.space import find_space
from nas.data.datasets import ImageData
from nas.retraining.config import RetrainConfig, resolve
from nas.retraining.trainer import EAGER_STEPS, Trainer
from nas.runtime.processes import Processes, describe_machine, start_processes

CONFIG = RetrainConfig(
    data="noise", channels=16, num_cells=3, crop_padding=4, flip=True, cutout=16, batch_size=96
)
STEPS = 40
"""Steps of each network in a round."""


def make(count: int, recorded: bool, processes: Processes, data: ImageData) -> list[Trainer]:
    """Networks that have taken their first steps."""
    space, draw, made = find_space("darts"), random.Random(0), []
    for seed in range(count):
        cell = random_cell(space, draw, convolutions=0.5)
        genotype = Genotype.from_choices(space, cell)
        trainer = Trainer(resolve(CONFIG, genotype, None), genotype, data, processes, seed)
        if not recorded:
            trainer.record_at = None
        made.append(trainer)
    advance(made, EAGER_STEPS + 1)
    return made


def advance(trainers: Sequence[Trainer], steps: int) -> None:
    """Takes steps in turns, to the end."""
    for _ in range(steps):
        for trainer in trainers:
            trainer.advance()
    for trainer in trainers:
        trainer.look()  # waits


def measure(at_once: Sequence[int], rounds: int) -> dict[str, float]:
    """Milliseconds of one step of one network, medians over the rounds, by case."""
    processes = start_processes("auto")
    data = noise(2 * CONFIG.batch_size, 32, 10)
    data = replace(data, train=data.train.to(processes.device))
    cases = {"one network, kernel by kernel": make(1, False, processes, data)}
    for count in at_once:
        name = "one network, recorded step" if count == 1 else f"{count} networks in turns"
        cases[name] = make(count, True, processes, data)
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, trainers in cases.items():
            start = time.perf_counter()
            advance(trainers, STEPS)
            seconds = time.perf_counter() - start
            times[name].append(1000 * seconds / (STEPS * len(trainers)))
    print(describe_machine(processes))
    return {name: statistics.median(each) for name, each in times.items()}


def table(times: dict[str, float]) -> str:
    """The times, and how many times faster than the first case they are, as Markdown."""
    lines = ["| retraining | ms / step of one network | times faster |", "|---|--:|--:|"]
    first = next(iter(times.values()))
    lines += [f"| {name} | {ms:.2f} | {first / ms:.1f} |" for name, ms in times.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8, 16])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("only a GPU records steps, and torch finds none here")
    print(table(measure(args.at_once, args.rounds)))


if __name__ == "__main__":
    main()
