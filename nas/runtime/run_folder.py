"""What a run folder holds, read back to go on: its settings and its checkpoint."""

from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

from cells.errors import InputError
from nas.runtime import checkpoint
from nas.runtime.course import with_course
from nas.runtime.files import CHECKPOINT, CONFIG, read_config
from nas.runtime.form import from_checkpoint, plain
from nas.runtime.settings import require_same


def read_run_config(folder: Path) -> dict[str, Any]:
    """Reads the settings of a search from its folder, as JSON values.

    Raises:
        InputError: if there are none, or they are no JSON object.
    """
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} is not the folder of a search: it has no {CONFIG}")
    return read_config(folder / CONFIG)


def read_state(
    folder: Path,
    config: Any,
    read: Callable[[dict[str, Any]], Any],
    keys: Set[str],
    check: Callable[[dict[str, Any], Any], None],
) -> tuple[Any, dict[str, Any]]:
    """Reads the checkpoint of a search from its folder.

    Args:
        config: its settings, with `to_dict`; those of its length are the checkpoint's own.
        read: rebuilds such settings from JSON values.
        keys: what the checkpoint holds, at least.
        check: given the state and the settings, refuses parts of another form with `Misfit`.

    Returns:
        The settings in force, and the checkpoint.

    Raises:
        InputError: if it is absent or damaged, or belongs to other settings.
    """
    path = folder / CHECKPOINT
    state = checkpoint.load(path)
    config = with_course(config, _settings(state, read, keys, path))
    require_state(state, config, read, keys, folder)
    with from_checkpoint(path):
        check(state, config)
    return config, state


def require_state(
    state: dict[str, Any],
    config: Any,
    read: Callable[[dict[str, Any]], Any],
    keys: Set[str],
    folder: Path,
) -> None:
    """Makes sure that a checkpoint is one of a search with these settings; see `read_state`.

    Raises:
        InputError: naming the first setting that differs.
    """
    path = folder / CHECKPOINT
    require_same(config.to_dict(), _settings(state, read, keys, path).to_dict(), path)


def _settings(
    state: dict[str, Any], read: Callable[[dict[str, Any]], Any], keys: Set[str], path: Path
) -> Any:
    """Returns the settings in a checkpoint."""
    if not keys <= state.keys():
        raise InputError(f"{path} is not the checkpoint of a search")
    with from_checkpoint(path):
        found = plain(state["config"], "config")
    return read(found)
