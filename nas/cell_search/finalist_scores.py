"""The finalists of a run: cells of all its searches' distributions, scored by all its supernets."""

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import repeat

import torch
from torch import Tensor

from cells.sampling import random_cell
from nas.cell_search.config import SearchConfig
from nas.cell_search.searcher import Searcher
from nas.data.augmentation import shrink
from nas.data.batches import draw_part
from nas.runtime.processes import num_cpus
from nas.runtime.progress import progress
from nas.runtime.streams import stream
from nas.selection import naswot
from nas.selection.evolution import POPULATION
from nas.selection.finalists import (
    IMAGES,
    LAMS,
    Finalists,
    draw,
    draw_uniform,
    evolve,
    half_uniform,
    mixture,
    networks,
)

SAMPLE = 16
"""Networks whose scores tell what those of all will take."""
LARGEST = 0.25
"""Share of a time that a run is given that scoring its finalists may take: cells are ranked no
better than the weights are trained."""
PIECE = 16
"""Networks that are scored between two looks at the progress bar, and at Ctrl-C."""


def score_finalists(searches: Sequence[Searcher]) -> Finalists:
    """Finds the finalists of a run and scores them with the weights as they are.

    Args:
        searches: those of the run, finished; the first has its settings. Cells are drawn from the
            distributions of all, and their likelihood is the mean over all supernets.
    """
    first = searches[0]
    config, front = first.config, first.front()
    space = front.space

    def scored(cells: Tensor, log_q: Tensor | None = None) -> Finalists:
        """Scores each network once, however many of the cells it is."""
        each, number = networks(space, cells)
        (nll,) = first.processes.average([_likelihoods(searches, each)])
        total = torch.zeros(len(each), dtype=torch.float64)
        if log_q is not None:
            top = total.scatter_reduce(0, number, log_q, "amax", include_self=False)
            shares = total.scatter_add(0, number, (log_q - top[number]).exp())
            total = top + shares.log()
        naswot_of_each = naswot_scores(first, each)
        return Finalists(cells, nll.cpu()[number], total[number], naswot_of_each[number])

    if config.finalist_source == "evolved":
        draws = random.Random(_generator(config).initial_seed())
        return evolve(space, config.finalists, front.costs_of, scored, config.naswot, draws)
    return scored(*_drawn(searches))


def _generator(config: SearchConfig) -> torch.Generator:
    return stream(config.seed, "finalists", 0)


def _drawn(searches: Sequence[Searcher]) -> tuple[Tensor, Tensor | None]:
    """Draws cells (n, edges), and their log-probabilities (n,) unless all of them are random."""
    first = searches[0]
    config, front = first.config, first.front()
    space, count, costs_of = front.space, config.finalists, front.costs_of
    generator = _generator(config)
    draws = random.Random(generator.initial_seed())

    def with_live(cells: Tensor) -> Tensor:
        """Adds to cells those without dead edges: none is chosen with an idle operation."""
        return torch.cat([cells, networks(space, cells)[0]]).unique(dim=0)

    if config.finalist_source == "random":
        return with_live(draw_uniform(space, count, costs_of, draws)), None
    lams, rule = front.lam_range.grid(LAMS), config.discretise
    log_probs = torch.cat([search.front().log_probs(lams) for search in searches])
    if config.finalist_source == "drawn":
        cells = with_live(draw(space, log_probs, rule, count, costs_of, generator))
        return cells, mixture(log_probs, cells)
    half = count // 2
    drawn = draw(space, log_probs, rule, count - half, costs_of, generator)
    cells = with_live(torch.cat([drawn, draw_uniform(space, half, costs_of, draws)]))
    return cells, half_uniform(log_probs, cells)


def finalist_seconds(first: Searcher) -> float:
    """Returns what `score_finalists` will take: the draws, and a sample of the scores."""
    config, begun = first.config, time.perf_counter()
    if config.finalist_source == "evolved":
        draws = random.Random(0)
        cells = torch.tensor([random_cell(first.front().space, draws) for _ in range(SAMPLE)])
        count = config.finalists
    else:
        cells = networks(first.front().space, _drawn([first])[0])[0]
        count = len(cells)
        cells = cells[:: -(-count // SAMPLE)]
    drawn, taken = time.perf_counter() - begun, list[float]()
    for piece in cells.split(1 if config.finalist_source == "evolved" else PIECE):
        begun = time.perf_counter()
        _likelihoods([first], piece)
        scored = time.perf_counter() - begun
        naswot_scores(first, piece)
        taken.append(searches_at_once(config) * scored + time.perf_counter() - begun - scored)
    return drawn + sum(taken) * count / len(cells)


def finalists_within(config: SearchConfig, taken: float, seconds: float) -> SearchConfig:
    """Returns settings with as many finalists as are scored in `LARGEST` of a time.

    Args:
        taken: seconds that all of `config.finalists` take.
        seconds: the time.
    """
    if taken <= LARGEST * seconds:
        return config
    fewest = POPULATION + 1 if config.finalist_source == "evolved" else 2
    fitting = max(fewest, int(config.finalists * LARGEST * seconds / taken))
    return replace(config, finalists=min(config.finalists, fitting))


def searches_at_once(config: SearchConfig) -> float:
    """By how much longer all searches of a run take than one, in a single process."""
    if config.threads == 0:
        return config.searches
    return max(1.0, config.searches * config.threads / num_cpus())


def _likelihoods(searches: Sequence[Searcher], cells: Tensor) -> Tensor:
    """Returns negative log-likelihoods (n,) of cells (n, edges), the mean over all supernets.

    Where the settings say how many threads a search has, the supernets of a CPU score side by side.
    """
    first = searches[0]
    beside = first.config.threads > 0 and first.processes.device.type == "cpu"
    pieces = cells.split(PIECE)
    shown = len(pieces) > 1 and first.processes.is_main
    bar = progress(len(cells), "network", shown=shown)

    def score(search: Searcher, piece: Tensor) -> Tensor:
        return search.problem.likelihoods(piece, IMAGES)

    means = []
    with bar, ThreadPoolExecutor(len(searches)) as pool:
        each = pool.map if beside else map
        for piece in pieces:
            scores = each(score, searches, repeat(piece))
            means.append(torch.stack(list(scores)).mean(dim=0))
            bar.update(len(piece))
    return torch.cat(means)


def naswot_scores(searcher: Searcher, cells: Tensor) -> Tensor:
    """Computes NASWOT scores (n,) of cells (n, edges), each process its share."""
    config, problem, processes = searcher.config, searcher.problem, searcher.processes
    scores = torch.zeros(len(cells), dtype=torch.float64)
    if not config.naswot:
        return scores
    part = draw_part(problem.val, naswot.IMAGES, config.split_seed)
    x, _ = next(problem.task.evaluation_batches(part, len(part)))
    x = shrink(x, config.shrink)
    rank, world = processes.rank, processes.world
    scores[rank::world] = naswot.scores(problem.skeleton, cells[rank::world], x, config.seed)
    (mean,) = processes.average([scores])
    return world * mean
