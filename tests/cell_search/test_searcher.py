"""The search, step by step, against optimisers written by hand; and what it must never do.

`tests/golden/losses.json` holds the first training losses of two tiny searches. A change that is
meant to change the mathematics writes them anew: `PYTHONPATH=. python
tests/cell_search/test_searcher.py`
"""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cells.errors import InputError
from nas.architecture.relaxations import RELAXATIONS
from nas.cell_search import problem as problem_module
from nas.cell_search.config import SearchConfig
from nas.cell_search.searcher import Searcher
from nas.data.batches import Split
from nas.data.datasets import ImageData, load_data
from nas.hypernets.forms import HYPERNETS, Hypernet
from nas.objective.terms import StepInputs, Terms
from nas.run import search
from nas.runtime import checkpoint, loop
from nas.runtime.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))
GOLDEN = Path(__file__).parents[1] / "golden" / "losses.json"
TINY = SearchConfig(channels=4, num_cells=1, batch_size=32, epochs=2, device="cpu", threads=1)
GOLDEN_CONFIGS = {
    "point": replace(TINY, space="darts", channels=2, relax="softmax", order="second", arch_lr=0.1),
    "gaussian": replace(TINY, weights="gaussian", costs=("kl",), crop_padding=1, hypernet="mlp"),
}


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", Path("."))


def make(data: ImageData, **changes: Any) -> Searcher:
    return Searcher(replace(TINY, **changes), ALONE, data=data)


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def changed(before: dict[str, Tensor], module: torch.nn.Module) -> set[str]:
    """Names of the parameters of which any bit differs."""
    return {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}


def first_losses(config: SearchConfig, data: ImageData) -> list[float]:
    """Training losses of the first five steps."""
    searcher = Searcher(config, ALONE, data=data)
    losses = []
    for _ in range(5):
        searcher.averages.clear()
        searcher.advance()
        losses.append(searcher.averages["train_loss"].mean)
    return losses


# ---------------------------------------------------------------- every combination


def check_one_step(searcher: Searcher) -> None:
    weights, arch = snapshot(searcher.supernet), snapshot(searcher.hypernet)
    searcher.advance()
    assert searcher.step == 1
    assert changed(weights, searcher.supernet)
    assert changed(arch, searcher.hypernet) == set(arch)
    for tensor in (*searcher.supernet.parameters(), *searcher.hypernet.parameters()):
        assert tensor.isfinite().all()
    for half in ("train", "val"):
        for name in ("loss", "nll", "arch_kl", "accuracy", f"cost_{searcher.config.costs[0]}"):
            assert math.isfinite(searcher.averages[f"{half}_{name}"].mean)
    assert all(math.isfinite(x) for values in searcher.ends().values() for x in values)


@pytest.mark.parametrize(
    ("hypernet", "relax"),
    # Logits are all that a relaxation sees of a hypernetwork: each of either is enough.
    [
        (tuple(HYPERNETS)[n % len(HYPERNETS)], tuple(RELAXATIONS)[n % len(RELAXATIONS)])
        for n in range(max(len(HYPERNETS), len(RELAXATIONS)))
    ],
)
def test_every_hypernetwork_and_every_relaxation_learns(
    digits: ImageData, hypernet: str, relax: str
) -> None:
    check_one_step(make(digits, hypernet=hypernet, relax=relax))


@pytest.mark.parametrize(
    ("weights", "costs", "order"),
    [
        ("point", ("params",), "exact"),
        ("point", ("flops",), "first"),
        ("point", ("latency",), "second"),
        ("point", ("flops", "params"), "exact"),
        ("gaussian", ("kl",), "first"),
        ("gaussian", ("kl",), "exact"),
        ("gaussian", ("params",), "exact"),
        ("gaussian", ("latency", "kl"), "second"),
        ("generated", ("params",), "first"),
        ("generated", ("params",), "second"),
        ("generated", ("params",), "exact"),
    ],
)
def test_every_cost_and_order(
    digits: ImageData, weights: str, costs: tuple[str, ...], order: str
) -> None:
    check_one_step(make(digits, weights=weights, costs=costs, order=order))


@pytest.mark.parametrize(
    ("space", "order"), [("darts", "first"), ("darts", "exact"), ("darts_free", "second")]
)
def test_the_cells_of_darts(digits: ImageData, space: str, order: str) -> None:
    changes = {"space": space, "channels": 2, "num_cells": 2, "relax": "gumbel_example"}
    check_one_step(make(digits, **changes, order=order, lams_per_step=2))


