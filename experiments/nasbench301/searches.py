"""Searches in the space of DARTS, the fronts they give and how well their supernets rank cells.

The surrogate scores what they found and takes no part in them. Every search keeps its state in a
run folder and resumes where it stopped; what is scored is a record, a JSON file of its own.
"""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cells.genotype import Genotype
from cells.sampling import Choices, random_cell
from cells.strict_json import load_json
from experiments.nasbench301.measure import WITHIN
from experiments.nasbench301.surrogate import SPACE, Surrogate, params_table, supported
from experiments.records import finished, recorded
from experiments.small_protocol.protocol import SEARCH
from nas.cell_search.config import SearchConfig
from nas.cell_search.finalist_scores import naswot_scores
from nas.cell_search.folder import read_run
from nas.cell_search.fronts import load_front
from nas.cell_search.searcher import Searcher
from nas.runtime.processes import Processes
from nas.selection.front import Front

LAMS = 20
"""λs of a front, evenly spaced in unit position."""
RANKED, RANKED_IMAGES = 500, 1000
"""Random cells on which a supernet's order is compared with the surrogate's; validation images."""
BASE = replace(
    SEARCH, shrink=2, searches=2, finalists=1000, finalist_source="mixed", naswot=0.15,
    threads=1, device="cpu",
)  # fmt: skip
"""The search of `experiments.small_protocol` on halved images, with the finalists of the preset
`nasbench201`."""


def cells_of(front: Front, *, chosen: bool) -> list[Choices]:
    """Returns the cells of `LAMS` λs, from the smallest to the largest.

    Args:
        chosen: those that the search gives, among finalists if it has any; else the most probable.
    """
    lams = front.lam_range.grid(LAMS)
    found = front.choices(lams) if chosen else front.likely(lams)
    return [tuple(cell) for cell in found.tolist()]


def front_record(front: Front, cells: Sequence[Choices]) -> dict[str, Any]:
    """Writes the cells of the λs of a front down, in the project's own format."""
    lams = front.lam_range.grid(LAMS).tolist()
    pairs = zip(lams, cells, strict=True)
    return {"genotypes": [json.loads(front.genotype(lam, cell).to_json()) for lam, cell in pairs]}


def cells_on_record(file: Path) -> list[Choices]:
    """Reads the cells of a record, in the order of λ.

    Raises:
        InputError: if it is none.
    """
    values = load_json(file.read_text(encoding="utf-8"))["genotypes"]
    return [Genotype.from_json(json.dumps(value)).choices() for value in values]


def search(config: SearchConfig, out: Path, name: str) -> dict[str, Path]:
    """Runs a search, or the rest of it, and records its cells.

    Returns:
        Kind of cells -> its record: `chosen`, as the search gives them, and `likely`, the most
        probable ones without any finalists.
    """
    start = time.perf_counter()
    folder = finished(config, out / name)
    minutes = (time.perf_counter() - start) / 60
    front = load_front(folder)
    records = {}
    for kind in ("chosen", "likely"):
        records[kind] = out / f"{name}-{kind}.json"

        def make(kind: str = kind) -> dict[str, Any]:
            found = front_record(front, cells_of(front, chosen=kind == "chosen"))
            return found | {"minutes": minutes}

        recorded(records[kind], make)
    return records


def pairs_tau(scores: np.ndarray, truth: np.ndarray, sizes: np.ndarray, within: float) -> float:
    """Returns Kendall's τ over the pairs of cells whose sizes are about the same.

    (concordant − discordant) / pairs; a tie counts as neither.

    Args:
        scores: (n,), the more, the better.
        truth: (n,).
        sizes: (n,), > 0.
        within: largest difference in size of a pair, as a share of the smaller one.
    """
    first, second = np.triu_indices(len(scores), 1)
    ratio = sizes[first] / sizes[second]
    near = np.maximum(ratio, 1 / ratio) <= 1 + within
    agree = np.sign(scores[first] - scores[second]) * np.sign(truth[first] - truth[second])
    return float(agree[near].mean())


def ranking(run: Path, surrogate: Surrogate, count: int = RANKED) -> dict[str, list[float]]:
    """Compares the order of random cells by a finished search's scores with the surrogate's.

    Returns:
        Name of a score -> τ over all pairs, and over pairs within 5 % of parameters: the likelihood
        with the supernet's weights, NASWOT, both with the default price, and parameters.
    """
    config, state = read_run(run)
    searcher = Searcher(config, Processes(0, 1, torch.device("cpu")), state=state)
    draw = random.Random(1)
    cells: list[Choices] = []
    while len(cells) < count:
        cell = random_cell(SPACE, draw)
        if supported(cell):
            cells.append(cell)
    drawn = torch.tensor(cells)
    likelihood = -_nll(searcher, drawn)
    naswot = naswot_scores(searcher, drawn).numpy()
    sizes = params_table().totals(drawn).numpy()
    truth = surrogate.predict(cells)
    price = SearchConfig().naswot
    scores = {
        "likelihood": likelihood,
        "NASWOT": naswot,
        "both": likelihood + price * naswot,
        "parameters": sizes,
    }
    return {
        name: [pairs_tau(s, truth, sizes, np.inf), pairs_tau(s, truth, sizes, WITHIN)]
        for name, s in scores.items()
    }


def _nll(searcher: Searcher, cells: Tensor) -> np.ndarray:
    pieces = [searcher.problem.likelihoods(piece, RANKED_IMAGES) for piece in cells.split(16)]
    return torch.cat(pieces).cpu().double().numpy()
