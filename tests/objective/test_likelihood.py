"""Recorded passes of a supernet: the same numbers as without, for every kind of search."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cells.sampling import random_cell
from nas.cell_search.config import SearchConfig
from nas.cell_search.presets import PRESETS
from nas.cell_search.searcher import Searcher
from nas.data.batches import Split
from nas.data.datasets import ImageData, load_data
from nas.objective import likelihood
from nas.objective.elbo import NegativeElbo
from nas.objective.likelihood import RecordedLikelihood
from nas.runtime.cuda_graph import CudaGraphStep
from nas.runtime.processes import Processes

TINY = SearchConfig(
    data="digits", channels=4, num_cells=2, batch_size=32, epochs=3, warmup_epochs=1, device="cpu"
)
SCORE = replace(
    PRESETS["nasbench201"],
    data="digits", shrink=1, crop_padding=1, flip=False, precision="float32", channels=4,
    num_cells=2, batch_size=32, epochs=3, warmup_epochs=1, finalists=0, finalist_source="drawn",
    searches=1, score_lams=4,
    device="cpu",
)  # fmt: skip
KINDS = {
    "score": SCORE,
    "score, darts": replace(SCORE, space="darts", op_probs=None, num_cells=1),
    "score, two lams": replace(SCORE, lams_per_step=2),
    "softmax": replace(TINY, relax="softmax"),
    "softmax, bfloat16": replace(TINY, relax="softmax", precision="bfloat16"),
    "gumbel_example, second order": replace(TINY, relax="gumbel_example", order="second"),
    "straight_through": replace(TINY, relax="straight_through"),
    "edge weights, partial": replace(
        TINY,
        num_cells=1,
        space="darts",
        relax="softmax",
        edge_weights=True,
        partial_channels=(2,),
        discretise="strongest_inputs",
    ),
    "pruned": replace(TINY, relax="softmax", keep_ops=(3,)),
    "adversarial": replace(TINY, relax="softmax", perturb="adversarial", perturb_radius=0.1),
}

CHANCE = {"score, darts": 0.05, "softmax, bfloat16": 1e-3}
"""The largest difference of those that rounding drives apart sooner: Adam's first steps
follow the sign of a gradient however small it is."""


class Rerun:
    """In the place of a recording: computes everything anew, on tensors of its own."""

    made = 0

    def __init__(self, step: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        Rerun.made += 1
        self.step, self.inputs = step, [tensor.clone() for tensor in inputs]

    def run(self, inputs: Sequence[Tensor]) -> Tensor:
        for own, tensor in zip(self.inputs, inputs, strict=True):
            own.copy_(tensor)
        return self.step(*self.inputs).clone()


@pytest.fixture(scope="module")
def digits() -> ImageData:
    """A quarter of the images: five steps an epoch."""
    data = load_data("digits", Path("."))
    return replace(data, train=Split(data.train.images[::4], data.train.labels[::4]))


def run(
    config: SearchConfig,
    data: ImageData,
    record: Callable[..., Any] | None,
    device: str = "cpu",
    steps: int = 14,
) -> Searcher:
    processes = Processes(0, 1, torch.device(device))
    searcher = Searcher(replace(config, device=device), processes, data=data)
    objective = searcher.problem.objective
    for _ in range(steps):
        # A new stage has a new supernet, and a GPU would have a new recorder for it.
        if record is None:
            objective.recorded = None
        elif objective.recorded is None or objective.recorded.supernet is not objective.supernet:
            objective.recorded = RecordedLikelihood(
                objective.supernet, objective.likelihood, record
            )
        searcher.advance()
    return searcher


def farthest(one: Searcher, other: Searcher) -> float:
    """The largest difference of a weight or an architecture parameter."""
    mine, theirs = ((*s.problem.weights, *s.problem.arch) for s in (one, other))
    return max(float((a - b).detach().abs().max()) for a, b in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_ends_at_the_same_weights(
    kind: str, digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "MOST_OPERATIONS", 8)
    before = Rerun.made
    # Chance in the last digit grows with every step.
    recorded = run(KINDS[kind], digits, Rerun)
    assert Rerun.made > before
    assert farthest(run(KINDS[kind], digits, None), recorded) < CHANCE.get(kind, 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_recordings_change_no_more_than_chance_on_a_gpu(
    kind: str, digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "MOST_OPERATIONS", 8)
    made: list[CudaGraphStep] = []

    def record(step: Callable[..., Tensor], inputs: Sequence[Tensor]) -> CudaGraphStep:
        made.append(CudaGraphStep(step, inputs))
        return made[-1]

    # In the second order only a warm-up is recorded.
    config = KINDS[kind]
    config = config if config.order == "second" else replace(config, warmup_epochs=0)
    one, again, recorded = (
        run(config, digits, how, "cuda", steps=4) for how in (None, None, record)
    )
    assert made
    assert farthest(one, recorded) <= 10 * farthest(one, again) + 2e-3


@pytest.mark.parametrize("kind", ["score", "score, darts", "pruned"])
def test_parameters_are_used_where_there_is_a_gradient(kind: str, digits: ImageData) -> None:
    searcher = run(replace(KINDS[kind], num_cells=4), digits, None, steps=0)
    supernet, problem = searcher.supernet, searcher.problem
    space, draws = problem.skeleton.space, random.Random(0)
    sample = problem.sample("train", 0)
    checked = 0
    while checked < 25:
        cell = random_cell(space, draws)
        if not space.connected(cell):
            continue
        nll = torch.nn.functional.cross_entropy(supernet.discrete(sample.x, cell), sample.y)
        grads = torch.autograd.grad(nll, problem.weights, allow_unused=True)
        assert supernet.used(cell) == [grad is not None for grad in grads]
        checked += 1


def test_scores_of_cells_are_the_same(digits: ImageData) -> None:
    searcher = run(SCORE, digits, None, steps=5)
    problem = searcher.problem
    cells = torch.randint(len(problem.skeleton.space.ops), (40, 6))
    eager = problem.likelihoods(cells, 300)
    objective: NegativeElbo = problem.objective
    objective.recorded = RecordedLikelihood(objective.supernet, objective.likelihood, Rerun)
    torch.testing.assert_close(problem.likelihoods(cells, 300), eager, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("limit", ["MOST_ACTIVATIONS", "MOST_OPERATIONS"])
def test_large_searches_compute_one_operation_per_edge(
    limit: str, digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, limit, 4)
    before = Rerun.made
    run(SCORE, digits, Rerun, steps=5)
    assert Rerun.made == before
