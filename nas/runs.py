"""Run folders: made once, never overwritten, read back to go on."""

import json
from pathlib import Path
from typing import Any

from cells.errors import InputError
from nas import checkpoint
from nas.config import FREE, SearchConfig
from nas.runtime import write_atomically
from nas.weight_config import AnyConfig, WeightConfig, any_config

CHECKPOINT = "checkpoint.pt"
CONFIG = "config.json"


def make_folder(path: Path, *, exact: bool) -> Path:
    """Makes a new folder and returns it.

    Args:
        exact: whether it must be `path`; otherwise `path-2`, `path-3`, … where that is taken.

    Raises:
        InputError: if it exists and `exact` is set.
    """
    candidate, number = path, 1
    while True:
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            if exact:
                refuse_existing(path)
            number += 1
            candidate = path.with_name(f"{path.name}-{number}")
        else:
            return candidate


def refuse_existing(path: Path) -> None:
    """Makes sure that there is nothing at a path.

    Raises:
        InputError: if there is.
    """
    if path.exists():
        raise InputError(f"{path} exists: choose another --out, or go on with --resume {path}")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes settings or results, whole or not at all."""
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())


def read_config(path: Path) -> dict[str, Any]:
    """Reads a `config.json`.

    Raises:
        InputError: if it is not a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}): repair it or start anew") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a JSON object: repair it or start anew")
    return values


def read_any_run(folder: Path) -> tuple[AnyConfig, dict[str, Any]]:
    """Reads the configuration and the checkpoint of a search, in whichever space.

    Raises:
        InputError: if either is absent or damaged, or they do not belong together.
    """
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} is not the folder of a search: it has no {CONFIG}")
    config = any_config(read_config(folder / CONFIG))
    state = checkpoint.load(folder / CHECKPOINT)
    require_same(config, state, folder)
    return config, state


def read_run(folder: Path) -> tuple[SearchConfig, dict[str, Any]]:
    """Reads the configuration and the checkpoint of a search for cells.

    Raises:
        InputError: as `read_any_run`, or if it searched no cells.
    """
    config, state = read_any_run(folder)
    if isinstance(config, WeightConfig):
        raise InputError(f"{folder} is a search in the space {config.space}: it has no cells")
    return config, state


def require_same(config: AnyConfig, state: dict[str, Any], folder: Path) -> None:
    """Makes sure that a checkpoint belongs to a configuration.

    Raises:
        InputError: naming the first setting that differs.
    """
    keys = {"config", "step", "hypernet"}
    if not isinstance(config, WeightConfig):
        keys |= {"supernet", "tables"}
    if not keys <= state.keys():
        raise InputError(f"{folder / CHECKPOINT} is not the checkpoint of a search")
    wanted, found = config.to_dict(), any_config(state["config"]).to_dict()
    for name in wanted:
        if name not in FREE and found.get(name) != wanted[name]:
            raise InputError(
                f"{folder / CHECKPOINT} is from another configuration: {name} was "
                f"{found.get(name)!r}, now {wanted[name]!r}; leave the option out, or "
                "start a new search"
            )
