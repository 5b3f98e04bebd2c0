"""Starts, resumes and reads a search of any kind: the one place that knows the kinds."""

import os
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cells.errors import InputError, unknown
from cells.output_files import draft_of
from nas.cell_search import run as cell_search
from nas.cell_search.config import SearchConfig
from nas.cell_search.presets import preset_for
from nas.data.source import located
from nas.optim.forecast import forecast
from nas.optim.kind import SearchKind
from nas.optim.search import Search
from nas.retraining.plan import family_line
from nas.runtime import checkpoint
from nas.runtime.course import Deadline, Pace, TimeLimit, course_of, with_course
from nas.runtime.durations import show_duration
from nas.runtime.files import CHECKPOINT, make_folder, refuse_existing
from nas.runtime.footprint import require_memory
from nas.runtime.form import from_checkpoint
from nas.runtime.manifest import note_course, note_resume, write_manifest
from nas.runtime.memory import advising
from nas.runtime.owner import owning
from nas.runtime.processes import require_threads, start_processes, stop_processes
from nas.runtime.run_folder import read_run_config, read_state, require_state
from nas.runtime.signals import Interrupted, Stopped
from nas.runtime.tensorboard import require_board
from nas.weight_search import run as weight_search
from nas.weight_search.config import WeightConfig

KINDS: tuple[SearchKind, ...] = (cell_search.KIND, weight_search.KIND)

AnyConfig = SearchConfig | WeightConfig


ALL_PRESETS: dict[str, AnyConfig] = {
    name: config for kind in KINDS for name, config in kind.presets.items()
}


def named(what: str) -> tuple[str, AnyConfig]:
    """Returns the settings that a name stands for: a preset, or images of one's own.

    Args:
        what: a preset's name, or the path of a file or folder that `--data` takes.

    Returns:
        What a run of it is called, and its settings.

    Raises:
        InputError: if it is neither.
    """
    if what in ALL_PRESETS:
        return what, ALL_PRESETS[what]
    if not os.path.exists(what):
        if os.path.dirname(what):
            raise InputError(f"{what} does not exist: check the path, or name a preset")
        raise unknown("preset, file or folder", what, ALL_PRESETS)
    return Path(what).resolve().stem, preset_for(what)


def kind_of(config: AnyConfig) -> SearchKind:
    """Returns the kind of search that settings are for."""
    return next(kind for kind in KINDS if kind.config is type(config))


def any_config(values: dict[str, Any]) -> AnyConfig:
    """Rebuilds the settings of a search of any kind from their JSON values.

    Raises:
        InputError: if a field is unknown, or its value is of another type or refused.
    """
    kind = next(kind for kind in KINDS if kind.recognises(values))
    config: AnyConfig = kind.read_config(values)
    return config


def read_any_run(folder: Path) -> tuple[AnyConfig, dict[str, Any]]:
    """Reads the settings and the checkpoint of a search of any kind.

    Raises:
        InputError: if either is absent or damaged, or they do not belong together.
    """
    config = any_config(read_run_config(folder))
    kind = kind_of(config)
    return read_state(folder, config, kind.read_config, kind.state_keys, kind.check_state)


def require_same_run(config: AnyConfig, state: dict[str, Any], folder: Path) -> None:
    """Makes sure that a checkpoint belongs to settings.

    Raises:
        InputError: naming the first setting that differs.
    """
    kind = kind_of(config)
    require_state(state, config, kind.read_config, kind.state_keys, folder)


