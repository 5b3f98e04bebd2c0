"""Finalists: drawn over all costs, scored once, chosen along the dial."""

import itertools
import random
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cells.cost import CostTable
from cells.notation import read_genotype
from cells.space import find_space
from nas.cell_search import ensemble, finalist_scores
from nas.cell_search import run as cell_run
from nas.cell_search.config import SearchConfig
from nas.cell_search.finalist_scores import (
    finalists_within,
    naswot_scores,
    score_finalists,
)
from nas.cell_search.folder import read_run
from nas.cell_search.fronts import load_front, make_front, make_hypernet
from nas.cell_search.problem import Problem
from nas.cell_search.searcher import Searcher
from nas.data.augmentation import normalise
from nas.data.batches import Split, draw_part
from nas.data.datasets import ImageData, load_data
from nas.reports.report import read_rows, supernet_accuracy
from nas.run import search
from nas.runtime import checkpoint
from nas.runtime.processes import Processes
from nas.runtime.signals import Stopped
from nas.selection import naswot
from nas.selection.evolution import POPULATION
from nas.selection.finalists import (
    BANDS,
    LAMS,
    Finalists,
    budgets_at,
    credit,
    draw,
    draw_uniform,
    evolve,
    networks,
    pick,
)

NB201 = find_space("nasbench201")
PRICES = torch.tensor([0.0, 0.0, 1.0, 9.0, 0.0], dtype=torch.float64).expand(6, 5)
ALONE = Processes(0, 1, torch.device("cpu"))


def prices(choices: Tensor) -> Tensor:
    return 1 + PRICES[0][choices].sum(dim=1, keepdim=True)


def drawn(logits: Tensor, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return draw(NB201, logits, "most_probable", count, prices, generator)


def test_finalists_are_different_connected_and_of_all_costs() -> None:
    cells = drawn(torch.zeros(3, 6, 5), 200)
    assert len(cells) == len(cells.unique(dim=0)) == 200
    assert all(NB201.connected(cell) for cell in cells.tolist())
    position = prices(cells)[:, 0].log() / prices(torch.full((1, 6), 3)).log()[0, 0]
    counts = position.histc(10, 0, 1)
    # A cell has no more than 55 parameters' worth of steps: some tenths hold few cells at all.
    assert float(counts.min()) >= 10 and float(counts.max()) <= 40


def test_of_equal_cost_the_likeliest_are_kept() -> None:
    logits = torch.zeros(1, 6, 5)
    logits[0, :, 1] = 2.0  # skips are likelier than pools at the same price
    cells = drawn(logits, 40)
    skips, pools = ((cells == op).sum() for op in (1, 4))
    assert int(skips) > 5 * int(pools)


def test_sure_distributions_give_their_own_cells() -> None:
    rows = torch.tensor([[3, 1, 0, 3, 1, 3], [1, 1, 0, 2, 1, 0]])
    logits = 80.0 * torch.nn.functional.one_hot(rows, 5)
    assert drawn(logits, 50).tolist() == sorted(rows.tolist())


def test_cells_without_a_path_are_no_finalists() -> None:
    logits = 80.0 * torch.nn.functional.one_hot(torch.tensor([[0] * 6, [1] * 6]), 5)
    assert drawn(logits, 50).tolist() == [[1] * 6]
    assert drawn(logits[:1], 50).tolist() == [[0] * 6]


def test_draws_repeat_by_seed() -> None:
    logits = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(2))
    assert torch.equal(drawn(logits, 60), drawn(logits, 60))
    assert not torch.equal(drawn(logits, 60), drawn(logits, 60, seed=1))


def test_the_dial_is_even_in_log_cost() -> None:
    costs = torch.tensor([[10.0, 5.0], [1000.0, 0.0], [30.0, 1.0]], dtype=torch.float64)
    unit_lams = torch.tensor([[0.0, 0.0], [0.5, 0.5], [1.0, 1.0]], dtype=torch.float64)
    # What costs nothing counts as a thousandth of the largest cost.
    wanted = [1000.0, 5.0, 100.0, 5.0 * 1e-3**0.5, 10.0, 0.005]
    assert budgets_at(unit_lams, costs).flatten().tolist() == pytest.approx(wanted)


