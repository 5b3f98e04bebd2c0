"""Retraining: one genotype as a network of its own, trained to the end and tested once."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cells.errors import InputError
from nas.data.datasets import ImageData
from nas.retraining.card import GENOTYPE
from nas.retraining.config import RetrainConfig
from nas.retraining.job import Job, Retraining
from nas.retraining.plan import fitted
from nas.runtime import loop
from nas.runtime.course import TimeLimit
from nas.runtime.footprint import require_memory
from nas.runtime.memory import advising
from nas.runtime.processes import start_processes, stop_processes
from nas.runtime.signals import StopSignal


def retrain(
    config: RetrainConfig,
    folder: Path | None = None,
    *,
    resume: bool = False,
    at_once: int = 1,
    timeout: float | None = None,
    limit: TimeLimit | None = None,
    only: int | None = None,
) -> dict[str, Any] | None:
    """Trains one network per seed, tests each once, and writes the run folder.

    Args:
        folder: where; must not exist unless `resume` is set. By default a free name under runs/.
        resume: whether to go on with the run in `folder`.
        at_once: seeds that are trained in turns, see `retrain_each`.
        timeout: seconds to wait for another process, see `start_processes`.
        limit: the time for all of it, to which a new run's epochs are fitted.
        only: one of the seeds, whose network alone is trained, beside processes that train the
            others; to go on without it tests all and writes the result.

    Returns:
        What is in result.json; None in all processes but the main one, and with `only`.

    Raises:
        InputError: for settings, data, genotypes or checkpoints that cannot be used, a folder
            that exists, or a loss that is not finite any more.
        Stopped: on SIGINT or SIGTERM, after saving.
        Parted: if another process has ended, does not answer, or is out of step.
    """
    if only not in (None, *config.seeds):
        raise InputError(f"only must be one of the seeds {config.seeds}, got {only}")
    jobs = [Job(config, folder, resume, only=only)]
    if limit is not None and limit.seconds is not None:
        jobs = fitted(jobs, limit.seconds, limit.begun)
    results = [result for _, result in retrain_each(jobs, at_once=at_once, timeout=timeout)]
    return results[0] if results else None


def retrain_each(
    jobs: Sequence[Job], *, at_once: int = 1, timeout: float | None = None
) -> Iterator[tuple[Job, dict[str, Any] | None]]:
    """Does several retrainings, see `retrain`, all on the first one's device.

    Args:
        jobs: the one with the largest network first.
        at_once: how many networks, one for each seed of a job, take steps in turns. A GPU works on
            them side by side, which small networks leave room for; on a CPU nothing is gained.
        timeout: as `retrain`.

    Yields:
        Each job when it is done, with the folder that it has, and what `retrain` returns.

    Raises:
        InputError: as `retrain`, or if `at_once` is less than 1.
        Stopped, Parted: as `retrain`.
    """
    if at_once < 1:
        raise InputError(f"at-once must be at least 1, got {at_once}")
    if not jobs:
        return
    largest = jobs[0]
    attempt = partial(_attempt, largest, at_once)
    done = _retrain_each(jobs, at_once, timeout)
    following = partial(next, done, None)
    while found := advising(following, largest.config.batch_size, attempt):
        yield found


def _attempt(job: Job, at_once: int, batch_size: int) -> None:
    """Takes a step of a job's networks with another batch size, of which nothing is kept."""
    config = replace(job.config, batch_size=batch_size)
    if job.resume and job.folder:
        config = replace(config, genotype=str(job.folder / GENOTYPE))
    with ExitStack() as held:
        Retraining(Job(config), start_processes(config.device), {}, held).attempt(at_once)


def _retrain_each(
    jobs: Sequence[Job], at_once: int, timeout: float | None
) -> Iterator[tuple[Job, dict[str, Any] | None]]:
    """Does what `retrain_each` does, except for telling what fits into memory."""
    processes = start_processes(jobs[0].config.device, timeout)
    data: dict[tuple[Any, ...], ImageData] = {}
    held = ExitStack()
    retrainings: list[Retraining] = []
    try:
        retrainings.extend(Retraining(job, processes, data, held) for job in jobs)
        if processes.world == 1:
            side_by_side = min(at_once, len(jobs[0].config.seeds))
            require_memory(
                retrainings[0].rough_bytes(side_by_side),
                partial(_attempt, jobs[0], side_by_side),
                jobs[0].config.batch_size,
                processes.device,
            )
        with StopSignal() as stop:
            waiting = (
                ((retraining, trainer), steps)
                for retraining in retrainings
                for trainer, steps in retraining.networks(stop)
            )
            for retraining, trainer in loop.drive(waiting, at_once):
                if retraining.job.only is None and retraining.test(trainer):
                    yield retraining.job._replace(folder=retraining.folder), retraining.result
    except RuntimeError as error:
        # Several go on with the command that has begun them.
        folder = retrainings[0].folder if len(jobs) == len(retrainings) == 1 else None
        processes.raise_parted(error, folder if folder and folder.exists() else None)
        raise
    finally:
        held.close()
        stop_processes(processes)