def search(
    config: AnyConfig,
    folder: Path,
    *,
    exact: bool = True,
    state: dict[str, Any] | None = None,
    timeout: float | None = None,
    former: AnyConfig | None = None,
    limit: TimeLimit | None = None,
    first: bool = False,
) -> Path:
    """Runs a search, or the rest of it, writes its folder, and returns that.

    Args:
        folder: where; made here unless `state` is given.
        exact: whether a folder that exists is refused, or another name is chosen.
        state: checkpoint to continue from, by the owner of the folder.
        timeout: seconds to wait for another process, see `start_processes`.
        former: settings of `state`, if those of the length are to change.
        limit: the time that the whole run is given, over all its resumes.
        first: whether the first of its searches alone is run, beside processes that run the
            others; to go on without it reports all.

    Raises:
        InputError: if the folder exists, data cannot be read or do not fit, or the length cannot
            change so.
        Stopped: on a signal that asks to leave, after saving.
        Parted: if another process has ended, does not answer, or is out of step.
    """

    if state is None or state.get("fingerprint"):
        config = located(config)

    def attempt(batch_size: int) -> None:
        smaller = replace(config, batch_size=batch_size)
        _last_step(kind_of(config).begin(smaller, start_processes(config.device), None))

    run = partial(_search, config, folder, exact, state, timeout, former or config, limit, first)
    return advising(run, config.batch_size, attempt)


def dry_run(config: AnyConfig) -> list[tuple[str, str]]:
    """Says what a search would take, from a handful of its steps; writes nothing that stays.

    Returns:
        Names and texts, in order.

    Raises:
        InputError: if data cannot be read or do not fit, or a step does not fit into memory.
    """
    config = located(config)
    require_threads(config.threads)
    kind, processes = kind_of(config), start_processes(config.device)

    def attempt(batch_size: int) -> None:
        smaller = replace(config, batch_size=batch_size)
        _last_step(kind.begin(smaller, start_processes(config.device), None))

    def measure() -> list[tuple[str, str]]:
        searcher = kind.begin(config, processes, None)
        _require_memory(searcher, config)
        lines = forecast(kind, searcher).lines(searcher)
        if kind.middle is not None:
            lines.append(family_line(kind.middle(searcher), config))
        return [("data", f"{config.data}: {kind.describe(searcher)}"), *lines]

    if processes.world > 1:
        stop_processes(processes)
        raise InputError("a dry run is one of a single process: leave torchrun out")
    return advising(measure, config.batch_size, attempt)


def _change_length(searcher: Search, config: AnyConfig) -> None:
    """Gives a search that goes on another length, and says what follows from it.

    Raises:
        InputError: if it cannot have it.
    """
    former, step, before = searcher.config, searcher.step, searcher.total_steps
    if getattr(config, "keep_ops", ()):
        raise InputError("keep_ops has stages that end at set steps: search anew for other epochs")
    started = getattr(former, "warmup_epochs", None), getattr(config, "warmup_epochs", None)
    if started[0] != started[1] and step > min(each or 0 for each in started) * (
        searcher.steps_per_epoch
    ):
        raise InputError(
            f"warmup_epochs cannot be {started[1]} any more, at step {step} of a run with "
            f"{started[0]}: leave the option out"
        )
    searcher.change_course(config)
    searcher.deadline = None
    if searcher.total_steps < step:
        raise InputError(
            f"the run is at step {step}, beyond the {searcher.total_steps} steps of "
            f"{config.epochs} epochs: ask for more"
        )
    print(
        f"{searcher.total_steps} steps, not {before}: from step {step} on the schedules (learning "
        f"rates, temperature, prices) are those of {config.epochs} epochs at their place; the run "
        "is marked as not exact",
        flush=True,
    )