def test_credit_is_what_cost_is_seen_to_be_worth() -> None:
    position = torch.tensor([0.0, 0.04, 0.5, 1.0], dtype=torch.float64)
    nll = torch.tensor([0.9, 0.8, 0.5, 0.7], dtype=torch.float64)
    assert credit(nll, position) == pytest.approx(0.8 - 0.5)
    assert credit(-position, position) == pytest.approx(0.96)
    assert credit(position, position) == 0.0  # nothing is seen in it


def test_a_pick_is_the_best_within_its_budget() -> None:
    costs = torch.tensor([[1.0], [10.0], [50.0], [99.0], [100.0]], dtype=torch.float64)
    budgets = torch.tensor([[100.0], [99.5], [70.0], [49.0], [9.0], [0.5]], dtype=torch.float64)
    # Cost is seen to be worth nothing, equals are the cheaper; nothing is within 0.5: the nearest.
    plain = torch.tensor([0.5, 0.6, 0.5, 0.9, 0.5])
    assert pick(plain, costs, budgets, torch.arange(5)).tolist() == [0] * 6
    # With a credit of 0.4 from 1 to 100, 0.95 of it at most: 0.9, 0.3, 0.21, 0.17, 0.32.
    seen = torch.tensor([0.9, 0.5, 0.55, 0.55, 0.7])
    assert pick(seen, costs, budgets, torch.arange(5)).tolist() == [3, 3, 2, 1, 0, 0]
    # With all of it the most expensive would be ahead by 0.0001.
    seen[4] = 0.5508
    assert pick(seen, costs, budgets, torch.arange(5)).tolist() == [3, 3, 2, 1, 0, 0]


def test_dead_edges_earn_no_credit() -> None:
    """Of one network the least expensive cell, even where another has the cost for more credit."""
    costs = torch.tensor([[1.0], [10.0], [30.0], [100.0], [1000.0]], dtype=torch.float64)
    losses = torch.tensor([0.9, 0.5, 0.5, 0.48, 0.5])
    budgets = torch.tensor([[1000.0], [50.0], [5.0]], dtype=torch.float64)
    assert pick(losses, costs, budgets, torch.arange(5)).tolist() == [4, 2, 0]
    # 0.42 from 1 to 1000: worth 0.48, 0.36, and 0.20 for the most expensive one.
    assert pick(losses, costs, budgets, torch.tensor([0, 1, 1, 2, 1])).tolist() == [3, 1, 0]


def test_cells_that_differ_in_dead_edges_are_one_network() -> None:
    cells = torch.tensor([[0, 3, 0, 1, 0, 1], [3, 3, 0, 1, 0, 1], [0, 3, 0, 1, 0, 2], [3] * 6])
    each, number = networks(NB201, cells)
    assert len(each) == 3 and number[0] == number[1] and len(number.unique()) == 3
    assert each[number].tolist() == [list(NB201.live(cell)) for cell in cells.tolist()]