@pytest.mark.parametrize("hypernet", ["constant", "gibbs"])
def test_a_raw_lam_finds_what_one_times_the_range_finds(digits: ImageData, hypernet: str) -> None:
    """For one λ: Adam does not see that the balance of λs divides the gradient by less."""
    settings = {"hypernet": hypernet, "relax": "softmax", "arch_lr": 0.1, "arch_weight_decay": 0.0}
    table = make(digits, **settings).problem.tables["params"]
    fronts = []
    for lam, unit in ((2.0, "range"), (2.0 / (table.high - table.low), "raw")):
        searcher = make(digits, **settings, lam=(lam,), lam_unit=unit)
        for _ in range(8):
            searcher.advance()
        fronts.append(searcher.front().log_probs(torch.tensor([[lam]], dtype=torch.float64)))
    torch.testing.assert_close(*fronts, atol=2e-3, rtol=1e-3)
    untrained = make(digits, **settings, lam=(2.0,)).front()
    start = untrained.log_probs(torch.tensor([[2.0]], dtype=torch.float64))
    assert (fronts[0] - start).abs().max() > 0.3


# ---------------------------------------------------------------- the score estimator


PRICED = (
    ("point", ("params",)),
    ("point", ("latency", "flops")),
    ("gaussian", ("kl", "params")),
    ("generated", ("params",)),
)


@pytest.mark.parametrize(
    ("hypernet", "weights", "costs"),
    [(hypernet, *PRICED[n % len(PRICED)]) for n, hypernet in enumerate(HYPERNETS)],
)
def test_every_hypernetwork_learns_from_scores(
    digits: ImageData, hypernet: str, weights: str, costs: tuple[str, ...]
) -> None:
    changes = {"hypernet": hypernet, "weights": weights, "costs": costs}
    check_one_step(make(digits, **changes, estimator="score", shrink=2))


def test_the_score_step_by_hand(digits: ImageData) -> None:
    """Its cells, their likelihoods on the validation batch, the bound's other terms exact."""
    searcher = make(digits, estimator="score", score_lams=4,
                    hypernet="mlp", arch_kl=0.3)  # fmt: skip
    problem, val = searcher.problem, searcher.estimator.draw(0)
    assert val.lams.shape == (4, 1)
    logits = searcher.hypernet(val.unit_lams).detach()
    terms = searcher.step_architecture(problem.sample("train", 0), val).terms
    (memory,) = searcher.estimator.memory
    assert memory.choices.shape == (8, 6)
    with torch.no_grad():
        nlls = torch.stack(
            [F.cross_entropy(problem.supernet.discrete(val.x, c), val.y)
             for c in memory.choices.tolist()]
        )  # fmt: skip
    torch.testing.assert_close(memory.nll, 8 / 7 * (nlls - nlls.mean()))  # less that of the others
    torch.testing.assert_close(terms.nll, nlls.mean())
    probs = logits.softmax(dim=-1)
    table = problem.tables["params"]
    costs = (table.expected(probs) - table.low) / (table.high - table.low)
    arch_kl = (probs * (5 * probs).log()).sum(dim=(1, 2))
    totals = nlls.mean() + val.lams[:, 0] * costs + 0.3 * arch_kl
    torch.testing.assert_close(terms.total.double(), totals.mean(), rtol=1e-4, atol=1e-5)


def test_memory_holds_the_last_steps(digits: ImageData) -> None:
    searcher = make(digits, estimator="score")
    seen = []
    for _ in range(18):
        searcher.advance()
        seen.append(searcher.estimator.memory[-1])
    assert len(searcher.estimator.memory) == 16
    assert all(
        one is other for one, other in zip(searcher.estimator.memory, seen[-16:], strict=True)
    )


def test_cells_that_help_become_likely(digits: ImageData) -> None:
    """Likelihoods are replaced: a 3×3 convolution on the first edge is all that helps."""
    searcher = make(digits, estimator="score", hypernet="piecewise", lam_high=(0.1,), arch_lr=0.05,
                    arch_kl=0.01, trained_cells="prior", epochs=10)  # fmt: skip

    def score(sample: StepInputs, choices: Tensor) -> tuple[Tensor, Tensor]:
        nll = 2.0 - 1.0 * (choices[:, 0] == 3)
        return nll, torch.zeros_like(nll)

    searcher.problem.objective.score = score  # type: ignore[method-assign]
    for step in range(150):
        train = searcher.problem.sample("train", step)
        searcher.step_architecture(train, searcher.estimator.draw(step))
    probs = searcher.hypernet(torch.tensor([[0.0], [0.5], [1.0]])).softmax(dim=-1)
    assert (probs[:, 0, 3] > 0.9).all()
    assert (probs[:, 1:].amax(dim=-1) < 0.9).all()


