"""The search in the space mlp: its bound, runs side by side, resuming, two processes' batches."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cells.errors import InputError
from nas.data.batches import Examples
from nas.data.examples import Task, load_task
from nas.run import ALL_PRESETS, any_config, search
from nas.runtime import checkpoint
from nas.runtime.processes import Processes
from nas.weight_search.config import WeightConfig
from nas.weight_search.networks import Generated
from nas.weight_search.problem import WeightProblem
from nas.weight_search.searcher import WeightSearcher

ALONE = Processes(0, 1, torch.device("cpu"))
CONFIG = WeightConfig(
    data="digits", layers=("8",), epochs=2, batch_size=256, grid=3, device="cpu", knots=3, draws=2
)


@pytest.fixture(scope="module")
def digits() -> Task:
    return load_task("digits", Path("data"))


def moved(config: WeightConfig, task: Task, steps: int = 4) -> WeightSearcher:
    searcher = WeightSearcher(config, ALONE, task)
    for _ in range(steps):
        searcher.advance()
    return searcher


def test_the_bound_is_likelihood_and_priced_kl(digits: Task) -> None:
    """Evaluated by hand for one run, λ by λ."""
    problem = WeightProblem(replace(CONFIG, lams_per_step=2), ALONE, digits)
    sample = problem.sample("train", 0)
    assert sample.lams.shape == (1, 2) and len(set(sample.lams.flatten().tolist())) == 2
    terms = problem.evaluate(sample, problem.weights)
    totals, objective = [], 0.0
    for number in range(2):
        found = problem.hypernet(sample.unit_lams[:, number : number + 1])
        x = sample.x[0, 0].flatten(1)
        for layer, (mean, log_sigma) in enumerate(found.layers):
            m, v = mean[0, 0], (2 * log_sigma[0, 0]).exp()
            average = x @ m[:, :-1].T + m[:, -1]
            variance = x.square() @ v[:, :-1].T + v[:, -1]
            x = average + variance.sqrt() * sample.noises[layer][0, number]
            x = x.relu() if layer == 0 else x
        nll = torch.nn.functional.cross_entropy(x, sample.y[0, 0])
        lam = sample.lams[0, number]
        totals.append(nll + lam * found.kl(CONFIG.prior_variance)[0, 0] / len(digits.train))
        objective += totals[-1] / (1 + lam).sqrt() / 2
    torch.testing.assert_close(terms.total, sum(totals) / 2)
    torch.testing.assert_close(terms.objective, objective)


def test_the_bound_of_points_is_likelihood_and_weight_decay(digits: Task) -> None:
    problem = WeightProblem(replace(CONFIG, weights="point", lams_per_step=2), ALONE, digits)
    sample = problem.sample("train", 0)
    assert not sample.noises
    totals = []
    for number in range(2):
        found = problem.hypernet(sample.unit_lams[:, number : number + 1])
        first, last = (layer.mean[0, 0] for layer in found.layers)
        x = (sample.x[0, 0].flatten(1) @ first[:, :-1].T + first[:, -1]).relu()
        nll = torch.nn.functional.cross_entropy(x @ last[:, :-1].T + last[:, -1], sample.y[0, 0])
        decay = first.square().sum() + last.square().sum()
        price = sample.lams[0, number] / (2 * CONFIG.prior_variance * len(digits.train))
        totals.append(nll + price * decay)
    terms = problem.evaluate(sample, problem.weights)
    torch.testing.assert_close(terms.total, sum(totals) / 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"hypernet": "piecewise"},
        {"hypernet": "lowrank", "hidden": 4},
        {"hypernet": "linear", "lams_per_step": 1},
        {"hypernet": "none"},
        {"hypernet": "none", "weights": "point"},
        {"hypernet": "piecewise", "layers": ("conv2", "pool", "6")},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_runs_side_by_side_equal_runs_one_by_one(digits: Task, changes: dict[str, object]) -> None:
    config = replace(CONFIG, seed=5, runs=2, **changes)
    together = moved(config, digits).problem.hypernet
    start = WeightProblem(config, ALONE, digits).hypernet
    copies = 3 if together.own is not None else 1
    for run in range(2):
        alone = moved(replace(config, seed=5 + run, runs=1), digits).problem.hypernet
        for name, table in alone.tables.items():
            ours = together.tables[name][run * copies : (run + 1) * copies]
            torch.testing.assert_close(ours, table, rtol=1e-4, atol=2e-5)
    far = [(together.tables[n] - start.tables[n]).abs().max() for n in start.tables]
    assert max(float(gap.detach()) for gap in far) > 0.01


def test_networks_by_themselves_equal_one_for_each_lam(digits: Task) -> None:
    """All λs at once are what a search for each would be."""
    config = replace(CONFIG, hypernet="none", initial_sigma_high=CONFIG.initial_sigma)
    together = moved(config, digits).problem
    for number, lam in enumerate(together.own_lams.tolist()):
        alone = moved(replace(config, lam=lam), digits).problem.hypernet
        for name, table in alone.tables.items():
            torch.testing.assert_close(
                together.hypernet.tables[name][number], table[0], rtol=1e-4, atol=2e-5
            )


def test_training_raises_the_evidence_and_lam_lowers_the_kl(digits: Task) -> None:
    config = replace(CONFIG, epochs=30, w_lr=0.02, layers=("16",))
    searcher = moved(config, digits, 150)
    kl = searcher.problem.hypernet.at(torch.linspace(0, 1, 5)).kl(config.prior_variance)[0]
    kl = kl.detach()
    assert bool((kl.diff() < 0).all()) and float(kl[0]) > 10 * float(kl[-1])
    before = WeightProblem(config, ALONE, digits)
    sample = before.sample("train", 999)
    after = searcher.problem.evaluate(sample, searcher.problem.weights)
    assert float(after.total.detach()) < 0.5 * float(
        before.evaluate(sample, before.weights).total.detach()
    )
    assert float(after.accuracy) > 0.5 > 2 * float(before.evaluate(sample, before.weights).accuracy)


def test_a_regression_learns_its_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=generator)
    y = x[:, 0] + 0.2 * torch.randn(400, generator=generator)
    part = Examples(x, y)
    task = Task("line", part, part, 1, True, 0.0, 1.0)
    config = replace(CONFIG, layers=("8",), w_lr=0.02, batch_size=100, epochs=100, lam_high=1.0)
    searcher = moved(config, task, 400)
    noise = searcher.problem.hypernet.at(torch.tensor([0.0])).log_noise.exp()
    assert float(noise.detach()) == pytest.approx(0.2, abs=0.05)


def test_processes_share_a_batch(digits: Task) -> None:
    """Each takes its half of the same batch, and all the same λs."""
    whole = WeightProblem(CONFIG, ALONE, digits).sample("train", 3)
    halves = [
        WeightProblem(CONFIG, Processes(rank, 2, torch.device("cpu")), digits).sample("train", 3)
        for rank in (0, 1)
    ]
    assert torch.equal(torch.cat([half.x for half in halves], dim=2), whole.x)
    assert torch.equal(torch.cat([half.y for half in halves], dim=2), whole.y)
    assert all(torch.equal(half.lams, whole.lams) for half in halves)
    assert not torch.equal(halves[0].noises[0], halves[1].noises[0])
    with pytest.raises(InputError, match="does not divide among 2 processes"):
        WeightProblem(replace(CONFIG, batch_size=255), Processes(0, 2, torch.device("cpu")), digits)


# ---------------------------------------------------------------- whole searches


def tables(folder: Path) -> dict[str, Tensor]:
    return checkpoint.load(folder / "checkpoint.pt")["hypernet"]


def test_an_interrupted_search_goes_on_to_the_same_end(tmp_path: Path, interrupted: Any) -> None:
    search(CONFIG, tmp_path / "whole")
    with interrupted(WeightSearcher, 8):
        search(CONFIG, tmp_path / "halved")
    state = checkpoint.load(tmp_path / "halved" / "checkpoint.pt")
    assert 0 < state["step"] < 10
    search(CONFIG, tmp_path / "halved", state=state)
    ours, wanted = tables(tmp_path / "halved"), tables(tmp_path / "whole")
    assert all(torch.equal(ours[name], wanted[name]) for name in wanted)
    for name in ("front.csv", "front.svg"):
        assert (tmp_path / "halved" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_fine_tuning_starts_where_the_hypernetwork_stood(tmp_path: Path) -> None:
    config = replace(CONFIG, runs=2)
    search(config, tmp_path / "front")
    generated = Generated.load(tmp_path / "front")
    tuned = replace(config, hypernet="none", lam=3.0, start=str(tmp_path / "front"), w_lr=1e-9)
    search(tuned, tmp_path / "tuned")
    ours, theirs = Generated.load(tmp_path / "tuned").at([3.0]), generated.at([3.0])
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        torch.testing.assert_close(one.mean, other.mean, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match="start has layers"):
        search(replace(tuned, layers=("9",)), tmp_path / "other")
    with pytest.raises(InputError, match=r"λ = 500.0 is outside"):
        search(replace(tuned, lam=500.0), tmp_path / "other")


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hypernet": "gibbs"}, "unknown hypernetwork 'gibbs'"),
        ({"space": "darts"}, "unknown search space 'darts'"),
        ({"start": "runs/x"}, "add --hypernet none"),
        ({"lam": 3.0}, "learns a range of λ, not λ = 3.0 alone"),
        ({"lam_low": 0.0}, "λ must be positive"),
        ({"runs": 0}, "runs must be at least 1, got 0"),
        ({"prior_variance": float("nan")}, "prior_variance must be positive"),
    ],
)
def test_bad_settings_get_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **changes)


@pytest.mark.parametrize("name", ALL_PRESETS)
def test_settings_of_either_space_survive_json(name: str) -> None:
    config = ALL_PRESETS[name]
    assert any_config(config.to_dict()) == config
