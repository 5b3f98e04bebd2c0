"""Searches on NAS-Bench-201: ours, for all λs at once, and others for comparison.

Every search keeps its state in a folder and resumes where it stopped. The weights of a warm-up
depend on neither the cost nor the range of λ, so that searches of one seed that differ in nothing
else share theirs; the minutes of each count it in full.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor
from tqdm import tqdm

from cells.cost import CostTable, cost_table
from cells.sampling import Choices
from cells.space import find_space
from experiments.nasbench201.benchmark import LATENCIES, Benchmark
from experiments.records import recorded
from nas.cell_search.config import SearchConfig
from nas.cell_search.finalist_scores import naswot_scores, score_finalists
from nas.cell_search.presets import PRESETS
from nas.cell_search.problem import Problem
from nas.cell_search.searcher import Searcher
from nas.data.datasets import ImageData, load_data
from nas.objective.costs import MEASURED
from nas.runtime import checkpoint
from nas.runtime.processes import Processes
from nas.selection.finalists import budgets_at, networks, pick
from nas.selection.front import Front

LAMS = 20
"""λs of a front, evenly spaced in unit position."""
SINGLE = 5
"""Searches for one λ each, in the place of one search for all."""
RANKED, RANKED_IMAGES = 500, 500
"""Cells on which the supernet's ranking is compared with the true one; images to score them."""
FINALISTS = 60
"""Finalists whose latency is measured."""
DARTS_CC_EPOCHS = 10
"""About as many minutes as our search takes."""
ALONE = Processes(0, 1, torch.device("cpu"))


def base_config(seed: int, data_root: Path, share: float = 1.0) -> SearchConfig:
    """The settings of one of our searches, on one thread.

    Args:
        share: of the epochs and the finalists, in (0, 1].
    """
    config = PRESETS["nasbench201"]
    return replace(
        config,
        seed=seed,
        data_root=str(data_root),
        threads=1,
        device="cpu",
        searches=1,
        epochs=max(1, round(share * config.epochs)),
        warmup_epochs=max(1, round(share * config.warmup_epochs)),
        finalists=round(share * config.finalists),
    )


