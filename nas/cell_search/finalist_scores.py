"""The finalists of a run: cells of all its searches' distributions, scored by all its supernets."""

import random
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import torch
from torch import Tensor
from tqdm import tqdm

from nas.cell_search.searcher import Searcher
from nas.data.augmentation import shrink
from nas.data.batches import draw_part
from nas.runtime.streams import stream
from nas.selection import naswot
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
    space, count, costs_of = front.space, config.finalists, front.costs_of
    generator = stream(config.seed, "finalists", 0)
    draws = random.Random(generator.initial_seed())

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

    def with_live(cells: Tensor) -> Tensor:
        """Adds to cells those without dead edges: none is chosen with an idle operation."""
        return torch.cat([cells, networks(space, cells)[0]]).unique(dim=0)

    if config.finalist_source == "evolved":
        return evolve(space, count, costs_of, scored, config.naswot, draws)
    if config.finalist_source == "random":
        return scored(with_live(draw_uniform(space, count, costs_of, draws)))
    lams, rule = front.lam_range.grid(LAMS), config.discretise
    log_probs = torch.cat([search.front().log_probs(lams) for search in searches])
    if config.finalist_source == "drawn":
        cells = with_live(draw(space, log_probs, rule, count, costs_of, generator))
        return scored(cells, mixture(log_probs, cells))
    half = count // 2
    drawn = draw(space, log_probs, rule, count - half, costs_of, generator)
    cells = with_live(torch.cat([drawn, draw_uniform(space, half, costs_of, draws)]))
    return scored(cells, half_uniform(log_probs, cells))


def _likelihoods(searches: Sequence[Searcher], cells: Tensor) -> Tensor:
    """Returns negative log-likelihoods (n,) of cells (n, edges), the mean over all supernets.

    Where the settings say how many threads a search has, the supernets of a CPU score side by side.
    """
    first = searches[0]
    beside = first.config.threads > 0 and first.processes.device.type == "cpu"
    pieces = cells.split(PIECE)
    bar = tqdm(
        total=len(cells),
        unit="network",
        disable=len(pieces) == 1 or not first.processes.is_main,
        mininterval=0.2 if sys.stderr.isatty() else 20,
    )

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
