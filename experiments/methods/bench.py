"""Searches by method, random cells of equal cost, and their retrainings by one recipe."""

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from cells.cell import Skeleton
from cells.cost import CostTable, cost_table
from cells.genotype import Genotype
from cells.sampling import random_cells_at
from cells.space import SearchSpace, find_space
from experiments.methods.table import CHANCE
from experiments.records import finished, recorded
from experiments.small_protocol.protocol import retrained, shortened
from nas.architecture.discretise import most_probable
from nas.cell_search.config import SearchConfig
from nas.cell_search.fronts import load_front
from nas.cell_search.presets import CORNER, METHODS, PRESETS, settled
from nas.data.datasets import ImageData, load_data
from nas.retraining.config import RetrainConfig
from nas.runtime.files import write_json
from nas.runtime.metrics import MetricsLog
from nas.runtime.streams import stream

ORDER = (
    "darts", "gibbs", "gdas", "drnas", "pc-darts", "fairdarts", "snas", "random-search",
    "evolution", "fbnet", "rc-darts", "budgeted", "hypernetworks", "sdarts-rs", "sdarts-adv",
    "darts-second", "darts-cc",
)  # fmt: skip
"""All methods; the most expensive come last."""
DIAL = ("gibbs", "darts-cc", "random-search", "evolution")
"""Methods for every λ: three cells each, at both ends and in the middle of the range of log λ."""
BOUNDED = ("rc-darts", "budgeted")
"""Methods that need a bound: here on parameters, in the middle between the space's ends."""
OWN: dict[str, dict[str, Any]] = {
    # One cell at β = 0.6, the paper's. Multiply–adds take the place of its latencies, which are
    # never twice the same.
    "fbnet": {"hypernet": "constant", "lam": (0.6,), "arch_kl": 0.0, "costs": ("flops",)},
    # What SDARTS' eigenvalues are compared with; it changes nothing but the log.
    "darts": {"hessian": True},
}
"""What a method needs besides its settings and `CORNER`."""

RANDOM = {"darts": 8, "darts_free": 4}
"""Random cells for every seed, by space."""

SEARCH = replace(
    PRESETS["fashion"], epochs=3, warmup_epochs=1, batch_size=32, val_fraction=0.9625, grid=3
)
RETRAIN = RetrainConfig(
    num_cells=SEARCH.num_cells,
    channels=SEARCH.channels,
    stem_stride=SEARCH.stem_stride,
    crop_padding=SEARCH.crop_padding,
    flip=SEARCH.flip,
    epochs=1,
    batch_size=96,
    lr=0.1,
    warmup_epochs=0,
    threads=1,
)


def settings(method: str) -> dict[str, Any]:
    """A method's settings as in its paper: for one cell, unless it is for every λ."""
    corner = CORNER if method not in DIAL else {}
    return METHODS[method] | corner | OWN.get(method, {})


def collapse(space: SearchSpace, params: CostTable, choices: Sequence[int]) -> float:
    """Share in [0, 1] of a cell's edges, absent ones aside, whose operation has no parameters.

    1 for a cell without edges.
    """
    kept = [float(params.table[row, op]) for row, op in enumerate(choices) if op != space.none]
    return sum(cost == 0 for cost in kept) / len(kept) if kept else 1.0


@contextmanager
def clocked(path: Path) -> Iterator[None]:
    """Adds the processor's seconds of a block to those in a file, however the block ends."""
    start = time.process_time()
    try:
        yield
    finally:
        former = json.loads(path.read_text(encoding="utf-8"))["seconds"] if path.exists() else 0.0
        write_json(path, {"seconds": former + time.process_time() - start})


