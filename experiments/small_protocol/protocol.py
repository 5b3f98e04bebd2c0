"""Searches and retrainings of the small protocol: every cell by one recipe, each made once."""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cells.dialects import from_darts_cc
from cells.errors import InputError
from cells.genotype import Genotype
from cells.notation import read_genotype
from cells.sampling import random_cell
from cells.space import find_space
from cells.strict_json import load_json, show
from experiments.records import finished, recorded
from nas.cell_search.config import SearchConfig
from nas.cell_search.fronts import load_front
from nas.cell_search.presets import PRESETS
from nas.retraining.config import RetrainConfig, read_retraining
from nas.retraining.job import Job
from nas.retraining.run import retrain, retrain_each
from nas.runtime.files import read_config, write_json

LAMS = 5
DARTS = "DARTS_V2"
RANDOM_SHARES = (0.0, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 0.075, 0.225, 0.375)
"""Probability of a convolution on an edge of a random cell, one cell each; the last three lie half
way between the first four, where ours are and sizes grow fastest."""
PUBLISHED = {"fashion": "mini_fmnist"}
"""Networks of DARTS-CC by data; `mini_cifar` for all other data."""
_PUBLISHED_NAMES = re.compile(
    r"genotype_(?P<seed>\d+)_(?P<unit_lam>[01]_\d+)|darts_genotype_(?P<darts_seed>\d+)"
    r"|random_genotype_\d+"
)

# What is on record was searched with the preset's former settings.
SEARCH = replace(
    PRESETS["images"], shrink=1, w_lr=0.1, finalist_source="drawn", naswot=0.0, chance=25
)
"""The search whose fronts are known to beat chance on NAS-Bench-201, in the space of DARTS."""
RETRAIN = RetrainConfig(
    num_cells=3,
    channels=16,
    crop_padding=4,
    cutout=16,
    flip=True,
    epochs=100,
    batch_size=96,
    lr=0.05,
    warmup_epochs=2,
)


def shortened(config: Any, share: float) -> Any:
    """The same settings with a share of their epochs, at least one."""
    return replace(
        config,
        epochs=max(1, round(share * config.epochs)),
        warmup_epochs=round(share * config.warmup_epochs),
    )


class Entry(NamedTuple):
    """One cell of the comparison."""

    kind: str
    """Where it comes from."""
    lam: float | None
    """The λ that found it, in the unit of its search; None if there was none."""
    name: str
    """Of the folder of its retraining."""
    seeds: tuple[int, ...]
    """Seeds it is retrained with: that of its search, or all for a cell that has none."""
    genotype: Genotype


def published_cells(file: Path, data: str, seeds: Sequence[int]) -> list[Entry]:
    """DARTS-CC's committed cells for some data.

    Args:
        file: a JSON list of objects with `net` (`mini_cifar` or `mini_fmnist`; others are passed
            over), `name` as in DARTS-CC's folder `configs` (`genotype_50_0_25` was found with seed
            50 at a quarter of the range of log λ, `darts_genotype_50` without λ; there is
            `random_genotype_7`, too), `reduce` and `normal`, a list of numbers of operations for
            each node.
        data: name of the data set.
        seeds: for random cells.

    Raises:
        InputError: if the file is not there or holds something else, or no cells for these data.
    """
    try:
        rows = load_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"cannot read DARTS-CC's cells in {file}: {error}") from None
    wanted, entries = PUBLISHED.get(data, "mini_cifar"), []
    lams = PRESETS["darts-cc"].lam_range()
    for row in rows if isinstance(rows, list) else [rows]:
        match row:
            case {"net": str(net), "name": str(name), "reduce": reduce, "normal": normal}:
                found = _PUBLISHED_NAMES.fullmatch(name)
            case _:
                raise InputError(f"{file} is no list of DARTS-CC's cells: {show(row)}")
        if net != wanted:
            continue
        if found is None:
            raise InputError(f"{file} has an unknown name of a cell: {show(name)}")
        genotype = replace(from_darts_cc(json.dumps([reduce, normal])), name=name)
        kind, lam, own = "DARTS-CC, random", None, tuple(seeds)
        if found["darts_seed"] is not None:
            kind, own = "DARTS-CC, DARTS", (int(found["darts_seed"]),)
        elif found["seed"] is not None:
            kind, own = "DARTS-CC", (int(found["seed"]),)
            unit_lam = float(found["unit_lam"].replace("_", "."))
            lam = float(lams.lam(torch.tensor([[unit_lam]], dtype=torch.float64)))
        entries.append(Entry(kind, lam, f"darts-cc-{name}", own, genotype))
    if not entries:
        raise InputError(f"{file} has no cells of {wanted!r}, those for the data {data!r}")
    return entries


