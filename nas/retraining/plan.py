"""What retrainings will take, from a handful of their steps; epochs that end in a time."""

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from cells.errors import InputError
from cells.genotype import Genotype
from nas.data.datasets import ImageData
from nas.retraining.card import GENOTYPE
from nas.retraining.config import RetrainConfig, choose_preset
from nas.retraining.job import Job, Retraining
from nas.runtime.course import Pace, course_of
from nas.runtime.durations import show_duration
from nas.runtime.files import CHECKPOINT
from nas.runtime.footprint import peak_so_far
from nas.runtime.pace import measure_pace
from nas.runtime.processes import start_processes
from nas.runtime.settings import FREE, DeviceConfig, total_steps

CELLS = 3
"""Cells of a family by default."""
TESTED = 1000
"""Images, at most, that tell what a test will take."""


class Plan(NamedTuple):
    """What one retraining will take."""

    config: RetrainConfig
    """Its settings, resolved."""
    pace: Pace
    """Seconds of a step of one network."""
    per_epoch: int
    """Steps of an epoch."""
    test: float
    """Seconds of the test of one network."""
    data: str
    """A line about the images."""
    memory: int
    """Bytes of the process so far, or on a GPU."""
    disk: int
    """Bytes of a checkpoint."""
    begin: float = 0.0
    """Seconds until the first step: to read the data, unless they were read, and to build it."""

    def seconds(self, steps: int | None = None) -> float:
        """Returns what all its networks take, with that many steps each."""
        if steps is None:
            steps = total_steps(self.config, self.per_epoch)
        one = self.pace.seconds((0,), steps, self.per_epoch) + self.test
        return len(self.config.seeds) * one


def plan(jobs: Sequence[Job]) -> list[Plan]:
    """Measures a handful of steps of each job's network; nothing stays.

    Raises:
        InputError: as `nas.retraining.run.retrain`, or for several processes.
    """
    plans: list[Plan] = []
    read: dict[tuple[Any, ...], ImageData] = {}
    for job in jobs:
        config = job.config
        if job.resume and job.folder:
            config = replace(config, genotype=str(job.folder / GENOTYPE))
        processes = start_processes(config.device)
        if processes.world > 1:
            raise InputError("times are measured by a single process: leave torchrun out")
        with ExitStack() as held, TemporaryDirectory() as name:
            one, begun = Job(config, genotype=job.genotype), time.perf_counter()
            trainer, data = Retraining(one, processes, read, held).trial()
            begin = time.perf_counter() - begun
            pace = measure_pace(trainer, Path(name))
            part = data.train.images[:TESTED], data.train.labels[:TESTED]
            begun = time.perf_counter()
            trainer.confusion(replace(data.train, images=part[0], labels=part[1]))
            test = (time.perf_counter() - begun) * len(data.test) / len(part[0])
            disk = (Path(name) / CHECKPOINT).stat().st_size
        text = (
            f"{config.data or data.name}: {len(data.train):,} images train, {len(data.test):,} "
            f"test; {data.channels}×{data.height}×{data.width}, {data.num_classes} classes"
        )
        memory = peak_so_far(processes.device)
        per_epoch = trainer.steps_per_epoch
        plans.append(Plan(trainer.config, pace, per_epoch, test, text, memory, disk, begin))
    return plans


def family_line(genotype: Genotype, run: DeviceConfig) -> tuple[str, str]:
    """Says what `nas family` will take by default, from a handful of steps of one of its cells.

    Args:
        genotype: a cell of about middle cost, with the settings of its search.
        run: settings of the search, which tell the device and where the data are.
    """
    preset = choose_preset(None, str(genotype.search.get("data")), None)
    config = replace(preset, **{name: getattr(run, name) for name in FREE})
    (found,) = plan([Job(replace(config, genotype=genotype.id), genotype=genotype)])
    seconds, disk = CELLS * found.seconds(), CELLS * disk_of(found)
    return "family", (
        f"{show_duration(seconds)} and {disk / 2**20:.1f} MiB more, by nas family: {CELLS} cells, "
        f"{found.config.epochs} epochs each"
    )


def disk_of(found: Plan) -> float:
    """Returns the bytes of a retraining: two checkpoints of each network, and its weights."""
    return 2.5 * found.disk * len(found.config.seeds)


def lines(plans: Sequence[Plan]) -> list[tuple[str, str]]:
    """Says what retrainings will take, as names and texts."""
    if not plans:
        return [("all", "is done already")]
    first = plans[0]
    networks = sum(len(each.config.seeds) for each in plans)
    found = [
        ("data", first.data),
        ("networks", f"{networks}, {total_steps(first.config, first.per_epoch):,} steps each, "
                     f"{first.per_epoch:,} in an epoch"),
    ]  # fmt: skip
    for number, each in enumerate(plans, start=1):
        step, end = show_duration(each.pace.phases[0]), show_duration(each.pace.epoch)
        text = (
            f"{show_duration(each.seconds())}: {step} a step, {end} at the end of an epoch, "
            f"{show_duration(each.test)} the test"
        )
        found.append((f"cell {number}" if len(plans) > 1 else "training", text))
    return [
        *found,
        ("all", show_duration(sum(each.seconds() for each in plans))),
        ("memory", f"{max(each.memory for each in plans) / 2**30:.2f} GiB"),
        ("disk", f"{sum(map(disk_of, plans)) / 2**20:.1f} MiB"),
    ]


def within(plans: Sequence[Plan], left: float) -> dict[str, Any]:
    """Returns the settings of the length, the same for all networks, that end in a time.

    Args:
        plans: at least one, all with the same settings of the length.
        left: seconds.

    Raises:
        InputError: if there is no time for one step of each network.
    """
    first, low, high = plans[0], 0, 1
    while sum(each.seconds(high) for each in plans) <= left:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if sum(each.seconds(middle) for each in plans) <= left:
            low = middle
        else:
            high = middle
    if not low:
        raise InputError(
            f"time is too short: {show_duration(max(0.0, left))} are left for a step and a test of "
            f"each network, which take {show_duration(sum(each.seconds(1) for each in plans))}"
        )
    epochs = math.ceil(low / first.per_epoch)
    share = first.config.warmup_epochs / first.config.epochs
    return {
        "epochs": epochs,
        "steps": low if low < epochs * first.per_epoch else None,
        "warmup_epochs": min(epochs, round(share * low / first.per_epoch)),
    }


def fitted(
    jobs: Sequence[Job], limit: float, begun: float, former: Sequence[RetrainConfig] = ()
) -> list[Job]:
    """Gives retrainings that have not begun the length that ends in time, the same for all.

    Where one has begun already, the others have its length.

    Args:
        limit: seconds for all of them.
        begun: reading of `time.monotonic` from which they count.
        former: settings of those that have begun, or are done.
    """
    course: dict[str, Any] = {}
    if former:
        course = course_of(former[0])
    elif jobs:
        plans = plan(jobs)
        left = limit - (time.monotonic() - begun) - sum(each.begin for each in plans)
        course = within(plans, left)
        text = ", ".join(f"{name} {value}" for name, value in course.items())
        print(f"to end within {show_duration(limit)}: {text}", flush=True)
    return [
        job if job.resume else job._replace(config=replace(job.config, **course)) for job in jobs
    ]