def _limit_time(
    kind: SearchKind, searcher: Search, limit: TimeLimit | None, *, resumed: bool
) -> None:
    """Gives a search the length with which the run ends in time.

    Raises:
        InputError: if it cannot.
    """
    if limit is None:
        return
    if searcher.deadline is not None:
        searcher.deadline.count_from(limit.begun)
        searcher.deadline.limit = limit.seconds or searcher.deadline.limit
        return
    if limit.seconds is None:
        return
    if resumed:
        raise InputError("this run has begun without --time: give it more --epochs instead")
    if searcher.processes.world > 1:
        raise InputError("--time is for a single process: leave torchrun out, or give --epochs")
    found, (times, processes) = forecast(kind, searcher), kind.side_by_side(searcher)
    after = kind.within(searcher, found.after, limit.seconds)
    speed, others = (1.0, times - 1) if processes == 1 else (times, 0.0)
    config: Any = searcher.config
    searcher.deadline = Deadline(
        limit.seconds,
        Pace(tuple(speed * rate for rate in found.pace.phases), speed * found.pace.epoch),
        sum(after.values()),
        share=getattr(config, "warmup_epochs", 0) / config.epochs,
        others=others,
    )
    searcher.deadline.count_from(limit.begun)
    searcher.deadline.fit(searcher)
    searcher.deadline.require_enough(searcher)
    fitted = ", ".join(f"{name} {value}" for name, value in course_of(searcher.config).items())
    print(f"to end within {show_duration(limit.seconds)}: {fitted}", flush=True)


def _last_step(trial: Search) -> None:
    """Takes the step at which all moves that ever does."""
    trial.step = trial.total_steps - 1
    trial.advance()


def _require_memory(searcher: Search, config: AnyConfig) -> None:
    """Makes sure that a step fits into memory; several processes would have to take one each."""
    kind, processes = kind_of(config), searcher.processes
    if processes.world == 1:
        require_memory(
            kind.rough_bytes(searcher),
            lambda size: _last_step(kind.trial(searcher, size)),
            config.batch_size,
            processes.device,
        )


def _search(
    config: AnyConfig,
    folder: Path,
    exact: bool,
    state: dict[str, Any] | None,
    timeout: float | None,
    former: AnyConfig,
    limit: TimeLimit | None,
    first: bool,
) -> Path:
    """Does what `search` does, except for telling what fits into memory."""
    if state is None:  # a run that goes on elsewhere may have to do with fewer CPUs
        require_threads(config.threads)
    require_board(config.tensorboard)
    kind, processes = kind_of(config), start_processes(config.device, timeout)
    held = ExitStack()
    path = None if state is None else folder
    try:
        if state is None and exact:
            processes.in_main(lambda: refuse_existing(folder))  # before any work is done
        with from_checkpoint(folder / CHECKPOINT):
            searcher = kind.begin(with_course(config, former), processes, state)
        _require_memory(searcher, config)
        if course_of(config) != course_of(former):
            _change_length(searcher, config)
        _limit_time(kind, searcher, limit, resumed=state is not None)

        def rehearse(where: Path) -> None:
            with draft_of(where / "rehearsal") as scratch:
                kind.rehearse(searcher, scratch)

        def fill(draft: Path) -> None:
            checkpoint.save(draft / CHECKPOINT, searcher.state())
            write_manifest(draft, searcher.config.to_dict(), searcher.fingerprint, processes)
            rehearse(draft)

        def go_on() -> None:
            rehearse(folder)
            note_resume(folder, where := f"step {searcher.step}", processes)
            if course_of(searcher.config) != course_of(former):
                checkpoint.save(folder / CHECKPOINT, searcher.state())
                note_course(folder, where, searcher.config, "asked for")

        if state is not None:
            processes.in_main(go_on)
        else:
            path = processes.told_by_main(
                lambda: make_folder(
                    folder, exact=exact, config=searcher.config.to_dict(), fill=fill
                )
            )
            held.enter_context(owning(path))
        assert path is not None
        if first and kind.complete_first is not None:
            kind.complete_first(searcher, path)
        else:
            kind.complete(searcher, path, state is not None)
        return path
    except Interrupted as stop:
        if path is None:  # there is nothing yet to go on with
            raise
        raise Stopped(stop.received, "its last checkpoint", f"--resume {path}") from None
    except RuntimeError as error:
        processes.raise_parted(error, path)
        raise
    finally:
        held.close()
        stop_processes(processes)
