"""What a front of NAS-Bench-201 must beat without a search of its own."""

import random
import time
from functools import cache
from typing import Any

import numpy as np
import torch

from cells.sampling import Choices
from experiments.nasbench201.benchmark import LATENCIES
from experiments.nasbench201.searches import (
    LAMS,
    Laboratory,
    along_the_dial,
    base_config,
    searches_of,
)
from nas.cell_search.estimators import CELLS_PER_STEP
from nas.cell_search.finalist_scores import naswot_scores
from nas.cell_search.presets import PRESETS
from nas.selection.evolution import POPULATION, TOURNAMENT, Evolution
from nas.selection.finalists import IMAGES as FINALIST_IMAGES

DRAWS = 200
"""Draws of whatever is left to chance, of which the mean counts."""
IMAGES = 500
"""Validation images on which evolution scores a cell."""


def chance(lab: Laboratory, seed: int, *costs: str, count: int = LAMS) -> dict[str, Any]:
    """Random cells; the mean over draws."""
    generator = np.random.default_rng(seed)
    cells = lab.benchmark.cells
    draws = [generator.choice(len(cells), count, replace=False) for _ in range(DRAWS)]
    shares = [lab.benchmark.share([cells[n] for n in draw], *costs) for draw in draws]
    best = [lab.benchmark.accuracy[draw].max() for draw in draws]
    return {"hypervolume": float(np.mean(shares)), "best": float(np.mean(best)), "minutes": 0.0}


def by_parameters(lab: Laboratory, seed: int, cost: str) -> dict[str, Any]:
    """Cells that have the most parameters at their cost, ties at random; mean over draws."""
    benchmark = lab.benchmark
    config = base_config(seed, lab.data_root)
    tables = lab.tables(config, (cost,), seed)
    priced = tables["latency" if cost in LATENCIES else cost].totals(benchmark.choices()).numpy()
    params = tables["params"].totals(benchmark.choices()).numpy()
    generator = np.random.default_rng(seed)
    shares, best = [], []
    for _ in range(DRAWS):
        kept, most = [], -1.0
        for n in np.lexsort((generator.random(len(params)), -params, priced)).tolist():
            if params[n] > most:
                kept.append(n)
                most = params[n]
        spaced = np.unique(np.linspace(0, len(kept) - 1, LAMS).round().astype(int))
        numbers = [kept[i] for i in spaced]
        shares.append(benchmark.share([benchmark.cells[n] for n in numbers], cost))
        best.append(benchmark.accuracy[numbers].max())
    return {"hypervolume": float(np.mean(shares)), "best": float(np.mean(best)), "minutes": 0.0}


def evolved(lab: Laboratory, seed: int, cost: str) -> dict[str, Any]:
    """Regularised evolution of a front over the trained supernets of our run.

    A cell is worth what it is in our choice: its mean likelihood with all supernets and its NASWOT
    score. It visits as many cells as each supernet scores in our run after its warm-up, finalists
    among them, counted by images; of all of them, those along the dial are chosen as ours are.
    """
    name = f"evolved-{cost}-seed{seed}"

    def make() -> dict[str, Any]:
        searches, _ = searches_of(lab, seed, ("params",), PRESETS["nasbench201"].searches)
        config, problem = searches[0].config, searches[0].problem
        table = lab.tables(config, (cost,), seed)["latency" if cost in LATENCIES else cost]
        steps = problem.total_steps - problem.schedule.warmup_steps
        scored = steps * CELLS_PER_STEP * config.batch_size
        scored += config.finalists * FINALIST_IMAGES
        start = time.perf_counter()

        @cache
        def worth(network: Choices) -> float:
            alone = torch.tensor([network])
            nll = [float(search.problem.likelihoods(alone, IMAGES)) for search in searches]
            return sum(nll) / len(nll) - config.naswot * float(naswot_scores(searches[0], alone))

        def score(cell: Choices) -> tuple[float, float]:
            return worth(problem.skeleton.space.live(cell)), table.total(cell)

        evolution = Evolution(
            problem.skeleton.space,
            score,
            FromNumpy(seed),
            population=POPULATION,
            tournament=TOURNAMENT,
            connected=False,
        )
        found = evolution.run(scored // IMAGES)
        choices = torch.tensor(list(found))
        scores = torch.tensor(list(found.values()), dtype=torch.float64)
        unit_lams = torch.linspace(0, 1, LAMS, dtype=torch.float64)[:, None]
        cells = along_the_dial(lab, choices, scores[:, 0], scores[:, 1:], (cost,), unit_lams)
        own = (time.perf_counter() - start) / 60
        warm = sum(lab.warm(search.config)["seconds"] for search in searches) / 60
        return lab.result(cells, (cost,), warm + own)

    return lab.part(name, make)


class FromNumpy(random.Random):
    """NumPy's integers, with which the results on record were made."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.generator = np.random.default_rng(seed)

    def randrange(self, stop: int) -> int:  # type: ignore[override]  # the form that is used
        return int(self.generator.integers(stop))
