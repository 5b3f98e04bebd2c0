"""The run folder of a search for cells, read back."""

from pathlib import Path
from typing import Any

from cells.chain import MLP
from cells.errors import InputError
from nas.cell_search.config import SearchConfig, config_from_dict
from nas.runtime.run_folder import read_run_config, read_state

STATE_KEYS = frozenset({"config", "step", "hypernet", "supernet", "tables"})
"""What a checkpoint of a search for cells holds, at least."""


def read_run(folder: Path) -> tuple[SearchConfig, dict[str, Any]]:
    """Reads the configuration and the checkpoint of a search for cells.

    Raises:
        InputError: if either is absent or damaged, they do not belong together, or the search is
            one of another kind.
    """
    values = read_run_config(folder)
    if values.get("space") == MLP:
        raise InputError(f"{folder} is a search in the space {MLP}: it has no cells")
    config = config_from_dict(values)
    return config, read_state(folder, config, config_from_dict, STATE_KEYS)