def searched(config: SearchConfig, folder: Path) -> list[Genotype]:
    """The cells of five λs, evenly spaced in unit position, of a search that is run if need be.

    Args:
        folder: of the search; a file beside it, with `.json` behind its name, keeps the cells.
    """

    def make() -> dict[str, Any]:
        front = load_front(finished(config, folder))
        lams = front.lam_range.grid(LAMS)
        pairs = zip(lams.tolist(), front.choices(lams).tolist(), strict=True)
        cells = [front.genotype(lam, choices) for lam, choices in pairs]
        return {"genotypes": [json.loads(cell.to_json()) for cell in cells]}

    record = recorded(folder.with_name(f"{folder.name}.json"), make)
    return [Genotype.from_json(json.dumps(cell)) for cell in record["genotypes"]]


def job(genotype: Genotype, config: RetrainConfig, folder: Path) -> Job:
    """Returns a retraining in a folder, to be resumed if it has begun."""
    if folder.exists():
        return Job(read_retraining(folder), folder, resume=True)
    file = folder.parent / f"{folder.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    genotype.save(file)
    return Job(replace(config, genotype=str(file)), folder)


def retrained(genotype: Genotype, config: RetrainConfig, folder: Path) -> dict[str, Any]:
    """Returns the result of a retraining, which is run, or resumed, if need be."""
    if not (folder / "result.json").is_file():
        asked = job(genotype, config, folder)
        retrain(asked.config, asked.folder, resume=asked.resume)
    return read_config(folder / "result.json")


def protocol(
    data: str,
    data_root: Path,
    out: Path,
    seeds: Sequence[int],
    share: float,
    published: Path | None = None,
    *,
    search_share: float | None = None,
    shrink: Sequence[int] = (SEARCH.shrink,),
    at_once: int = 1,
) -> list[dict[str, Any]]:
    """Searches and retrains all that the table needs.

    Args:
        share: of the epochs of retraining.
        published: file of DARTS-CC's cells, see `published_cells`.
        search_share: of the epochs of the search; None for `share`.
        shrink: a search for each, see `SearchConfig.shrink`.
        at_once: networks that a GPU trains side by side.

    Returns:
        One row per cell: `kind`, `lam` (None where there is none), `params`, `accuracies` and
        `seconds` by seed, `machine`, `epochs` of retraining.
    """
    others = [] if published is None else published_cells(published, data, seeds)  # refused first
    settings = {"data": data, "data_root": str(data_root)}
    search_config = shortened(SEARCH, share if search_share is None else search_share)
    recipe = replace(shortened(RETRAIN, share), **settings, seeds=tuple(seeds))
    space = find_space(SEARCH.space)
    draw = random.Random(0)
    entries = []
    for factor in shrink:
        shrunk = "" if factor == SEARCH.shrink else f"-shrink{factor}"
        kind = f"ours, shrink {factor}" if shrunk else "ours"
        for seed in seeds:
            config = replace(search_config, **settings, seed=seed, shrink=factor)
            for number, cell in enumerate(searched(config, out / f"search{shrunk}-seed{seed}")):
                lam, name = (cell.lam or {})[config.costs[0]], f"ours{shrunk}-seed{seed}-{number}"
                entries.append(Entry(kind, lam, name, (seed,), cell))
    for number, convolutions in enumerate(RANDOM_SHARES):
        cell = Genotype.from_choices(space, random_cell(space, draw, convolutions=convolutions))
        entries.append(Entry("random", None, f"random-{number}", recipe.seeds, cell))
    entries.append(Entry("DARTS", None, DARTS, recipe.seeds, read_genotype(DARTS)))
    entries += others

    def record(entry: Entry, result: dict[str, Any]) -> None:
        row = {
            "kind": entry.kind,
            "lam": entry.lam,
            "params": result["costs"]["params"],
            "accuracies": result["test_accuracy"],
            "seconds": result["seconds"],
            "machine": result["machine"],
            "epochs": result["epochs"],
        }
        write_json(out / f"{entry.name}.json", row)

    jobs: dict[Job, Entry] = {}
    for entry in entries:
        folder = out / "retrained" / entry.name
        if (out / f"{entry.name}.json").exists():
            continue
        if (folder / "result.json").is_file():  # stopped between the two
            record(entry, read_config(folder / "result.json"))
        else:
            jobs[job(entry.genotype, replace(recipe, seeds=entry.seeds), folder)] = entry
    if jobs:
        for done, result in retrain_each(list(jobs), at_once=at_once):
            if result is not None:
                record(jobs[done], result)
    return [read_config(out / f"{entry.name}.json") for entry in entries]
