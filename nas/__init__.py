"""Architecture search with a complexity dial."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cells.network import Network
    from nas.selection.front import Front

# Imported where they are used: importing `nas` should not import torch.


def load(path: str | Path) -> "Network":
    """Reads a trained network, as `nas.load("model.safetensors")`: see `nas.export.safetensors`."""
    from nas.export.safetensors import load

    return load(path)


def load_front(run: str | Path) -> "Front":
    """Reads the cells of a search, as `nas.load_front("runs/x")`: see `nas.selection.front`."""
    from nas.cell_search.fronts import load_front

    return load_front(run)