def test_all_of_several_budgets_are_kept() -> None:
    nll = torch.tensor([0.3, 0.2, 0.1, 0.4])
    costs = torch.tensor([[10, 10], [95, 10], [95, 95], [200, 1]], dtype=torch.float64)
    budgets = torch.tensor([[100, 100], [100, 20], [20, 20], [5, 5]], dtype=torch.float64)
    # The last budget suits no cell: [10, 10] exceeds it least.
    assert pick(nll, costs, budgets, torch.arange(4)).tolist() == [2, 1, 0, 0]


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32), bias=st.floats(-3, 3))
def test_costs_never_rise_along_the_dial(seed: int, bias: float) -> None:
    """Whatever the scores."""
    generator = torch.Generator().manual_seed(seed)
    logs = 5 * torch.rand(60, 1, generator=generator, dtype=torch.float64)
    nll = torch.rand(60, generator=generator) + bias * logs[:, 0]
    unit_lams = torch.linspace(0, 1, 40, dtype=torch.float64)[:, None]
    found = logs[pick(nll, logs.exp(), budgets_at(unit_lams, logs.exp()), torch.arange(60)), 0]
    assert float(found.diff().max()) <= 0


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32))
def test_a_smaller_budget_for_one_cost_never_raises_it(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    costs = (5 * torch.rand(60, 2, generator=generator, dtype=torch.float64)).exp()
    nll = torch.rand(60, generator=generator)
    budgets = torch.tensor([[100.0, 30.0]] * 40, dtype=torch.float64)
    budgets[:, 0] = torch.linspace(5, 0, 40, dtype=torch.float64).exp()
    found = pick(nll, costs, budgets, torch.arange(60))
    within = (costs[found] <= budgets).all(dim=1)
    assert float(costs[found][within, 0].diff().max()) <= 0


def test_likely_cells_are_believed_more() -> None:
    found = Finalists(
        torch.zeros(2, 6).long(),
        torch.tensor([1.0, 1.1]),
        torch.tensor([-30.0, -10.0]),
        torch.tensor([9.0, 8.5]),
    )
    assert found.losses(0.0, 0.0).argmin() == 0 and found.losses(0.012, 0.0).argmin() == 1
    assert found.losses(0.012, 0.0).tolist() == pytest.approx([1.18, 1.16])
    assert found.losses(0.012, 0.1).tolist() == pytest.approx([0.28, 0.31])


# ---------------------------------------------------------------- from elsewhere


def connected_cells() -> Tensor:
    every = itertools.product(range(5), repeat=6)
    return torch.tensor([cell for cell in every if NB201.connected(cell)])


def test_random_finalists_are_of_all_costs_and_of_all_cells() -> None:
    """As many of each part of the range of costs, none of the cells liked more than others."""
    cells = draw_uniform(NB201, 400, prices, random.Random(0))
    assert len(cells) == len(cells.unique(dim=0)) == 400
    assert all(NB201.connected(cell) for cell in cells.tolist())
    most = float(prices(torch.full((1, 6), 3)).log())
    each, there = (
        (prices(some)[:, 0].log() / most).histc(BANDS, 0, 1) for some in (cells, connected_cells())
    )
    # Some twentieths hold few cells or none; the others share what is left alike.
    assert float(each.max()) <= 40
    assert all(k >= min(30, 0.3 * n) for k, n in zip(each, there, strict=True) if n > 20)
    assert torch.equal(cells, draw_uniform(NB201, 400, prices, random.Random(0)))
    # Skips and pools cost alike, and are as likely: a standard deviation is 0.02.
    skips, pools = ((cells == op).sum().item() for op in (1, 4))
    assert skips / (skips + pools) == pytest.approx(0.5, abs=0.06)


def test_several_costs_do_not_make_random_finalists_fewer() -> None:
    def two(choices: Tensor) -> Tensor:
        return torch.cat([prices(choices), 2 + (choices == 1).sum(dim=1, keepdim=True)], dim=1)

    for count in (1, 7, 60):
        cells = draw_uniform(NB201, count, two, random.Random(0))
        assert len(cells.unique(dim=0)) == count


def test_evolved_finalists_are_all_that_was_scored() -> None:
    """Along the dial they are closer to the best of the space than as many random cells."""
    losses = torch.rand(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scored = []

    def nll_of(choices: Tensor) -> Tensor:
        return losses[torch.arange(6), choices].sum(dim=1)

    def value_of(choices: Tensor) -> Tensor:
        return nll_of(choices) - 0.3 * prices(choices)[:, 0].sqrt()

    def finalists_of(choices: Tensor) -> Finalists:
        scored.append(tuple(choices[0].tolist()))
        zeros = torch.zeros(len(choices), dtype=torch.float64)
        return Finalists(choices, nll_of(choices), zeros, prices(choices)[:, 0].sqrt())

    found = evolve(NB201, 600, prices, finalists_of, 0.3, random.Random(0))
    assert [tuple(cell) for cell in found.choices.tolist()] == scored and len(set(scored)) == 600
    torch.testing.assert_close(found.nll, nll_of(found.choices))
    torch.testing.assert_close(found.losses(0.02, 0.3), value_of(found.choices))

    every = connected_cells()
    budgets = budgets_at(torch.linspace(0, 1, 10, dtype=torch.float64)[:, None], prices(every))

    def best(cells: Tensor) -> Tensor:
        """Least value within each budget, (10,)."""
        fits = prices(cells)[:, 0] <= budgets * (1 + 1e-9)
        return torch.where(fits, value_of(cells), torch.inf).amin(dim=1)

    behind = best(found.choices) - best(every)
    chance = best(draw_uniform(NB201, 600, prices, random.Random(0))) - best(every)
    assert 0 <= float(behind.sum()) < 0.1 * float(chance.sum()) < torch.inf


# ---------------------------------------------------------------- in a search


CONFIG = SearchConfig(
    data="digits", channels=4, num_cells=2, epochs=1, warmup_epochs=0, batch_size=64,
    estimator="score", hypernet="piecewise", finalists=25, crop_padding=1, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", Path("data"))


@pytest.fixture(scope="module")
def few(digits: ImageData) -> ImageData:
    """A quarter of the images: two steps an epoch."""
    return replace(digits, train=Split(digits.train.images[::4], digits.train.labels[::4]))


@pytest.fixture(scope="module")
def searcher(digits: ImageData) -> Searcher:
    made = Searcher(CONFIG, ALONE, data=digits)
    for _ in range(3):
        made.advance()
    made.finalists = score_finalists([made])
    return made


def by_network(cells: Tensor, probs: Tensor) -> Tensor:
    """Probabilities of networks, for each cell that is one of theirs."""
    live = [NB201.live(cell) for cell in cells.tolist()]
    return torch.stack(
        [sum(p for p, other in zip(probs, live, strict=True) if other == own) for own in live]
    )


def test_finalists_are_scored_alike(searcher: Searcher) -> None:
    """One cell at a time gives what all at once give; the supernet stays as it is."""
    before = {k: v.clone() for k, v in searcher.supernet.state_dict().items()}
    choices, nll, log_q, _ = searcher.finalists
    assert len(networks(NB201, choices)[0]) <= 25 and nll.dtype == torch.float64
    assert len(choices) == len(choices.unique(dim=0)) == len(nll)
    alone = torch.cat([searcher.problem.likelihoods(cell[None], 1000) for cell in choices[:4]])
    torch.testing.assert_close(alone, nll[:4])
    lams = searcher.front().lam_range.grid(LAMS)
    probs = searcher.front().log_probs(lams).exp()
    each = probs[:, torch.arange(6)[None], choices].prod(dim=2).mean(dim=0)
    torch.testing.assert_close(log_q.exp(), by_network(choices, each), rtol=1e-5, atol=1e-12)
    few = searcher.problem.likelihoods(choices[:4], 64)
    assert not torch.allclose(few, nll[:4], atol=1e-4)
    after = searcher.supernet.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())


def test_a_network_is_scored_once(few: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Searcher(
        replace(CONFIG, space="nasbench201", finalists=60, finalist_source="random"),
        ALONE, data=few,
    )  # fmt: skip
    scored, likelihoods = [], made.problem.likelihoods

    def watched(cells: Tensor, images: int) -> Tensor:
        scored.extend(map(tuple, cells.tolist()))
        return likelihoods(cells, images)

    monkeypatch.setattr(made.problem, "likelihoods", watched)
    choices, nll, _, naswot_of_each = score_finalists([made])
    cells = [tuple(cell) for cell in choices.tolist()]
    assert len(cells) >= 60 > len(scored) == len(set(scored))
    assert set(scored) == {NB201.live(cell) for cell in cells} <= set(cells)
    alone = torch.cat([likelihoods(cell[None], 1000) for cell in choices[:20]])
    torch.testing.assert_close(nll[:20], alone)  # dead edges change nothing
    torch.testing.assert_close(naswot_of_each, naswot_scores(made, choices))


def test_naswot_scores_stand_beside_likelihoods(digits: ImageData) -> None:
    """Those of the run's own images and sizes; without a price they are not looked at."""
    choices = torch.tensor([[3] * 6, [1] * 6, [3, 1, 0, 2, 1, 4]])
    made = Searcher(replace(CONFIG, space="nasbench201"), ALONE, data=digits)
    part = draw_part(made.problem.val, 64, CONFIG.split_seed)
    x = normalise(part.images, digits.mean, digits.std)
    wanted = naswot.scores(made.problem.skeleton, choices, x, CONFIG.seed)
    assert torch.equal(naswot_scores(made, choices), wanted)
    assert float(wanted.diff().abs().min()) > 0.01
    free = Searcher(replace(CONFIG, space="nasbench201", naswot=0.0), ALONE, data=digits)
    assert not naswot_scores(free, choices).any()


def test_a_price_for_naswot_moves_the_choice() -> None:
    config = replace(CONFIG, space="nasbench201", lam_low=(0.1,), lam_high=(1.0,))
    tables = {"params": CostTable("params", 1.0, PRICES.clone())}
    cells = torch.tensor([[3, 1, 0, 1, 1, 1], [1, 3, 0, 1, 1, 1]])
    found = Finalists(cells, torch.tensor([0.50, 0.53]), torch.zeros(2), torch.tensor([9.0, 9.5]))
    for price, best in ((0.0, 0), (0.05, 0), (0.07, 1)):
        hypernet = make_hypernet(config, tables)
        front = make_front(replace(config, naswot=price), hypernet, tables, found)
        assert front.choices(front.lam_range.grid(2)).tolist() == [cells[best].tolist()] * 2


def test_the_front_chooses_among_finalists(searcher: Searcher) -> None:
    front = searcher.front()
    lams = front.lam_range.grid(9)
    known = {tuple(cell): float(v) for cell, v in zip(
        front.finalists.choices.tolist(), front.finalists.nll, strict=True)}  # fmt: skip
    chosen = [tuple(cell) for cell in front.choices(lams).tolist()]
    assert set(chosen) <= set(known)
    assert all(NB201.live(cell) == cell for cell in chosen)  # the others are no better
    budgets, costs = front.budgets(lams)[:, 0], front.costs_of(torch.tensor(chosen))[:, 0]
    assert bool((costs <= budgets * (1 + 1e-9)).all())
    all_costs = front.costs_of(front.finalists.choices)[:, 0]
    assert float(budgets[0]) == pytest.approx(float(all_costs.max()))
    assert float(budgets[-1]) == pytest.approx(float(all_costs.min()))
    genotype = front.within(params=float(all_costs.min()) * 1.001)
    assert genotype.costs["params"] <= float(all_costs.min()) * 1.001


def test_finalists_survive_a_checkpoint(
    searcher: Searcher, digits: ImageData, tmp_path: Path
) -> None:
    checkpoint.save(tmp_path / "checkpoint.pt", searcher.state())
    lams = searcher.front().lam_range.grid(9)
    wanted = searcher.front().choices(lams)
    assert torch.equal(load_front(tmp_path).choices(lams), wanted)
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    again = Searcher(CONFIG, ALONE, data=digits, state=state)
    assert torch.equal(again.front().choices(lams), wanted)
    del state["finalists"]["naswot"]  # as before there were such scores
    older = Searcher(CONFIG, ALONE, data=digits, state=state).finalists
    assert older is not None and torch.equal(older.naswot, torch.zeros_like(older.nll))
    del state["finalists"]  # as before there were any
    old = Searcher(CONFIG, ALONE, data=digits, state=state)
    assert old.finalists is None


def test_a_single_lam_asks_for_what_its_hypernetwork_likes() -> None:
    config = replace(CONFIG, lam=(0.5,), hypernet="constant")
    tables = {"params": CostTable("params", 1.0, PRICES.clone())}
    hypernet = make_hypernet(config, tables)
    likely = torch.tensor([[3, 0, 0, 1, 2, 0]])
    with torch.no_grad():
        for parameter in hypernet.parameters():
            parameter.copy_(5.0 * torch.nn.functional.one_hot(likely, 5).reshape(parameter.shape))
    cells = torch.tensor([[3, 3, 3, 3, 3, 3], [3, 1, 0, 1, 2, 0], [1, 1, 1, 1, 1, 1]])
    front = make_front(
        config,
        hypernet,
        tables,
        Finalists(cells, torch.tensor([0.1, 0.6, 0.5]), torch.zeros(3), torch.zeros(3)),
    )
    lams = config.lam_range().grid(1)
    assert float(front.budgets(lams)) == 11.0
    assert front.choices(lams).tolist() == [cells[1].tolist()]


def test_a_search_leaves_its_finalists_and_resumes_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, grid=5, eval_images=50)
    search(config, tmp_path / "run")
    front = load_front(tmp_path / "run")
    assert front.finalists is not None
    rows = read_rows(tmp_path / "run")
    assert {row["genotype"] for row in rows} == {
        front.at(lam).id for lam in front.lam_range.grid(5)[:, 0].tolist()
    }
    monkeypatch.setattr(cell_run, "score_finalists", None)  # chosen once
    state = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    search(config, tmp_path / "run", state=state)
    assert read_rows(tmp_path / "run") == rows


@pytest.mark.parametrize(("space", "source"), [("nasbench201", "random"), ("darts", "evolved")])
def test_a_search_that_only_trains_weights_has_a_front(
    space: str,
    source: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Random search with weight sharing, and evolution over the same weights, as settings."""
    monkeypatch.setattr(finalist_scores, "IMAGES", 100)
    count = POPULATION + 6
    config = replace(
        CONFIG, space=space, finalist_source=source, finalists=count, epochs=2, warmup_epochs=2,
        estimator="relaxed", hypernet="constant", trained_cells="prior", grid=5, eval_images=50,
    )  # fmt: skip
    search(config, tmp_path / "run")
    front = load_front(tmp_path / "run")
    found = front.finalists
    cells = {tuple(cell) for cell in found.choices.tolist()}
    live = {front.space.live(cell) for cell in cells}
    assert len(cells - live) <= count <= len(cells) == len(found.choices)
    assert len(cells) == count if source == "evolved" else live <= cells
    assert not found.log_q.any()
    assert all(front.space.connected(cell) for cell in found.choices.tolist())
    lams = front.lam_range.grid(5)
    costs = front.costs_of(front.choices(lams))[:, 0]
    budgets = front.budgets(lams)[:, 0]
    assert bool((costs <= budgets * (1 + 1e-9)).all()) and float(costs.diff().max()) <= 0
    assert float(budgets[0]) == pytest.approx(float(front.costs_of(found.choices).max()))
    # The hypernetwork has not moved: all operations alike.
    said = capsys.readouterr().out
    entropy = float(torch.tensor(float(len(front.space.ops))).log())
    assert f"entropy: {entropy:.2f} nats at the lowest λ, {entropy:.2f} at the highest" in said
    assert "rises at 0 of them" in said
    at = front.at(float(lams[2]))
    assert at.choices() in {tuple(cell) for cell in found.choices.tolist()}


def test_half_of_mixed_finalists_are_random(digits: ImageData) -> None:
    """Cells that a sure hypernetwork would never draw stand beside those it draws.

    Its word counts where it knows a cell; of the others it says no more than a uniform one does.
    """
    config = replace(CONFIG, space="nasbench201", finalist_source="mixed", finalists=60)
    made = Searcher(config, ALONE, data=digits)
    liked = torch.tensor([3, 1, 0, 2, 1, 3])
    with torch.no_grad():
        for parameter in made.hypernet.parameters():
            parameter.copy_(40.0 * torch.nn.functional.one_hot(liked, 5).expand_as(parameter))
    found = score_finalists([made])
    _, number = networks(NB201, found.choices)
    assert 31 <= int(number.max()) + 1 <= 60
    known = (found.choices == liked).all(dim=1)
    assert known.sum() == 1
    assert float(found.log_q[known].exp()) == pytest.approx((1 + 5.0**-6) / 2)
    uniform = number.bincount()[number[~known]] * 5.0**-6  # of all cells that are the network
    torch.testing.assert_close(found.log_q[~known].exp(), uniform.double() / 2)
    costs = made.front().costs_of(found.choices)[:, 0].log()
    assert float(costs.diff().abs().max()) > 0 and len(costs.unique()) > 5


@pytest.mark.parametrize("source", ["drawn", "mixed", "random", "evolved"])
def test_a_resumed_search_finds_the_same_finalists(
    source: str, few: ImageData, tmp_path: Path
) -> None:
    # NASWOT scores, which each source treats alike, take longer than all else.
    changes = {} if source == "mixed" else {"naswot": 0.0}
    config = replace(CONFIG, finalist_source=source, finalists=POPULATION + 6, epochs=2, **changes)

    def finish(searcher: Searcher) -> Finalists:
        while searcher.step < searcher.problem.total_steps:
            searcher.advance()
        return score_finalists([searcher])

    whole = finish(Searcher(config, ALONE, data=few))
    half = Searcher(config, ALONE, data=few)
    for _ in range(3):
        half.advance()
    checkpoint.save(tmp_path / "checkpoint.pt", half.state())
    state = checkpoint.load(tmp_path / "checkpoint.pt")
    torch.manual_seed(5)
    random.seed(5)
    again = finish(Searcher(config, ALONE, data=few, state=state))
    for one, other in zip(whole, again, strict=True):
        assert torch.equal(one, other)
    elsewhere = finish(Searcher(replace(config, seed=1), ALONE, data=few))
    assert not torch.equal(whole.choices, elsewhere.choices)


# ---------------------------------------------------------------- of several searches


TWO = replace(CONFIG, grid=5, eval_images=50, searches=2)


@pytest.fixture(scope="module")
def two_searches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("two") / "run"
    search(TWO, run)
    return run


def assert_same_finalists(run: Path, other: Path) -> None:
    """Bit by bit."""
    for one, expected in zip(load_front(run).finalists, load_front(other).finalists, strict=True):
        assert torch.equal(one, expected)


def test_two_searches_share_their_finalists(two_searches: Path) -> None:
    """One run: both distributions draw, both supernets score, the first search is as alone."""
    config, run = TWO, two_searches
    config_1, state_1 = read_run(run / "searches" / "1")
    assert config_1 == config.search_config(1) and state_1["finalists"] is None
    first = Searcher(config, ALONE, state=checkpoint.load(run / "checkpoint.pt"))
    second = Searcher(config_1, ALONE, state=state_1)
    choices, nll, log_q, _ = load_front(run).finalists
    assert len(networks(NB201, choices)[0]) <= 25

    each = [s.problem.likelihoods(choices, 1000) for s in (first, second)]
    assert not torch.allclose(each[0], each[1], atol=1e-3)
    torch.testing.assert_close(nll, (each[0] + each[1]) / 2)
    lams = first.front().lam_range.grid(LAMS)
    by_search = [s.front().log_probs(lams).exp() for s in (first, second)]
    probs = [p[:, torch.arange(6)[None], choices].prod(dim=2).mean(dim=0) for p in by_search]
    wanted = by_network(choices, (probs[0] + probs[1]) / 2)
    torch.testing.assert_close(log_q.exp(), wanted, rtol=1e-5, atol=1e-12)

    alone = Searcher(replace(config, searches=1), ALONE)
    while alone.step < alone.problem.total_steps:
        alone.advance()
    for one, other in zip(alone.problem.weights, first.problem.weights, strict=True):
        assert torch.equal(one, other)

    rows = read_rows(run)
    parts = draw_part(first.problem.val, 50, config.split_seed)
    mean, std = first.problem.task.data.mean, first.problem.task.data.std
    for row in rows:
        cell = read_genotype(run / row["file"]).choices()
        scores = [supernet_accuracy(s.supernet, cell, parts, mean, std) for s in (first, second)]
        assert row["val_accuracy"] == pytest.approx(sum(scores) / 2)


def test_a_run_that_stopped_in_its_second_search_goes_on(
    two_searches: Path, tmp_path: Path, interrupted: Any
) -> None:
    run, total = tmp_path / "run", Searcher(TWO, ALONE).total_steps
    with interrupted(Searcher, total + 3, signal.SIGTERM) as stopped:
        search(TWO, run)
    other = run / "searches" / "1"
    assert str(stopped.value) == f"stopped at step 3 of {other}; go on with --resume {run}"
    assert not (run / "front.csv").exists()
    with interrupted(Searcher, total - 3, signal.SIGTERM):  # the first is not searched again
        search(TWO, run, state=read_run(run)[1])
    assert checkpoint.load(other / "checkpoint.pt")["step"] == total
    search(TWO, run, state=read_run(run)[1])
    for one, other in zip(
        load_front(run).finalists, load_front(two_searches).finalists, strict=True
    ):
        assert torch.equal(one, other)


def test_with_threads_set_searches_run_side_by_side(
    two_searches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the same end, bit by bit, as one after the other."""
    config = replace(TWO, threads=1)
    seeds, advance = set(), Searcher.advance

    def watched(searcher: Searcher) -> None:
        seeds.add(searcher.config.seed)
        advance(searcher)

    monkeypatch.setattr(Searcher, "advance", watched)
    search(config, tmp_path / "beside")
    assert seeds == {config.seed}  # the other one moved in another process
    assert_same_finalists(tmp_path / "beside", two_searches)


def test_supernets_of_a_run_score_side_by_side(
    two_searches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in a thread of its own, with the same result; cells of more than one piece."""
    monkeypatch.setattr(finalist_scores, "PIECE", 4)
    met = threading.Barrier(2, timeout=600)  # two supernets at a time, or an error
    likelihoods = Problem.likelihoods

    def together(problem: Problem, cells: Tensor, images: int) -> Tensor:
        assert len(cells) <= 4
        met.wait()
        return likelihoods(problem, cells, images)

    found = []
    for threads, method in (1, together), (0, likelihoods):
        monkeypatch.setattr(Problem, "likelihoods", method)
        configs = [replace(c, threads=threads) for c in (TWO, TWO.search_config(1))]
        states = [read_run(run)[1] for run in (two_searches, two_searches / "searches" / "1")]
        pairs = zip(configs, states, strict=True)
        found.append(
            score_finalists([Searcher(c, ALONE, state=s | {"finalists": None}) for c, s in pairs])
        )
    assert len(found[0].choices) > 4
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_searches_side_by_side_stop_together(
    two_searches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one of them leaves undone is done by the first one's process."""
    config, run = replace(TWO, threads=1), tmp_path / "run"
    seeds, advance = [], Searcher.advance

    def stop(searcher: Searcher) -> None:
        advance(searcher)
        if searcher.step == 3:
            signal.raise_signal(signal.SIGTERM)

    def watched(searcher: Searcher) -> None:
        seeds.append(searcher.config.seed)
        advance(searcher)

    monkeypatch.setattr(Searcher, "advance", stop)
    with pytest.raises(Stopped):
        search(config, run)
    _, state = read_run(run)
    assert state["step"] == 3
    left = checkpoint.load(run / "searches" / "1" / "checkpoint.pt")["step"]
    total = Searcher(config, ALONE).problem.total_steps
    assert left < total  # told to stop, it has saved
    assert not (run / "front.csv").exists()

    monkeypatch.setattr(Searcher, "advance", watched)
    monkeypatch.setattr(ensemble, "MEMBER", ("false",))  # it ends at once
    search(config, run, state=state)
    other = config.search_config(1).seed
    assert (seeds.count(config.seed), seeds.count(other)) == (total - 3, total - left)
    assert_same_finalists(run, two_searches)


@pytest.mark.parametrize(
    ("source", "count", "taken", "left"),
    [
        ("drawn", 400, 100.0, 400),  # a quarter of 400 s
        ("drawn", 400, 400.0, 100),
        ("drawn", 1, 1e9, 1),
        ("mixed", 400, 1e9, 2),
        ("evolved", 400, 1e9, POPULATION + 1),
    ],
)
def test_a_short_time_leaves_finalists_out(
    source: str, count: int, taken: float, left: int
) -> None:
    config = SearchConfig(finalists=count, finalist_source=source)
    assert finalists_within(config, taken, 400.0) == replace(config, finalists=left)