def test_weights_of_the_prior_do_not_depend_on_the_hypernetwork(digits: ImageData) -> None:
    found = []
    for seed_of_arch in (0.0, 5.0):
        searcher = make(digits, estimator="score", trained_cells="prior")
        with torch.no_grad():
            searcher.hypernet.scores += seed_of_arch * torch.randn(6, 5)  # type: ignore[operator]
        for _ in range(3):
            searcher.advance()
        found.append(snapshot(searcher.supernet))
    for name, weight in found[0].items():
        assert torch.equal(weight, found[1][name])


# ---------------------------------------------------------------- what is on record


def test_losses_are_those_on_record(digits: ImageData) -> None:
    golden = json.loads(GOLDEN.read_text())
    for name, config in GOLDEN_CONFIGS.items():
        assert first_losses(config, digits) == pytest.approx(golden[name], rel=1e-4)


# ---------------------------------------------------------------- one step by hand


def double(sample: StepInputs) -> StepInputs:
    noises = [None if noise is None else noise.double() for noise in sample.relax_noise]
    unit_lams = sample.unit_lams.double()
    return sample._replace(x=sample.x.double(), unit_lams=unit_lams, relax_noise=noises)


def in_double(searcher: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a search compute in float64."""
    searcher.problem.objective.double()
    draw = searcher.problem.sample
    monkeypatch.setattr(searcher.problem, "sample", lambda half, step: double(draw(half, step)))


def bound_by_hand(searcher: Searcher, sample: StepInputs) -> Tensor:
    """nll + λ·params + κ·KL for Gumbel-softmax, from the tables' own units."""
    logits = searcher.hypernet(sample.unit_lams)[0]
    noise = sample.relax_noise[0]
    weights = ((logits + noise) / sample.temperature).softmax(-1)
    table, probs = searcher.problem.tables["params"], logits.softmax(-1)
    cost = (table.expected(probs) - table.low) / (table.high - table.low)
    arch_kl = (probs * (probs * probs.shape[1]).log()).sum()
    nll = F.cross_entropy(searcher.supernet(sample.x, weights), sample.y)
    return nll + sample.lams[0, 0] * cost + searcher.config.arch_kl * arch_kl


def test_steps_are_adam_and_sgd_by_hand(digits: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"relax": "gumbel", "hypernet": "mlp", "arch_lr": 0.01, "w_grad_clip": 0.315}
    searcher, twin = (make(digits, **changes) for _ in range(2))
    for each in (searcher, twin):
        in_double(each, monkeypatch)
    weights, arch = list(twin.supernet.parameters()), list(twin.hypernet.parameters())
    buffers: list[Tensor] = []
    means, squares = ([torch.zeros_like(a) for a in arch] for _ in range(2))
    norms = []
    for step in range(3):
        searcher.advance()

        sample = twin.problem.sample("val", step)
        loss = bound_by_hand(twin, sample) / (1 + sample.lams.sum())
        grads = torch.autograd.grad(loss, arch)
        with torch.no_grad():
            for a, g, m, v in zip(arch, grads, means, squares, strict=True):
                g = g + 1e-3 * a
                m.mul_(0.5).add_(0.5 * g)
                v.mul_(0.999).add_(0.001 * g**2)
                m_hat, v_hat = m / (1 - 0.5 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
                a -= 0.01 * m_hat / (v_hat.sqrt() + 1e-8)

        grads = torch.autograd.grad(
            bound_by_hand(twin, twin.problem.sample("train", step)), weights
        )
        norm = float(sum(g.square().sum() for g in grads)) ** 0.5
        norms.append(norm)
        lr = 0.001 + 0.024 * (1 + math.cos(math.pi * step / 44)) / 2  # 2 epochs of 22 steps
        with torch.no_grad():
            for i, (w, g) in enumerate(zip(weights, grads, strict=True)):
                g = g * min(1, 0.315 / norm) + 3e-4 * w
                if step == 0:
                    buffers.append(g)
                buffers[i] = 0.9 * buffers[i] + g if step else g
                w -= lr * buffers[i]

        for ours, theirs in zip(
            (*searcher.hypernet.parameters(), *searcher.supernet.parameters()),
            (*arch, *weights),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)
    assert min(norms) < 0.315 < max(norms), norms  # the clip was at work, but not always


def smooth(module: torch.nn.Module) -> None:
    """Takes softplus for ReLU, whose kinks no finite difference of 0.01 follows."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.ReLU):
            setattr(module, name, torch.nn.Softplus())
        smooth(child)


@pytest.mark.parametrize("order", ["exact", "second"])
def test_second_order_looks_one_step_of_sgd_ahead(
    digits: ImageData, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against autograd through the step itself, momentum and weight decay included."""
    changes = {"relax": "gumbel", "hypernet": "piecewise", "w_weight_decay": 0.01}
    searcher = make(digits, **changes, order=order)
    smooth(searcher.supernet)
    in_double(searcher, monkeypatch)
    for _ in range(2):
        searcher.advance()
    train, val = (searcher.problem.sample(half, 2) for half in ("train", "val"))
    weights, arch = tuple(searcher.supernet.parameters()), tuple(searcher.hypernet.parameters())
    buffers = [searcher.w_optimizer.state[w]["momentum_buffer"] for w in weights]
    lr = searcher.w_optimizer.param_groups[0]["lr"]

    def gradient(lr: float) -> tuple[Tensor, ...]:
        loss = searcher.problem.evaluate(train, weights, arch).total
        grads = torch.autograd.grad(loss, weights, create_graph=True)
        ahead = [
            w - lr * (g + 0.01 * w + 0.9 * v)
            for w, g, v in zip(weights, grads, buffers, strict=True)
        ]
        val_loss = searcher.problem.evaluate(val, ahead, arch, balance_lams=True).objective
        return torch.autograd.grad(val_loss, arch)

    expected, without = gradient(lr), gradient(0.0)
    searcher.step_architecture(train, val)
    for a, grad, first in zip(arch, expected, without, strict=True):
        assert a.grad is not None
        error = float((a.grad - grad).norm() / (grad - first).norm())
        assert error < (1e-6 if order == "exact" else 0.02)


@pytest.mark.parametrize("order", ["exact", "second"])
def test_second_orders_move_the_weights_along_the_gradient_they_looked_ahead_with(
    digits: ImageData, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher = make(digits, relax="gumbel", hypernet="piecewise", arch_lr=0.1, order=order)
    twin = make(digits, relax="gumbel", hypernet="piecewise", arch_lr=0.1, order=order)
    passes = []
    evaluate = searcher.problem.evaluate
    monkeypatch.setattr(
        searcher.problem, "evaluate", lambda *args, **kw: passes.append(1) or evaluate(*args, **kw)
    )
    for step in range(3):
        searcher.advance()
        before = twin.weight_gradient(twin.problem.sample("train", step))
        twin.step_architecture(*(twin.problem.sample(half, step) for half in ("train", "val")))
        twin.w_optimizer.param_groups[0]["lr"] = searcher.w_optimizer.param_groups[0]["lr"]
        twin.weight_step(before)
    assert len(passes) == 3 * {"exact": 2, "second": 4}[order]
    for ours, theirs in zip(
        searcher.supernet.parameters(), twin.supernet.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_the_learning_rate_is_torchs_cosine(digits: ImageData) -> None:
    searcher = make(digits)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.025)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 44, 0.001)
    for step in range(45):
        searcher.step = step
        assert searcher.w_lr() == pytest.approx(schedule.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        schedule.step()


def test_operations_that_were_not_computed_rest(digits: ImageData) -> None:
    searcher = make(digits, relax="straight_through", w_weight_decay=0.1)
    for _ in range(8):
        searcher.advance()
    momentum = searcher.w_optimizer.state
    moved = 0
    for step in range(8, 12):
        train, val = (searcher.problem.sample(half, step) for half in ("train", "val"))
        searcher.step_architecture(train, val)
        logits = searcher.hypernet(train.unit_lams)[0]
        noise = train.relax_noise[0]
        assert noise is not None
        active = (logits + noise).argmax(dim=1).tolist()
        before = snapshot(searcher.supernet)
        buffers = {p: state["momentum_buffer"].clone() for p, state in momentum.items()}
        searcher.weight_step(searcher.weight_gradient(train))
        names = {p: name for name, p in searcher.supernet.named_parameters()}
        differ = changed(before, searcher.supernet)
        for row, column, op in searcher.supernet.candidates():
            for p in op.parameters():
                if column != active[row]:
                    assert names[p] not in differ
                    if p in buffers:
                        assert torch.equal(momentum[p]["momentum_buffer"], buffers[p])
                else:
                    moved += names[p] in differ
    assert moved > 0


def test_only_the_weights_move_during_the_warm_up(digits: ImageData) -> None:
    searcher = make(digits, batch_size=256, warmup_epochs=1, epochs=2)
    assert searcher.problem.steps_per_epoch == 2
    arch = snapshot(searcher.hypernet)
    for _ in range(2):
        weights = snapshot(searcher.supernet)
        searcher.advance()
        assert changed(weights, searcher.supernet) and not changed(arch, searcher.hypernet)
    assert not searcher.arch_optimizer.state and "val_loss" not in searcher.averages
    searcher.advance()
    assert changed(arch, searcher.hypernet)


# ---------------------------------------------------------------- NaN


@pytest.mark.parametrize(
    ("order", "warmup_epochs"), [("first", 0), ("second", 0), ("exact", 0), ("first", 1)]
)
def test_nan_stops_the_search_before_anything_moves(
    digits: ImageData, order: str, warmup_epochs: int
) -> None:
    searcher = make(digits, order=order, warmup_epochs=warmup_epochs, relax="softmax")
    for _ in range(3):
        searcher.advance()
    stem = next(searcher.supernet.parameters())
    with torch.no_grad():
        stem[0, 0, 0, 0] = math.nan
    weights, arch = snapshot(searcher.supernet), snapshot(searcher.hypernet)
    with pytest.raises(InputError, match=r"became nan at step 3: .* lower --w-lr or --arch-lr"):
        searcher.advance()
    assert changed(weights, searcher.supernet) == {"body.stem.0.weight"}  # NaN is not itself
    assert stem.isnan().sum() == 1
    assert not changed(arch, searcher.hypernet)


def assert_finite(state: Any) -> None:
    for value in state.values() if isinstance(state, dict) else state:
        if isinstance(value, Tensor):
            assert value.isfinite().all()
        elif isinstance(value, dict | list | tuple):
            assert_finite(value)


def test_the_last_good_checkpoint_is_kept(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, advance = replace(TINY, relax="gumbel", batch_size=128, epochs=9), Searcher.advance

    def poisoned(self: Searcher) -> None:
        if self.step == 13:
            next(self.supernet.parameters()).data[0] = math.nan
        advance(self)

    monkeypatch.setattr(Searcher, "advance", poisoned)
    with pytest.raises(InputError, match=r"became nan at step 13: the last checkpoint is kept"):
        search(config, tmp_path / "run")
    state = checkpoint.load(tmp_path / "run" / "checkpoint.pt")
    assert state["step"] == 10  # two epochs of five steps
    assert_finite(state)
    assert not (tmp_path / "run" / "front.csv").exists()
    monkeypatch.undo()
    resumed = Searcher(config, ALONE, data=digits, state=state)
    resumed.advance()
    assert resumed.step == 11


def test_a_learning_rate_that_is_too_large_ends_on_one_line(digits: ImageData) -> None:
    searcher = make(digits, w_lr=1e30, relax="softmax")
    with pytest.raises(InputError, match="lower --w-lr"):
        for _ in range(10):
            searcher.advance()
    assert searcher.step < 5


# ---------------------------------------------------------------- the whole run


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "front.csv", newline="") as file:
        return [
            {name: value for name, value in row.items() if "latency" not in name}
            for row in csv.DictReader(file)
        ]


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_test_part_is_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TINY, batch_size=128, epochs=1, grid=3)
    search(config, tmp_path / "whole")

    def without_test(*args: Any, **kwargs: Any) -> ImageData:
        data = load_data(*args, **kwargs)
        garbage = Split(torch.full((7, 3, 1, 2), 255, dtype=torch.uint8), torch.full((7,), -100))
        return replace(data, test=garbage)

    monkeypatch.setattr(problem_module, "load_data", without_test)
    search(config, tmp_path / "without")
    assert rows_of(tmp_path / "without") == rows_of(tmp_path / "whole")
    logs = [log_of(tmp_path / name)[0] for name in ("whole", "without")]
    assert logs[0] | {"seconds": 0} == logs[1] | {"seconds": 0}
    states = [checkpoint.load(tmp_path / name / "checkpoint.pt") for name in ("whole", "without")]
    for part in ("supernet", "hypernet"):
        for name, tensor in states[0][part].items():
            assert torch.equal(tensor, states[1][part][name])


def test_the_log_holds_means_over_each_epoch(
    digits: ImageData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[Terms]] = {"train": [], "val": []}

    note = Searcher.note

    def record(self: Searcher, half: str, terms: Terms) -> None:
        seen[half].append(terms)
        note(self, half, terms)

    monkeypatch.setattr(Searcher, "note", record)
    searcher = make(digits, batch_size=128, epochs=3, warmup_epochs=1, costs=("flops", "params"))
    loop.run(searcher, tmp_path)
    rows = log_of(tmp_path)
    assert [(row["step"], row["epoch"]) for row in rows] == [(5, 1), (10, 2), (15, 3)]
    assert len(seen["train"]) == 15 and len(seen["val"]) == 10
    assert "val_loss" not in rows[0]
    for half, row, terms in (
        ("train", rows[0], seen["train"][:5]),
        ("train", rows[2], seen["train"][10:]),
        ("val", rows[1], seen["val"][:5]),
    ):
        for name in ("nll", "arch_kl", "accuracy"):
            mean = sum(float(getattr(each, name)) for each in terms) / 5
            assert row[f"{half}_{name}"] == pytest.approx(mean, rel=1e-6)
        assert row[f"{half}_loss"] == pytest.approx(sum(float(t.total) for t in terms) / 5)
        assert row[f"{half}_cost_params"] == pytest.approx(
            sum(float(t.costs[1]) for t in terms) / 5
        )
    assert rows[2]["w_lr"] == pytest.approx(0.001)
    assert rows[2]["expected_params"] == searcher.ends()["expected_params"]


def test_the_gibbs_form_is_told_what_operations_cost_by_now(
    digits: ImageData, tmp_path: Path
) -> None:
    changes = {"weights": "gaussian", "costs": ("kl",), "hypernet": "gibbs", "batch_size": 256}
    searcher = make(digits, **changes, epochs=1, prior_variance=0.01, w_lr=0.1)
    before = searcher.hypernet.costs.clone()
    loop.run(searcher, tmp_path)
    table = searcher.problem.kl_table().table
    table = table - table.amin(dim=1, keepdim=True)
    torch.testing.assert_close(searcher.hypernet.costs[0].double(), table / table.max())
    assert (searcher.hypernet.costs - before).abs().max() > 1e-4


# ---------------------------------------------------------------- λ at work


@pytest.mark.parametrize("hypernet", ["gibbs", "piecewise"])
def test_a_larger_lam_gets_a_cheaper_network(digits: ImageData, hypernet: str) -> None:
    """Gibbs by construction, for every λ; piecewise because forty steps have taught it."""
    searcher = make(digits, hypernet=hypernet, arch_lr=0.1)
    table = searcher.problem.tables["params"]
    for _ in range(40):
        searcher.advance()
    low, high = searcher.ends()["expected_params"]
    assert high < 0.85 * low
    if hypernet == "gibbs":
        front = searcher.front()
        log_probs = front.log_probs(front.lam_range.grid(50))
        costs = table.expected(log_probs.exp())
        assert (costs.diff() <= 1e-6).all()


def test_a_single_lam_gives_a_front_of_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    forward = Hypernet.forward

    def recording(self: Hypernet, unit_lams: Tensor) -> Tensor:
        seen.append(unit_lams)
        return forward(self, unit_lams)

    monkeypatch.setattr(Hypernet, "forward", recording)
    search(replace(TINY, lam=(0.3,), epochs=1, batch_size=128), tmp_path / "run")
    assert len(seen) > 10 and not any(unit_lams.any() for unit_lams in seen)
    (row,) = rows_of(tmp_path / "run")
    assert (float(row["lam_params"]), float(row["lam_last_params"])) == (0.3, 0.3)
    assert row["pareto"] == "True"
    assert len(list((tmp_path / "run" / "genotypes").iterdir())) == 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    data = load_data("digits", Path("."))
    losses = {name: first_losses(config, data) for name, config in GOLDEN_CONFIGS.items()}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(losses, indent=2) + "\n")
