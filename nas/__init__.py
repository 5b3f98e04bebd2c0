"""Architecture search with a complexity dial."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cells.genotype import Genotype
    from cells.network import Network
    from nas.export.predict import Prediction
    from nas.selection.front import Front

# Imported where they are used: importing `nas` should not import torch.


def load(path: str | Path) -> "Network":
    """Reads a trained network, as `nas.load("model.safetensors")`: see `nas.export.safetensors`."""
    from nas.export.safetensors import load

    return load(path)


def predict(model: str | Path, paths: Sequence[str | Path]) -> "Iterator[Prediction]":
    """Classifies images in files, folders or globs with a network: see `nas.export.predict`.

    for found in nas.predict("model.safetensors", ["photos"]):
        print(found.path, found.class_name)
    """
    from nas.export.predict import predict

    return predict(model, paths)


def within(run: str | Path, **bounds: float) -> "Genotype":
    """Returns the best known cell of a search within a budget: see `nas.reports.answer`.

        genotype = nas.within("runs/x", params=100_000)

    Args:
        run: folder of a finished search.
        bounds: largest cost by name, in the cost's own unit; the first orders the cells.

    Raises:
        InputError: for an unknown cost, an unfinished search, or if no cell of its table fits.
    """
    from nas.reports.answer import best_within

    return best_within(Path(run), bounds)


def load_front(run: str | Path) -> "Front":
    """Reads the cells of a search, as `nas.load_front("runs/x")`: see `nas.selection.front`."""
    from nas.cell_search.fronts import load_front

    return load_front(run)
