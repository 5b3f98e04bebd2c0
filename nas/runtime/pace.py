"""What the steps of a training take, from a handful of them."""

import time
from collections.abc import Callable
from pathlib import Path

from nas.runtime.course import Pace
from nas.runtime.files import CHECKPOINT
from nas.runtime.loop import Training, steps
from nas.runtime.metrics import MetricsLog
from nas.runtime.signals import StopSignal

LEAST, MOST = 4, 30
"""Steps of each phase that are measured."""
LONG = 4.0
"""Seconds after which no more steps of a phase are measured than the fewest."""
ENDS = 4
"""Ends of epochs that are measured."""
SETTLING = 2
"""Steps before, in which memory is taken and kernels are chosen."""


def measure_pace(
    training: Training,
    scratch: Path,
    epoch_ends: Callable[[], None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Pace:
    """Takes a handful of steps of each phase, and the end of an epoch; `training` is spent then.

    Args:
        training: that has taken no step yet.
        scratch: folder for a log and a checkpoint.
        epoch_ends: what else is done at the end of an epoch.
        clock: returns seconds.
    """
    log, last = MetricsLog(scratch / "metrics.jsonl"), training.steps_per_epoch - 1
    course = steps(
        training, scratch / CHECKPOINT, log, StopSignal(), shown=False, epoch_ends=epoch_ends
    )
    starts, found = training.phases(), list[float]()
    for start, end in zip(starts, [*starts[1:], training.total_steps], strict=True):
        if end <= start:  # a phase without steps
            found.append(found[-1] if found else 0.0)
            continue
        training.step, taken = start, list[float]()
        for number in range(SETTLING + MOST):
            if training.step % training.steps_per_epoch == last or training.step >= end:
                training.step = start  # the end of an epoch is measured by itself
            begun = clock()
            next(course)
            if number >= SETTLING:
                taken.append(clock() - begun)
            if len(taken) >= LEAST and sum(taken) > LONG:
                break
        found.append(sum(taken) / len(taken))
    epoch = min(starts[-1], training.total_steps - 1) // training.steps_per_epoch
    begun = clock()
    for _ in range(ENDS):  # one by itself is lost in the differences between steps
        training.step = min(training.total_steps - 1, epoch * training.steps_per_epoch + last)
        next(course)
    return Pace(tuple(found), max(0.0, (clock() - begun) / ENDS - found[-1]))
