"""Starts, resumes and reads a search of any kind: the one place that knows the kinds."""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cells.output_files import draft_of
from nas.cell_search import run as cell_search
from nas.cell_search.config import SearchConfig
from nas.data.source import located
from nas.optim.kind import SearchKind
from nas.runtime import checkpoint
from nas.runtime.files import CHECKPOINT, make_folder, refuse_existing
from nas.runtime.form import from_checkpoint
from nas.runtime.manifest import note_resume, write_manifest
from nas.runtime.memory import advising
from nas.runtime.owner import owning
from nas.runtime.processes import start_processes, stop_processes
from nas.runtime.run_folder import read_run_config, read_state, require_state
from nas.runtime.signals import Interrupted, Stopped
from nas.weight_search import run as weight_search
from nas.weight_search.config import WeightConfig

KINDS: tuple[SearchKind, ...] = (cell_search.KIND, weight_search.KIND)

AnyConfig = SearchConfig | WeightConfig

ALL_PRESETS: dict[str, AnyConfig] = {
    name: config for kind in KINDS for name, config in kind.presets.items()
}


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
    return config, read_state(folder, config, kind.read_config, kind.state_keys, kind.check_state)


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
) -> Path:
    """Runs a search, or the rest of it, writes its folder, and returns that.

    Args:
        folder: where; made here unless `state` is given.
        exact: whether a folder that exists is refused, or another name is chosen.
        state: checkpoint to continue from, by the owner of the folder.
        timeout: seconds to wait for another process, see `start_processes`.

    Raises:
        InputError: if the folder exists, data cannot be read or do not fit.
        Stopped: on a signal that asks to leave, after saving.
        Parted: if another process has ended, does not answer, or is out of step.
    """

    if state is None or state.get("fingerprint"):
        config = located(config)

    def attempt(batch_size: int) -> None:
        smaller = replace(config, batch_size=batch_size)
        trial = kind_of(config).begin(smaller, start_processes(config.device), None)
        trial.step = trial.total_steps - 1  # where all moves that ever does
        trial.advance()

    run = partial(_search, config, folder, exact, state, timeout)
    return advising(run, config.batch_size, attempt)


def _search(
    config: AnyConfig,
    folder: Path,
    exact: bool,
    state: dict[str, Any] | None,
    timeout: float | None,
) -> Path:
    """Does what `search` does, except for telling what fits into memory."""
    kind, processes = kind_of(config), start_processes(config.device, timeout)
    held = ExitStack()
    path = None if state is None else folder
    try:
        if state is None and exact:
            processes.in_main(lambda: refuse_existing(folder))  # before any work is done
        with from_checkpoint(folder / CHECKPOINT):
            searcher = kind.begin(config, processes, state)

        def rehearse(where: Path) -> None:
            with draft_of(where / "rehearsal") as scratch:
                kind.rehearse(searcher, scratch)

        def fill(draft: Path) -> None:
            checkpoint.save(draft / CHECKPOINT, searcher.state())
            write_manifest(draft, config.to_dict(), searcher.fingerprint, processes)
            rehearse(draft)

        def go_on() -> None:
            rehearse(folder)
            note_resume(folder, f"step {searcher.step}", processes)

        if state is not None:
            processes.in_main(go_on)
        else:
            path = processes.told_by_main(
                lambda: make_folder(folder, exact=exact, config=config.to_dict(), fill=fill)
            )
            held.enter_context(owning(path))
        assert path is not None
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