class Laboratory:
    """Searches that share their data, their cost tables and, by seed, their warm-up.

    Attributes:
        benchmark: the truth.
        out: folder of everything that is kept.
    """

    def __init__(self, out: Path, data_root: Path) -> None:
        """
        Raises:
            InputError: if the benchmark or the images are not in `data_root`.
        """
        self.out = out
        self.data_root = data_root
        self.benchmark = Benchmark(data_root)
        out.mkdir(parents=True, exist_ok=True)
        self._data: ImageData | None = None
        self._counted: dict[str, CostTable] | None = None

    @property
    def data(self) -> ImageData:
        """CIFAR-10, read when first needed; its test part is never looked at."""
        if self._data is None:
            self._data = load_data("cifar10", self.data_root)
        return self._data

    def tables(self, config: SearchConfig, costs: Sequence[str], seed: int) -> dict[str, CostTable]:
        """Cost tables of a search; `latency` is that of the device among its costs, if any."""
        if self._counted is None:
            skeleton = Problem(config, ALONE, data=self.data).skeleton
            self._counted = {name: cost_table(name, skeleton) for name in MEASURED}
        devices = [cost for cost in costs if cost in LATENCIES]
        assert len(devices) <= 1, "a search knows one latency"
        if not devices:
            return self._counted
        return self._counted | {"latency": self.benchmark.fitted(devices[0], seed)}

    def warm(self, config: SearchConfig) -> dict[str, Any]:
        """The state of a search at the end of its warm-up, and the seconds that took."""
        path = self.out / f"warm-{config.warmup_epochs}-of-{config.epochs}-seed{config.seed}.pt"
        costs = ("params",)
        any_lam = replace(config, costs=costs, lam=None, hypernet="gibbs")
        searcher = self._searcher(any_lam, costs, path, config.seed)
        self._advance(searcher, path, config.warmup_epochs)
        return checkpoint.load(path)

    def search(
        self,
        name: str,
        config: SearchConfig,
        costs: Sequence[str],
        *,
        share_warmup: bool = True,
        fit: int | None = None,
        choose: bool = True,
    ) -> tuple[Searcher, float]:
        """Runs a search, or the rest of it.

        Args:
            name: of the file that keeps its state.
            costs: names of the benchmark's costs.
            fit: seed of the networks to which a latency is fitted; that of the search if None.
            choose: find the finalists, if the settings want any.

        Returns:
            The finished search, and its minutes with the warm-up.
        """
        fit = config.seed if fit is None else fit
        priced = tuple("latency" if cost in LATENCIES else cost for cost in costs)
        config = replace(config, costs=priced)
        path = self.out / f"{name}.pt"
        if not path.exists() and share_warmup:
            warm = self.warm(config)
            searcher = self._searcher(config, costs, path, fit)
            searcher.supernet.load_state_dict(warm["supernet"])
            searcher.w_optimizer.load_state_dict(warm["w_optimizer"])
            searcher.step = warm["step"]
            checkpoint.save(path, searcher.state() | {"seconds": warm["seconds"]})
        searcher = self._searcher(config, costs, path, fit)
        seconds = self._advance(searcher, path, config.epochs)
        if choose and config.finalists and searcher.finalists is None:
            start = time.perf_counter()
            searcher.finalists = score_finalists([searcher])
            seconds += time.perf_counter() - start
            checkpoint.save(path, searcher.state() | {"seconds": seconds})
        return searcher, seconds / 60

    def _searcher(
        self, config: SearchConfig, costs: Sequence[str], path: Path, fit: int
    ) -> Searcher:
        state = checkpoint.load(path) if path.exists() else None
        tables = None if state else self.tables(config, costs, fit)
        return Searcher(config, ALONE, data=self.data, tables=tables, state=state)

    def _advance(self, searcher: Searcher, path: Path, epochs: int) -> float:
        """Goes on until some epochs are over; keeps the state after each of them.

        Returns:
            Seconds since the search began, over all attempts.
        """
        seconds = float(checkpoint.load(path)["seconds"]) if path.exists() else 0.0
        last = epochs * searcher.problem.steps_per_epoch
        with tqdm(total=last, initial=searcher.step, desc=path.stem, mininterval=20) as bar:
            while searcher.step < last:
                start = time.perf_counter()
                for _ in range(min(searcher.problem.steps_per_epoch, last - searcher.step)):
                    searcher.advance()
                    bar.update()
                seconds += time.perf_counter() - start
                checkpoint.save(path, searcher.state() | {"seconds": seconds})
        return seconds

    def part(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The results of one part, made unless they are on record."""
        return recorded(self.out / f"{name}.json", make)

    def result(self, cells: Sequence[Sequence[int]], costs: Sequence[str], minutes: float) -> Any:
        """What is written down about a front: its cells, shares, accuracies, minutes."""
        numbers = self.benchmark.numbers(cells)
        return {
            "cells": [list(cell) for cell in cells],
            "distinct": len(set(numbers)),
            "hypervolume": self.benchmark.share(cells, *costs),
            "first": float(self.benchmark.accuracy[numbers[0]]),
            "best": float(self.benchmark.accuracy[numbers].max()),
            "minutes": minutes,
        }


def cells_of(front: Front, count: int = LAMS) -> list[Choices]:
    """The cells of λs evenly spaced in unit position, from the smallest λ to the largest."""
    return [tuple(cell) for cell in front.choices(front.lam_range.grid(count)).tolist()]


def along_the_dial(
    lab: Laboratory,
    choices: Tensor,
    losses: Tensor,
    guesses: Tensor,
    costs: Sequence[str],
    unit_lams: Tensor,
) -> list[Choices]:
    """The best cells for positions of the dial; latencies are measured before.

    A fitted latency is a guess. `FINALISTS` cells, the best for guessed budgets, the next best and
    so on, are measured, and only they are chosen from, at what they really cost.

    Args:
        choices: (n, edges), the cells there are.
        losses: (n,), the less, the better.
        guesses: (n, num_costs) float64, counted or fitted costs.
        costs: the benchmark's names of the costs.
        unit_lams: (m, num_costs) in [0, 1].
    """
    devices = [column for column, cost in enumerate(costs) if cost in LATENCIES]
    _, number = networks(find_space("nasbench201"), choices)
    if devices:
        budgets = budgets_at(unit_lams, guesses)
        rest, measured = torch.arange(len(losses)), list[int]()
        while len(rest) and len(measured) < FINALISTS:
            best = pick(losses[rest], guesses[rest], budgets, number[rest]).unique()
            measured += rest[best].tolist()
            rest = rest[~torch.isin(torch.arange(len(rest)), best)]
        del measured[FINALISTS:]
        choices, losses, guesses = choices[measured], losses[measured], guesses[measured]
        number = number[measured]
        numbers = lab.benchmark.numbers(choices.tolist())
        for column in devices:
            guesses[:, column] = torch.from_numpy(lab.benchmark.costs[costs[column]][numbers])
    best = pick(losses, guesses, budgets_at(unit_lams, guesses), number)
    return [tuple(cell) for cell in choices[best].tolist()]


def searches_of(
    lab: Laboratory, seed: int, costs: Sequence[str], count: int
) -> tuple[list[Searcher], float]:
    """The searches of one run, finished, and their minutes. The first is a run of one search, too.

    Args:
        count: how many there are.
    """
    config = replace(base_config(seed, lab.data_root), searches=count)
    name = f"front-{'-'.join(costs)}-seed{seed}"
    searcher, minutes = lab.search(name, config, costs, choose=False)
    found = [searcher]
    for number in range(1, count):
        its_config = config.search_config(number)
        other, more = lab.search(f"{name}-{number}", its_config, costs, fit=seed, choose=False)
        found.append(other)
        minutes += more
    return found, minutes


def ours(
    lab: Laboratory, seed: int, costs: Sequence[str], *, searches: int | None = None
) -> dict[str, Any]:
    """One run for all λs.

    Args:
        searches: with their finalists in common; as many as in the preset if None.
    """
    number = searches or PRESETS["nasbench201"].searches

    def make() -> dict[str, Any]:
        searches, minutes = searches_of(lab, seed, costs, number)
        searcher = searches[0]
        start = time.perf_counter()
        searcher.finalists = score_finalists(searches)
        minutes += (time.perf_counter() - start) / 60
        count = LAMS if len(costs) == 1 else LAMS**2
        front = searcher.front()
        assert front.finalists is not None
        choices = front.finalists.choices
        losses = front.finalists.losses(front.arch_kl_price, front.naswot)
        unit_lams = front.lam_range.unit(front.lam_range.grid(count))
        cells = along_the_dial(lab, choices, losses, front.costs_of(choices), costs, unit_lams)
        return lab.result(cells, costs, minutes)

    return lab.part(f"front-{'-'.join(costs)}-seed{seed}-of-{number}", make)


def single(lab: Laboratory, seed: int, cost: str, share: float) -> dict[str, Any]:
    """Searches for one λ each, with a share of the epochs and the finalists of one of ours."""
    name = f"single-{share:g}-{cost}-seed{seed}"

    def make() -> dict[str, Any]:
        config = base_config(seed, lab.data_root, share)
        cells, total = [], 0.0
        for number, lam in enumerate(config.lam_range().grid(SINGLE)[:, 0].tolist()):
            searcher, minutes = lab.search(
                f"{name}-{number}", replace(config, lam=(lam,), hypernet="constant"), (cost,)
            )
            cells += cells_of(searcher.front(), 1)
            total += minutes
        return lab.result(cells, (cost,), total)

    return lab.part(name, make)


def darts_cc(lab: Laboratory, seed: int, cost: str, *, finalists: bool = False) -> dict[str, Any]:
    """DARTS-CC's settings: 3 cells, all operations at once, a sample for every example.

    Args:
        finalists: choose among finalists as we do, half of them random, instead of the most
            probable cells. The minutes count them either way.
    """
    name = f"darts-cc-{cost}-seed{seed}"

    def make() -> dict[str, Any]:
        # λ multiplied by counted parameters, 1e-8 … 1e-4, is 3e-3 … 30 nats per unit of cost here.
        config = replace(
            PRESETS["darts-cc"], data_root=str(lab.data_root), seed=seed, space="nasbench201",
            shrink=2, lam_unit="range", lam_low=(3e-3,), lam_high=(30.0,),
            epochs=DARTS_CC_EPOCHS, threads=1, device="cpu", precision="auto",
            finalists=PRESETS["nasbench201"].finalists, finalist_source="mixed",
        )  # fmt: skip
        searcher, minutes = lab.search(name, config, (cost,), share_warmup=False)
        front = searcher.front()
        if not finalists:
            front.finalists = None
        return lab.result(cells_of(front), (cost,), minutes)

    return lab.part(f"{name}-finalists" if finalists else name, make)


def ranking(lab: Laboratory, seed: int) -> dict[str, Any]:
    """Kendall's τ with the truth, on random cells, of all that may rank them.

    The validation likelihood with one supernet, with all of a run, and with NASWOT scores added as
    in the choice of finalists; these scores and parameters by themselves.

    Returns:
        By name: τ of all cells, and of those above 90 %.
    """

    def make() -> dict[str, Any]:
        count = PRESETS["nasbench201"].searches
        searches, _ = searches_of(lab, seed, ("params",), count)
        numbers = np.random.default_rng(seed).choice(15625, RANKED, replace=False)
        cells = torch.tensor([lab.benchmark.cells[n] for n in numbers])
        nll = torch.stack([s.problem.likelihoods(cells, RANKED_IMAGES) for s in searches]).numpy()
        naswot = naswot_scores(searches[0], cells).numpy()
        ranked = {
            "one supernet": -nll[0],
            "all supernets": -nll.mean(axis=0),
            "with NASWOT": searches[0].config.naswot * naswot - nll.mean(axis=0),
            "NASWOT alone": naswot,
            "parameters": lab.benchmark.costs["params"][numbers],
        }
        truth = lab.benchmark.accuracy[numbers]
        good = truth > 90
        return {
            name: [
                float(kendalltau(values, truth).statistic),
                float(kendalltau(values[good], truth[good]).statistic),
            ]
            for name, values in ranked.items()
        }

    return lab.part(f"taus-seed{seed}", make)
