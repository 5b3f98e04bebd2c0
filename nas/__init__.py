"""Architecture search with a complexity dial."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cells.network import Network


def load(path: str | Path) -> "Network":
    """Reads a trained network: `nas.load("model.safetensors")`; see `nas.export.load`."""
    from nas.export import load  # here, as importing `nas` should not import torch

    return load(path)
