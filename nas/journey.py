"""The whole way in Python: search, ask, retrain. `import nas` offers all of it as nas.search, …"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cells.errors import InputError
from cells.genotype import Genotype
from cells.network import Network
from cells.notation import read_genotype
from nas.cell_search.config import SearchConfig, config_from_dict
from nas.cell_search.fronts import load_front
from nas.data.datasets import load_data
from nas.data.image_task import ImageTask
from nas.export.safetensors import load
from nas.export.training_data import TrainingData
from nas.reports.answer import best_within
from nas.retraining.config import choose_preset, fine_tuning
from nas.retraining.job import Job
from nas.retraining.run import retrain_each
from nas.run import named
from nas.run import search as run_search
from nas.runtime.commandline import shorter_warmup
from nas.runtime.run_folder import read_run_config
from nas.runtime.settings import Settings, read_settings
from nas.selection.front import Front

Kind = TypeVar("Kind", bound=Settings)


@dataclass(frozen=True)
class Retrained:
    """A network that was trained by itself."""

    network: Network
    """That of the first seed, in evaluation mode on the CPU; see `nas.load`."""
    accuracy: float
    """On the test part, mean over the seeds, in [0, 1]."""
    std: float | None
    """Standard deviation over the seeds, None of one."""
    folder: Path
    """Its run folder."""


def search(config: str | SearchConfig, out: str | Path | None = None, **settings: Any) -> Front:
    """Runs a search for cells and reads its front; see `nas.search`.

    Raises:
        InputError: as `nas.run.search`, or for an unknown preset or setting.
    """
    if isinstance(config, str):
        name, preset = named(config)
        if not isinstance(preset, SearchConfig):
            raise InputError(
                f"preset {config!r} generates weights, which have no front of cells: search with "
                f"python -m nas search {config}"
            )
    else:
        name, preset = "search", config
    chosen = changed(preset, settings)
    folder = Path(out) if out is not None else Path("runs") / name
    return load_front(run_search(chosen, folder, exact=out is not None))


def retrain(
    genotype: Genotype | str | Path, out: str | Path | None = None, **settings: Any
) -> Retrained:
    """Trains the network of a cell by itself, to the end, and tests it once; see `nas.retrain`.

    Raises:
        InputError: as `nas.retraining.run.retrain`, or for an unknown setting.
    """
    named = str(genotype) if not isinstance(genotype, Genotype) else genotype.name or genotype.id
    cell = genotype if isinstance(genotype, Genotype) else read_genotype(named)
    data = settings.get("data") or cell.search.get("data")
    preset = choose_preset(None, str(data), None)
    if settings.get("inherit") is not None:
        preset = fine_tuning(preset)
    config = changed(preset, {"genotype": named, **settings})
    ((job, result),) = retrain_each([Job(config, Path(out) if out else None, genotype=cell)])
    assert job.folder is not None and result is not None
    network = load(job.folder / "model.safetensors")
    assert isinstance(network, Network)
    return Retrained(network, result["mean"], result["std"], job.folder)


def create(run: str | Path, **bounds: float) -> Network:
    """Builds the network of the best known cell within a budget, untrained; see `nas.create`.

    Raises:
        InputError: as `nas.within`, or if the data of the search cannot be read.
    """
    genotype = best_within(Path(run), bounds)
    config = config_from_dict(read_run_config(Path(run)))
    data = load_data(
        config.data,
        Path(config.data_root),
        split_seed=config.split_seed,
        image_size=config.image_size,
    )
    sizes = config.channels, config.num_cells, config.stem_stride
    network = Network(genotype, ImageTask.of(data, config.space, *sizes).skeleton)
    network.data = TrainingData.of(data)  # type: ignore[assignment]  # as `nas.load` does
    return network


def changed(preset: Kind, settings: Mapping[str, Any]) -> Kind:
    """Returns settings with others in the place of some, checked as those of a file are.

    Raises:
        InputError: for a setting that is unknown, of another type, or out of its range.
    """
    plain = {name: _plain(value) for name, value in settings.items()}
    if type(plain.get("epochs")) is int:
        plain = shorter_warmup(preset, plain)
    return read_settings(type(preset), vars(preset) | plain)


def _plain(value: Any) -> Any:
    """Returns a path as a text; what is no setting is told by `read_settings`."""
    return str(value) if isinstance(value, Path) else value
