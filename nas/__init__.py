"""Architecture search with a complexity dial: the whole way in Python.

import nas

front = nas.search("digits", out="runs/x")          # cells for every λ
genotype = nas.within("runs/x", params=4_000)       # the best known cell within a budget
result = nas.retrain(genotype, out="runs/small")    # its network, trained and tested once
result.network, result.accuracy
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cells.genotype import Genotype
    from cells.network import Network
    from nas.cell_search.config import SearchConfig
    from nas.export.chain import ChainNetwork
    from nas.export.predict import Prediction
    from nas.export.predict_rows import RowPrediction
    from nas.journey import Retrained
    from nas.selection.front import Front

__all__ = ["Front", "create", "load", "load_front", "predict", "retrain", "search", "within"]

# Imported where they are used: importing `nas` should not import torch.


def __getattr__(name: str) -> Any:
    """Imports the class `nas.Front` when it is asked for."""
    if name == "Front":
        from nas.selection.front import Front

        return Front
    raise AttributeError(f"module 'nas' has no attribute {name!r}")


def search(config: "str | SearchConfig", out: str | Path | None = None, **settings: Any) -> "Front":
    """Searches for the cells of every λ and returns them; the same as `nas search`.

        front = nas.search("digits", out="runs/x", epochs=30, costs=("flops",))
        genotype = front.at(0.3)

    Args:
        config: a preset's name (`python -m nas search` lists them), the path of images of one's
            own, or settings.
        out: new run folder; by default a free name under runs/.
        settings: what to change, as in `python -m nas search digits --help`, with `_` for `-`.

    Raises:
        InputError: for an unknown preset or setting, a folder that exists, or data that cannot be
            read.
        Stopped: on a signal that asks to leave, after saving; `nas search --resume` goes on.
    """
    from nas.journey import search

    return search(config, out, **settings)


def retrain(
    genotype: "Genotype | str | Path", out: str | Path | None = None, **settings: Any
) -> "Retrained":
    """Trains the network of a cell from scratch, tests it once; the same as `nas retrain`.

        result = nas.retrain(front.at(0.3), epochs=20)
        result.network, result.accuracy

    Args:
        genotype: a cell of a front, a genotype's file, or the name of a published cell.
        out: new run folder; by default a free name under runs/.
        settings: what to change, as in `python -m nas retrain digits --help`, with `_` for `-`;
            `data` is by default that of the search that has found the cell.

    Returns:
        Its `network`, its test `accuracy` in [0, 1] with `std`, and its `folder`.

    Raises:
        InputError: for an unknown setting, a folder that exists, or data that cannot be read.
        Stopped: on a signal that asks to leave, after saving; `nas retrain --resume` goes on.
    """
    from nas.journey import retrain

    return retrain(genotype, out, **settings)


def create(run: str | Path, **bounds: float) -> "Network":
    """Builds the network of the best known cell within a budget, untrained.

        network = nas.create("runs/x", params=100_000)
        logits = network(network.data.normalise(images))    # uint8 (batch, channels, h, w)

    Its attribute `data` is that of `nas.load`.

    Args:
        run: folder of a finished search, whose data are read for the sizes.
        bounds: as of `nas.within`.

    Raises:
        InputError: as `nas.within`, or if the data of the search cannot be read.
    """
    from nas.journey import create

    return create(run, **bounds)


def load(path: str | Path) -> "Network | ChainNetwork":
    """Reads a trained network, as `nas.load("model.safetensors")`: see `nas.export.safetensors`."""
    from nas.export.safetensors import load

    return load(path)


def predict(
    model: str | Path, paths: Sequence[str | Path]
) -> "Iterator[Prediction] | Iterator[RowPrediction]":
    """Classifies images in files, folders or globs, or predicts rows: see `nas.export.predict`.

        for found in nas.predict("model.safetensors", ["photos"]):
            print(found.path, found.class_name)

    Of an image it tells `path`, `class_name` and `probabilities`, of a row `line` and `value`.
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
