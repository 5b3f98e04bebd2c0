"""Methods of the literature as settings of one search: each runs, resumes, keeps its word."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cells.cell import Skeleton
from cells.cost import CostTable
from cells.errors import InputError
from cells.space import find_space
from nas.cell_search.config import SearchConfig
from nas.cell_search.finalist_scores import score_finalists
from nas.cell_search.presets import CORNER, METHODS, RESTING, options, settled
from nas.cell_search.searcher import Searcher
from nas.data.batches import Split
from nas.data.datasets import ImageData, load_data
from nas.objective.costs import measure
from nas.runtime import checkpoint
from nas.runtime.commandline import parse
from nas.runtime.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))
TINY = SearchConfig(
    space="nasbench201", channels=4, num_cells=2, stem_stride=2, batch_size=179, epochs=3,
    arch_lr=0.05, arch_weight_decay=0.0, device="cpu", threads=1, grid=5,
)  # fmt: skip
DARTS_CELL = {"space": "darts", "num_cells": 1}
CASES: dict[str, dict[str, Any]] = {
    "snas": {"relax": "gumbel", "resource": "sampled"},
    "fbnet": {
        "relax": "gumbel", "costs": ("flops",), "price": "product", "lam_unit": "raw",
        "lam_low": (0.1,), "lam_high": (2.0,), "resource": "sampled",
    },
    "drnas": {
        "relax": "dirichlet", "keep_ops": (3, 1), "partial_channels": (4, 2, 1),
        **DARTS_CELL,
    },
    "fair": {
        "relax": "sigmoid", "regulariser": "zero_one", "discretise": "threshold", **DARTS_CELL,
        "space": "darts_free",
    },
    "pc": {
        "relax": "softmax", "partial_channels": (2,), "edge_weights": True,
        "discretise": "strongest_inputs", **DARTS_CELL,
    },
    "sdarts": {"relax": "softmax", "perturb": "adversarial", "hessian": True},
    "rc": {"relax": "softmax", "bounds": ("params=2k",), "constraint": "projection"},
    "budget": {"bounds": ("params=2k",), "constraint": "multiplier"},
    "everything": {
        "relax": "dirichlet", "costs": ("flops", "latency"), "perturb": "random",
        "regulariser": "zero_one", "bounds": ("params=2k", "flops=30k"), "order": "second",
        "constraint": "projection", "keep_ops": (2,), "partial_channels": (2, 1),
        "edge_weights": True, "discretise": "strongest_inputs", "lams_per_step": 2,
        **DARTS_CELL,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> ImageData:
    """Four steps an epoch."""
    return load_data("digits", Path("."))


@pytest.fixture(scope="module")
def half(digits: ImageData) -> ImageData:
    """Two steps an epoch."""
    return replace(digits, train=Split(digits.train.images[::2], digits.train.labels[::2]))


@cache
def tables(space: str, num_cells: int) -> dict[str, CostTable]:
    """Measured once for all tests."""
    skeleton = Skeleton(find_space(space), 1, 10, 8, 8, 4, num_cells, 2)
    return measure(skeleton, ALONE, 1, None)


def make(data: ImageData, state: dict[str, Any] | None = None, **changes: Any) -> Searcher:
    config = replace(TINY, **changes)
    found = dict(tables(config.space, config.num_cells))
    return Searcher(config, ALONE, data=data, state=state, tables=found)


def run(searcher: Searcher, steps: int) -> Searcher:
    for _ in range(steps):
        searcher.advance()
    return searcher


@pytest.mark.parametrize("name", CASES)
def test_a_method_goes_on_where_it_stopped(name: str, half: ImageData, tmp_path: Path) -> None:
    """Interrupted before and after the stages change."""
    whole = make(half, **CASES[name])
    stopped = make(half, whole.state() | {"step": 0}, **CASES[name])
    for steps in (1, 2, 3):
        run(whole, steps)
        run(stopped, steps)
        path = tmp_path / f"{whole.step}.pt"
        checkpoint.save(path, stopped.state())
        stopped = make(half, checkpoint.load(path), **CASES[name])
    assert whole.step == whole.problem.total_steps
    for found, expected in (
        (stopped.supernet.state_dict(), whole.supernet.state_dict()),
        (stopped.hypernet.state_dict(), whole.hypernet.state_dict()),
    ):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in found)
    assert all(tensor.isfinite().all() for tensor in whole.supernet.parameters())
    lams = whole.problem.lam_range.grid(5)
    assert torch.equal(stopped.front().choices(lams), whole.front().choices(lams))


NEEDED = {"rc-darts": {"bounds": ("params=2k",)}, "budgeted": {"bounds": ("params=2k",)}}


CORNERED = ("darts", "rc-darts", "drnas", "fbnet", "gibbs", "evolution")


@pytest.mark.parametrize(
    ("name", "corner"), [*((name, False) for name in METHODS), *((name, True) for name in CORNERED)]
)
def test_every_named_method_is_a_search(name: str, corner: bool, half: ImageData) -> None:
    """By the command line, which gives what the table says; and two steps of it."""
    needed = NEEDED.get(name, {})
    args = [part for k, v in needed.items() for part in (f"--{k}", *v)]
    base = replace(TINY, **DARTS_CELL, batch_size=64)
    config = settled(parse(SearchConfig, base, options(name) + args, "search.py"), name)
    for key, value in METHODS[name].items():
        assert getattr(config, key) == value
    if corner:
        config = replace(config, **CORNER | ({"finalists": 0, "finalist_source": "drawn"}))
    searcher = Searcher(config, ALONE, data=half, tables=dict(tables(config.space, 1)))
    before = [parameter.detach().clone() for parameter in searcher.problem.arch]
    run(searcher, 2)
    moved = any(
        not torch.equal(old, new) for old, new in zip(before, searcher.problem.arch, strict=True)
    )
    assert moved == (name not in RESTING)
    front = searcher.front()
    cells = front.likely(front.lam_range.grid(3))
    if corner:
        assert len(cells.unique(dim=0)) == 1


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(InputError, match="unknown method 'drna': did you mean 'drnas'"):
        options("drna")


def test_stages_prune_and_widen(digits: ImageData) -> None:
    searcher = make(digits, **CASES["drnas"])
    space, lams = searcher.problem.skeleton.space, searcher.problem.lam_range.grid(5)
    seen = []
    while searcher.step < searcher.problem.total_steps:
        searcher.advance()
        probs = searcher.front().log_probs(lams).exp()
        left = (probs > 0).sum(dim=-1)
        seen.append((searcher.supernet.partial, int(left.min()), int(left.max())))
    assert list(dict.fromkeys(seen)) == [(4, 8, 8), (2, 4, 4), (1, 2, 2)]
    kept = searcher.problem.objective.distribution.kept
    assert kept is not None
    for row, choices in zip(kept, searcher.front().choices(lams).T, strict=True):
        assert set(choices.tolist()) <= {*row.tolist(), space.none}


@pytest.mark.parametrize("limit", [1500, 4000])
@pytest.mark.parametrize("method", ["rc", "budget"])
def test_bounds_hold_for_every_cell_of_a_search(limit: int, method: str, half: ImageData) -> None:
    bounds = (f"params={limit}",)
    searcher = run(make(half, **CASES[method] | {"bounds": bounds}), 4)
    dearest = searcher.problem.skeleton.space.ops.index("nor_conv_3x3")
    with torch.no_grad():
        searcher.hypernet.scores[:, dearest] += 5.0  # type: ignore[index]
    front = searcher.front()
    lams, params = front.lam_range.grid(30), front.tables["params"]
    assert (params.totals(front.choices(lams)) <= limit).all()
    likeliest = front.log_probs(lams).argmax(dim=-1)
    assert (params.totals(likeliest) > limit).any()  # it would not be so by itself


def test_bounds_hold_for_finalists_too(digits: ImageData) -> None:
    changes = {"bounds": ("params=2500",), "finalists": 60, "lam_low": (1e-4,)}
    searcher = run(make(digits, **CASES["budget"] | changes), 2)
    searcher.finalists = score_finalists([searcher])
    front = searcher.front()
    assert front.finalists is not None
    costs = front.tables["params"].totals(front.finalists.choices)
    assert (costs > 2500).any() and (costs <= 2500).any()
    cells = front.choices(front.lam_range.grid(30))
    assert (front.tables["params"].totals(cells) <= 2500).all()
    assert len(cells.unique(dim=0)) > 1


def test_a_projected_search_expects_no_more_than_its_bound(half: ImageData) -> None:
    """Multiples of the bound at the three levels: those of the start, to the power ⅔, ⅓, 0."""
    changes = {"bounds": ("params=1300",), "lam": (1e-6,), "arch_lr": 0.3}
    searcher = make(half, **CASES["rc"] | changes)
    constraint = searcher.constraint
    assert constraint is not None and constraint.start > 1.5
    for level in (2 / 3, 1 / 3, 0.0):
        run(searcher, 2)
        (spent,) = constraint.row()["bounded"]
        assert spent <= constraint.start**level + 1e-6


def test_a_multiplier_grows_while_the_budget_is_exceeded(digits: ImageData) -> None:
    searcher = make(digits, **CASES["budget"] | {"bounds": ("params=1500",)})
    constraint, former = searcher.constraint, 0.0
    assert constraint is not None
    signs = set()
    for _ in range(8):
        searcher.advance()
        val = searcher.problem.sample("val", searcher.step - 1)
        exceeded = float(constraint.excess(val.unit_lams).detach().mean()) > 0
        now = float(constraint.multipliers[0])
        assert now > former if exceeded else now <= former
        former = now
        signs.add(exceeded)
    assert signs == {True, False}


def test_random_perturbations_grow_from_nothing_and_spare_validation(digits: ImageData) -> None:
    problem = make(digits, relax="softmax", perturb="random", warmup_epochs=1).problem
    assert problem.sample("train", 4).perturbations is None
    assert problem.sample("val", 11).perturbations is None
    for step, radius in ((8, 0.15), (11, 0.2625)):
        (drawn,) = problem.sample("train", step).perturbations or [torch.zeros(())]
        assert 0.9 * radius < float(drawn.abs().max()) <= radius
        assert torch.equal(drawn, problem.sample("train", step).perturbations[0])  # type: ignore[index]


def test_perturbed_weights_add_up_to_one_over_the_candidates_that_are_left(
    digits: ImageData,
) -> None:
    problem = make(digits, relax="softmax", perturb="random", warmup_epochs=1).problem
    objective, sample = problem.objective, problem.sample("train", 11)
    kept = torch.tensor([[0, 2, 4]]).expand(problem.skeleton.space.num_edges, -1)
    objective.restrict(kept)
    with torch.no_grad():
        logits, _ = objective.arch_logits(sample)
        ((weights, _),) = objective.op_weights(sample, logits)
        ((still, _),) = objective.op_weights(sample._replace(perturbations=None), logits)
    assert float((weights - still).abs().max()) > 0.01
    assert not weights[:, [1, 3]].any()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights)))


def test_adversarial_perturbations_raise_the_loss_inside_their_ball(digits: ImageData) -> None:
    searcher = run(make(digits, relax="softmax", perturb="adversarial"), 8)
    problem = searcher.problem
    random, attacked = problem.sample("train", 8), searcher.draw_train()
    radius = problem.schedule.perturb_radius(8)
    assert attacked.perturbations is not None
    assert float(attacked.perturbations[0].abs().max()) <= radius + 1e-7

    def loss(perturbations: Any) -> float:
        sample = random._replace(perturbations=perturbations)
        return float(problem.evaluate(sample, problem.weights, problem.arch).nll.detach())

    assert loss(attacked.perturbations) > loss(random.perturbations) > 0
    assert loss(attacked.perturbations) > loss(None)


def test_the_hessian_is_that_of_the_validation_loss(digits: ImageData) -> None:
    """The largest eigenvalue of the whole matrix, by torch."""
    searcher = run(make(digits, space="nasbench201", relax="softmax", hessian=True), 3)
    problem = searcher.problem
    middle = problem.lam_range.grid(3)[1:2]
    unit = problem.lam_range.unit(middle).float()
    val = problem.sample("val", searcher.step)._replace(lams=middle, unit_lams=unit)

    def loss(logits: Tensor) -> Tensor:
        return problem.evaluate(val, problem.weights, problem.arch, logits=logits).objective

    logits = problem.hypernet(unit).detach()
    matrix = torch.autograd.functional.hessian(loss, logits).reshape(30, 30)
    values = torch.linalg.eigvalsh(matrix)
    row = searcher.row()
    assert row["hessian"] == pytest.approx(float(values[-1]), rel=1e-4)
    assert row["hessian_residual"] < 1e-3 * row["hessian"]


def test_sampled_costs_are_those_of_the_weights_that_were_drawn(digits: ImageData) -> None:
    problem = make(digits, relax="straight_through", resource="sampled").problem
    sample = problem.sample("val", 0)
    terms = problem.evaluate(sample, problem.weights, problem.arch)
    logits = problem.hypernet(sample.unit_lams)[0]
    _, active = problem.objective.relaxation(logits, sample.relax_noise[0], 1.0)
    assert active is not None
    table = problem.tables["params"]
    expected = (table.total(active) - table.low) / (table.high - table.low)
    assert float(terms.costs[0].detach()) == pytest.approx(expected, abs=1e-6)


def test_the_straight_through_gradient_is_that_of_its_definition(digits: ImageData) -> None:
    """∂L/∂h_eo = Σ_o' ∂L/∂z_eo' · s_o' (δ_oo' − s_o) / T, s the noisy softmax, on a tiny cell.

    Of ∂L/∂z only the entry of the operation that was computed is known: ⟨∂L/∂node, op(x)⟩, taken
    here by a difference; the others count as 0.
    """
    problem = make(digits, space="nasbench201", hypernet="constant", num_cells=1).problem
    supernet = problem.supernet.double()
    sample, temperature = problem.sample("val", 0), 0.7
    x, relaxation = sample.x[:16].double(), problem.objective.relaxation
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    noise = torch.zeros(6, 5, dtype=torch.float64)
    chosen = [3, 2, 3, 1, 3, 2]
    noise[range(6), chosen] = 5.0

    def loss_of(weights: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(supernet(x, weights, chosen), sample.y[:16])

    leaf = logits.clone().requires_grad_()
    weights, active = relaxation(leaf, noise, temperature)
    assert active == tuple(chosen)
    (found,) = torch.autograd.grad(loss_of(weights), leaf)
    soft = ((logits + noise) / temperature).softmax(dim=-1)
    hard = torch.nn.functional.one_hot(torch.tensor(chosen), 5).double()
    for edge, op in enumerate(chosen):
        step = torch.zeros_like(hard)
        step[edge, op] = 1e-5
        with torch.no_grad():
            slope = (loss_of(hard + step) - loss_of(hard - step)) / 2e-5
        expected = slope * soft[edge, op] * (hard[edge] - soft[edge]) / temperature
        torch.testing.assert_close(found[edge], expected, rtol=1e-4, atol=1e-9)
    assert float(found.abs().max()) > 1e-4


@pytest.mark.parametrize("resource", ["expected", "sampled"])
def test_the_resources_gradient_is_that_of_the_closed_form(
    resource: str, digits: ImageData
) -> None:
    """∂E[C]/∂h_eo = π_eo (c_eo − E[C_e]), from the mean over draws at a low temperature."""
    problem = make(digits, relax="gumbel", resource=resource, hypernet="constant").problem
    objective, table = problem.objective, problem.objective.tables[0]
    sample = problem.sample("train", 0)
    logits = torch.randn(table.shape, generator=torch.Generator().manual_seed(0))
    probs = logits.softmax(dim=-1)
    expected = probs * (table - (probs * table).sum(dim=1, keepdim=True))
    nll, draws = torch.zeros(()), 1 if resource == "expected" else 3000
    total = torch.zeros_like(table)
    generator = torch.Generator().manual_seed(1)
    for _ in range(draws):
        leaf = logits.clone().requires_grad_()
        noise = objective.relaxation.noise(*table.shape, 1, generator)
        weights, _ = objective.relaxation(leaf, noise, 0.2)
        terms = objective._terms(
            sample, torch.ones(1), leaf, weights, (nll, nll), objective.unit_costs(), False
        )
        total += torch.autograd.grad(terms.costs.sum(), leaf)[0]
    error = (total / draws - expected).abs().max()
    assert float(error) < (1e-6 if resource == "expected" else 0.1 * float(expected.abs().max()))


def test_the_score_function_gradient_of_the_resource_is_the_closed_form_too() -> None:
    """Mean over draws of (C(γ) − b) ∇ log q(γ), with the baseline b = E[C]."""
    table = torch.rand(4, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    probs = logits.softmax(dim=-1)
    expected = probs * (table - (probs * table).sum(dim=1, keepdim=True))
    cells = torch.cartesian_prod(*[torch.arange(5)] * 4)  # all 625, weighed by their probability
    chance = probs[torch.arange(4), cells].prod(dim=1)
    cost = table[torch.arange(4), cells].sum(dim=1)
    score = torch.nn.functional.one_hot(cells, 5).double() - probs
    found = (chance * (cost - (chance * cost).sum())) @ score.flatten(1)
    torch.testing.assert_close(found.reshape(4, 5), expected)