class Bench:
    """Searches and retrainings that share a folder and the data."""

    def __init__(self, out: Path, data: str, data_root: Path, share: float = 1.0) -> None:
        """
        Args:
            share: of all epochs, in (0, 1].
        """
        self.out = out
        self.share = share
        self._source: dict[str, Any] = {"data": data, "data_root": str(data_root)}
        self.recipe = replace(shortened(RETRAIN, share), **self._source)
        out.mkdir(parents=True, exist_ok=True)

    @cached_property
    def images(self) -> ImageData:
        """The data, read once."""
        return load_data(self._source["data"], Path(self._source["data_root"]))

    def params(self, space: SearchSpace) -> CostTable:
        """Parameters of every operation, in the networks that are searched and retrained alike."""
        images = self.images
        return cost_table(
            "params",
            Skeleton(
                space, images.channels, images.num_classes, images.height, images.width,
                SEARCH.channels, SEARCH.num_cells, SEARCH.stem_stride,
            ),
        )  # fmt: skip

    def ends(self, space: SearchSpace) -> tuple[float, float]:
        """Parameters of the least and of the most expensive cell of a space."""
        params = self.params(space)
        low, high = (most_probable(space, sign * params.table).tolist() for sign in (-1, 1))
        return params.total(low), params.total(high)

    def middle(self, space: SearchSpace) -> int:
        """Parameters half way between the least and the most expensive cell of a space."""
        return round(sum(self.ends(space)) / 2)

    def config(self, method: str, seed: int) -> SearchConfig:
        """The search of a method."""
        changes = self._source | settings(method) | {"seed": seed}
        if method in BOUNDED:
            changes["bounds"] = (f"params={self.middle(find_space(SEARCH.space))}",)
        config = replace(shortened(SEARCH, self.share), **changes)
        return settled(config, method)

    def accuracy(self, genotype: Genotype, seed: int) -> tuple[float, dict[str, Any]]:
        """Test accuracy of a cell retrained with one seed, and all that is known of it."""
        folder = self.out / "retrained" / f"{genotype.id}-seed{seed}"
        result = retrained(genotype, replace(self.recipe, seeds=(seed,)), folder)
        return result["test_accuracy"][0], result

    def rivals(self, space: SearchSpace, count: int, seed: int) -> list[Genotype]:
        """Random cells, connected, one at a random place of each part of the range of log cost."""
        params = self.params(space)
        low, high = self.ends(space)
        draw = random.Random(stream(seed, f"random/{space.name}", 0).initial_seed())
        cells = []
        for part in range(count):
            cost = low * (high / low) ** ((part + draw.random()) / count)
            cells += random_cells_at(space, params, cost, 1, draw)
        return [Genotype.from_choices(space, cell) for cell in cells]

    def chance(self, seed: int) -> dict[str, Any]:
        """The record of random cells with one seed, made unless there is one.

        Returns:
            `method` ("random"), `seed`, `machine`, and `cells`, each with its `space`, `params`
            and `accuracy`.
        """

        def make() -> dict[str, Any]:
            cells = []
            for name, count in RANDOM.items():
                space = find_space(name)
                for genotype in self.rivals(space, count, seed):
                    accuracy, result = self.accuracy(genotype, seed)
                    params = self.params(space).total(genotype.choices())
                    cells.append({"space": name, "params": params, "accuracy": accuracy})
            return {
                "method": CHANCE, "seed": seed, "cells": cells, "machine": result["machine"],
            }  # fmt: skip

        return recorded(self.record(CHANCE, seed), make)

    def measured(self, method: str, seed: int) -> dict[str, Any]:
        """The record of a method with one seed, made unless there is one.

        Returns:
            `method`, `seed`, `minutes` of the processor, `hessian` (None where none is logged),
            `space`, `machine`, and `cells`, each with its `lam` (None for a single cell),
            `params`, `collapse` and `accuracy`.
        """

        def make() -> dict[str, Any]:
            name = f"{method}-seed{seed}"
            folder, clock = self.out / "searches" / name, self.out / f"clock-{name}.json"
            folder.parent.mkdir(exist_ok=True)
            with clocked(clock):
                finished(self.config(method, seed), folder)
            front = load_front(folder)
            params, lams = self.params(front.space), front.lam_range.grid(3)
            cells = []
            for lam, choices in zip(lams.tolist(), front.choices(lams).tolist(), strict=True):
                accuracy, result = self.accuracy(front.genotype(lam, choices), seed)
                cells.append(
                    {
                        "lam": lam[0] if method in DIAL else None,
                        "params": params.total(choices),
                        "collapse": collapse(front.space, params, choices),
                        "accuracy": accuracy,
                    }
                )
            return {
                "method": method,
                "seed": seed,
                "space": front.space.name,
                "minutes": json.loads(clock.read_text(encoding="utf-8"))["seconds"] / 60,
                "hessian": MetricsLog(folder / "metrics.jsonl").read()[-1].get("hessian"),
                "cells": cells,
                "machine": result["machine"],
            }

        return recorded(self.record(method, seed), make)

    def record(self, method: str, seed: int | str) -> Path:
        """Where the record of a method with one seed is."""
        return self.out / f"{method}-seed{seed}.json"

    def records(self) -> list[dict[str, Any]]:
        """All records there are, method by method, random cells first."""
        files = [
            file
            for method in (CHANCE, *ORDER)
            for file in sorted(self.out.glob(self.record(method, "*").name))
        ]
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def run(
    bench: Bench,
    methods: Sequence[str],
    seeds: Sequence[int],
    tell: Callable[[list[dict[str, Any]]], None],
) -> None:
    """Measures random cells and methods, seed by seed.

    Args:
        tell: gets all records after every method.
    """
    for seed in seeds:
        bench.chance(seed)
        for method in methods:
            bench.measured(method, seed)
            tell(bench.records())
