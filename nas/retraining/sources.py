"""What a retraining has from elsewhere: settings from the search, and the images."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from cells.errors import InputError
from cells.genotype import Genotype
from cells.strict_json import typed
from nas.cell_search.folder import read_run
from nas.data.datasets import ImageData, load_data
from nas.data.pixels import STRETCH
from nas.data.source import is_named, locate, located
from nas.retraining.config import RetrainConfig, resolve
from nas.runtime.processes import Processes


def recorded_fingerprint(genotype: Genotype) -> dict[str, str]:
    """Returns the fingerprint of the data that a genotype was searched on; empty if it has none.

    Raises:
        InputError: if it is not made of texts.
    """
    found = typed(genotype.search.get("fingerprint", {}), dict, "fingerprint of the search's data")
    return {name: typed(text, str, f"{name} of the search's data") for name, text in found.items()}


def resolved(
    config: RetrainConfig,
    genotype: Genotype,
    processes: Processes,
    data: dict[tuple[Any, ...], ImageData],
) -> RetrainConfig:
    """Returns settings with what is left to the search, see `resolve`, and where the data are.

    Data that are named as lying elsewhere are the search's own if they have its fingerprint.

    Args:
        data: what has been read so far, by where it is from.

    Raises:
        InputError: as `resolve` or `read_images`.
    """
    config = located(config)
    run, recorded, fingerprint = None, genotype.search, recorded_fingerprint(genotype)
    if config.inherit is not None:
        run, state = read_run(Path(config.inherit))
        recorded, fingerprint = run.to_dict(), state.get("fingerprint", {})
    former, named = recorded.get("data"), config.data
    if named is not None and isinstance(former, str):
        own = replace(config, data=None)
        if named == locate(former, Path(config.data_root)):
            return replace(resolve(own, genotype, run), data=named)
        if fingerprint and not (is_named(named) and is_named(former)):
            with suppress(InputError):
                there = replace(resolve(own, genotype, run), data=named)
                if dict(read_images(there, processes, data).fingerprint) == fingerprint:
                    return there
    return located(resolve(config, genotype, run))


def read_images(
    config: RetrainConfig, processes: Processes, known: dict[tuple[Any, ...], ImageData]
) -> ImageData:
    """Reads the images of a retraining onto the device, unless that has been done.

    Args:
        config: with all that was left to the genotype's search filled in.
        known: what has been read so far, by where it is from; gets what is read.

    Raises:
        InputError: as `load_data`.
    """
    assert config.data is not None and config.split_seed is not None
    source, split_seed = config.data, config.split_seed
    key = (source, config.data_root, split_seed, config.image_size, config.image_fit)
    if key not in known:
        data = processes.main_first(
            lambda: load_data(
                source,
                Path(config.data_root),
                split_seed=split_seed,
                image_size=config.image_size,
                image_fit=config.image_fit or STRETCH,
            ).whole()
        )
        train, test = (part.to(processes.device) for part in (data.train, data.test))
        known[key] = replace(data, train=train, test=test)
    return known[key]
