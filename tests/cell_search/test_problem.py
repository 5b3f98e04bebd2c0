"""What one step sees: images, λ, noise, temperature; and the bound against a sum by hand."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, Normal, kl_divergence

from nas.cell_search import problem as problem_module
from nas.cell_search.config import SearchConfig
from nas.cell_search.problem import Problem
from nas.data.batches import Split
from nas.data.datasets import ImageData, load_data
from nas.objective.terms import Terms
from nas.runtime.processes import Processes
from nas.weights.gaussian import GaussianLayer

TINY = SearchConfig(channels=4, num_cells=1, batch_size=32, epochs=4, device="cpu")


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", Path("."))


def make(data: ImageData, *, rank: int = 0, world: int = 1, **changes: Any) -> Problem:
    """A problem as process `rank` of `world` sees it; nothing here needs the others."""
    alone = Processes(0, 1, torch.device("cpu"))
    problem = Problem(replace(TINY, **changes), alone, data=data)
    if world == 1:
        return problem
    one_of_many = Processes(rank, world, torch.device("cpu"))
    return Problem(problem.config, one_of_many, data=data, tables=problem.tables)


def parameters(problem: Problem) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    return tuple(problem.supernet.parameters()), tuple(problem.hypernet.parameters())


# ---------------------------------------------------------------- arithmetic


@pytest.mark.parametrize("has", [False, True])
def test_auto_is_bfloat16_where_the_device_has_it(
    has: bool, digits: ImageData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(problem_module, "has_bfloat16", lambda device: has)
    problems = [make(digits, precision=name) for name in ("auto", "float32", "bfloat16")]
    assert [problem.objective.autocast for problem in problems] == [has, False, True]


# ---------------------------------------------------------------- λ


def test_n_draws_are_n_different_lams(digits: ImageData) -> None:
    problem = make(digits, lams_per_step=3, costs=("params", "flops"))
    lams = torch.stack([problem.sample("train", step).lams for step in range(88)])
    assert lams.shape == (88, 3, 2) and len(lams.unique()) == 528
    # Uniform in log λ on [1e-3, 10]: mean 1/2 and variance 1/12 of the position, five errors.
    position = (lams.log() - math.log(1e-3)) / math.log(1e4)
    assert position.min() >= 0 and position.max() <= 1
    assert position.mean().item() == pytest.approx(0.5, abs=5 * (1 / 12 / 528) ** 0.5)
    unit = problem.sample("train", 87).unit_lams
    torch.testing.assert_close(unit.double(), position[87], atol=1e-6, rtol=0)


def test_lams_are_the_same_in_both_halves_all_processes_and_for_any_batch(
    digits: ImageData,
) -> None:
    problems = [
        make(digits, lams_per_step=2),
        make(digits, lams_per_step=2, rank=1, world=2),
        make(digits, lams_per_step=2, batch_size=16, relax="gumbel_example", channels=2),
    ]
    for step in (0, 1, 30):
        lams = [p.sample(half, step).lams for p in problems for half in ("train", "val")]
        assert all(torch.equal(lams[0], other) for other in lams[1:])
    other_seed = make(digits, lams_per_step=2, seed=1).sample("train", 0).lams
    assert not torch.equal(problems[0].sample("train", 0).lams, other_seed)


def test_a_single_lam_is_itself_at_position_zero(digits: ImageData) -> None:
    problem = make(digits, lam=(0.3,), lams_per_step=2)
    for step in range(3):
        sample = problem.sample("val", step)
        assert sample.lams.tolist() == [[0.3], [0.3]]
        assert sample.unit_lams.tolist() == [[0.0], [0.0]]


# ---------------------------------------------------------------- images and noise


def test_halves_are_disjoint_and_of_the_training_part() -> None:
    """Each image carries its number in its first two pixels."""
    images = torch.zeros(300, 1, 8, 8, dtype=torch.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = torch.arange(300) % 256, torch.arange(300) // 256
    split = Split(images, torch.arange(300) % 3)
    train, test = Split(images[:240], split.labels[:240]), Split(images[240:], split.labels[240:])
    names = ("a", "b", "c")
    data = ImageData("numbered", train, test, 3, names, (0.0,), (1.0,), flip=False)
    problem = make(data, batch_size=20, val_fraction=0.25)
    assert problem.steps_per_epoch == 9  # 180 / 20
    seen: dict[str, list[int]] = {}
    for half, steps in (("train", 9), ("val", 3)):
        samples = [problem.sample(half, step) for step in range(steps)]
        pixels = torch.cat([sample.x for sample in samples])[:, 0, 0, :2] * 255
        numbers = (pixels[:, 0] + 256 * pixels[:, 1]).round().long()
        assert torch.equal(torch.cat([sample.y for sample in samples]), numbers % 3)
        seen[half] = numbers.tolist()
    assert len(seen["train"]) == 180 and len(seen["val"]) == 60
    assert {*seen["train"]} | {*seen["val"]} == set(range(240))


def test_a_validation_part_of_its_own_is_used(
    digits: ImageData, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Split(digits.test.images[:40], digits.test.labels[:40])
    problem = make(replace(digits, name="mine", val=own))
    assert torch.equal(problem.val.images, own.images)
    assert problem.steps_per_epoch == len(digits.train) // 32
    said = capsys.readouterr().err
    assert said == "note: 'mine' has a validation part of its own: val_fraction has no effect\n"


def test_a_rare_class_counts_as_much_as_any(digits: ImageData) -> None:
    """Three images of one class weigh together what the hundred of another do."""
    nines = (digits.train.labels == 9).nonzero()[:, 0]
    kept = torch.ones(len(digits.train), dtype=torch.bool)
    kept[nines[4:]] = False
    train = Split(digits.train.images[kept], digits.train.labels[kept])
    problem = make(replace(digits, train=train), class_weights="balanced")
    sample = problem.sample("train", 0)
    weights = torch.full((problem.skeleton.space.num_edges, 5), 0.2)
    with torch.no_grad():
        found, _ = problem.objective.likelihood(sample.x, sample.y, weights, None)
        log_probs = problem.supernet(sample.x, weights, None, None).log_softmax(1)
    counts = [int((train.labels == label).sum()) for label in range(10)]
    assert counts[9] == 4
    wanted = [
        -float(log_probs[row, label]) * len(train) / (10 * counts[label])
        for row, label in enumerate(sample.y.tolist())
    ]
    assert found.item() == pytest.approx(sum(wanted) / len(wanted), rel=1e-5)


@pytest.mark.parametrize("relax", ["gumbel", "gumbel_example", "straight_through"])
def test_processes_share_out_the_joint_batch(digits: ImageData, relax: str) -> None:
    changes = {"relax": relax, "crop_padding": 1, "cutout": 3, "flip": True, "lams_per_step": 2}
    joint = make(digits, **changes).sample("train", 5)
    parts = [make(digits, **changes, rank=r, world=2).sample("train", 5) for r in (0, 1)]
    assert torch.equal(torch.cat([part.x for part in parts]), joint.x)
    assert torch.equal(torch.cat([part.y for part in parts]), joint.y)
    for number, noise in enumerate(joint.relax_noise):
        assert noise is not None
        of_parts = [part.relax_noise[number] for part in parts]
        if relax == "gumbel_example":
            assert noise.shape == (32, 6, 5)
            assert torch.equal(torch.cat(of_parts), noise)  # type: ignore[arg-type]
        else:
            assert all(part is not None and torch.equal(part, noise) for part in of_parts)
    assert not torch.equal(joint.relax_noise[0], joint.relax_noise[1])  # type: ignore[arg-type]


def test_the_prior_is_followed_and_its_cells_are_connected(digits: ImageData) -> None:
    probs = (0.3, 0.05, 0.15, 0.4, 0.1)
    problem = make(digits, op_probs=probs, warmup_epochs=1)
    cells = []
    for step in range(22):
        sample = problem.sample("train", step)
        assert sample.prior
        logits = problem.objective.prior_logits.expand(6, 5)
        weights, active = problem.objective.relaxation(logits, sample.relax_noise[0], 1.0)
        assert problem.skeleton.space.connected(active)
        assert weights.argmax(dim=-1).tolist() == list(active)
        cells.append(active)
    share = torch.tensor(cells).flatten().bincount(minlength=5) / (22 * 6)
    # 132 draws: a share has a standard deviation of at most 0.04; connected cells have fewer none.
    assert share.tolist() == pytest.approx(probs, abs=0.14)
    assert share[3] > share[2] > 0
    assert not problem.sample("train", 22).prior
    always = make(digits, op_probs=probs, trained_cells="prior")
    assert always.sample("train", 50).prior and not always.sample("val", 50).prior


def test_schedules_begin_when_the_warm_up_ends(digits: ImageData) -> None:
    problem = make(digits, warmup_epochs=1, arch_kl=0.04, arch_kl_end=0.01)  # of 4 epochs
    for step, over, price in ((0, 0.0, 0.04), (22, 0.0, 0.04), (55, 0.5, 0.02)):
        assert problem.schedule.since_warmup(step) == pytest.approx(over)
        assert problem.sample("val", step).arch_kl_price == pytest.approx(price)


def test_the_supernet_sees_shrunk_images_that_cost_like_whole_ones(digits: ImageData) -> None:
    whole, half = make(digits, crop_padding=1), make(digits, crop_padding=1, shrink=2)
    one, other = whole.sample("train", 3).x, half.sample("train", 3).x
    assert one.shape[2:] == (8, 8) and other.shape[2:] == (4, 4)
    torch.testing.assert_close(other[0, 0, 1, 2], one[0, 0, 2:4, 4:6].mean())
    assert torch.equal(whole.tables["flops"].table, half.tables["flops"].table)


def test_a_sample_follows_from_its_step_alone(digits: ImageData) -> None:
    problem = make(digits, relax="gumbel", crop_padding=1)
    first = problem.sample("val", 7)
    problem.sample("val", 25)
    torch.rand(5)
    again, following = problem.sample("val", 7), problem.sample("val", 8)
    for one, two, three in zip(first[:4], again[:4], following[:4], strict=True):
        assert torch.equal(one, two) and not torch.equal(one, three)  # type: ignore[arg-type]
    assert torch.equal(first.relax_noise[0], again.relax_noise[0])  # type: ignore[arg-type]
    assert first.weight_seed == again.weight_seed != following.weight_seed
    assert first.weight_seed != problem.sample("train", 7).weight_seed


def test_the_seed_alone_decides_where_the_weights_start(digits: ImageData) -> None:
    torch.manual_seed(1)
    weights = parameters(make(digits))[0]
    torch.manual_seed(2)
    assert all(map(torch.equal, weights, parameters(make(digits))[0]))
    other = parameters(make(digits, seed=1))[0]
    assert not any(map(torch.equal, weights, other))


def test_temperature_and_warm_up_follow_the_step(digits: ImageData) -> None:
    problem = make(digits, warmup_epochs=1, temperature=2.0, temperature_end=0.5)
    assert (problem.steps_per_epoch, problem.total_steps) == (22, 88)  # 719 images
    for step, temperature, warm in ((0, 2.0, True), (21, 1.642, True), (22, 1.625, False)):
        sample = problem.sample("train", step)
        assert sample.temperature == pytest.approx(temperature, abs=1e-3)
        assert sample.prior == (not problem.schedule.arch_moves(step)) == warm


# ---------------------------------------------------------------- the bound


def test_the_bound_is_its_terms_added_up_by_hand(digits: ImageData) -> None:
    config = {"relax": "softmax", "costs": ("params", "flops"), "arch_kl": 0.2}
    problem = make(digits, **config, hypernet="mlp")
    sample = problem.sample("val", 3)
    terms = problem.evaluate(sample, *parameters(problem))

    logits = problem.hypernet(sample.unit_lams)[0]
    class_logits = problem.supernet(sample.x, (logits / sample.temperature).softmax(-1), None)
    nll = F.cross_entropy(class_logits, sample.y)
    torch.testing.assert_close(terms.nll, nll)
    right = sum(int(a) == int(b) for a, b in zip(class_logits.argmax(1), sample.y, strict=True))
    assert terms.accuracy.item() == pytest.approx(right / 32)

    costs = []
    for name in ("params", "flops"):
        table = problem.tables[name]
        expected = table.expected(logits.softmax(-1))
        costs.append((expected - table.low) / (table.high - table.low))
    torch.testing.assert_close(terms.costs.double(), torch.stack(costs), atol=1e-6, rtol=1e-5)

    uniform = Categorical(probs=torch.full((6, 5), 0.2))
    arch_kl = kl_divergence(Categorical(logits=logits), uniform).sum()
    torch.testing.assert_close(terms.arch_kl, arch_kl, atol=1e-5, rtol=1e-5)

    total = nll + (sample.lams[0] * torch.stack(costs)).sum() + 0.2 * arch_kl
    torch.testing.assert_close(terms.total.double(), total, atol=1e-5, rtol=1e-5)
    balanced = problem.evaluate(sample, *parameters(problem), balance_lams=True).objective
    torch.testing.assert_close(
        balanced.double(), total / (1 + sample.lams.sum()), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("costs", [("params",), ("flops",), ("params", "latency", "flops")])
def test_a_raw_lam_is_one_times_the_range_of_costs(
    digits: ImageData, costs: tuple[str, ...]
) -> None:
    """Same gradients; the values differ by λ times the least expensive network, a constant."""
    settings = {"costs": costs, "relax": "softmax", "hypernet": "piecewise", "arch_kl": 0.2}
    problem = make(digits, **settings, lam_low=(1e-2,), lam_high=(3.0,))
    pieces = [1000 if cost == "latency" else 1 for cost in costs]
    tables = [problem.tables[cost] for cost in costs]
    low = torch.tensor([n * t.low for n, t in zip(pieces, tables, strict=True)]).double()
    high = torch.tensor([n * t.high for n, t in zip(pieces, tables, strict=True)]).double()
    span = high - low
    config = replace(
        problem.config,
        lam_unit="raw",
        lam_low=tuple((1e-2 / span).tolist()),
        lam_high=tuple((3.0 / span).tolist()),
    )
    alone = Processes(0, 1, torch.device("cpu"))
    raw = Problem(config, alone, data=digits, tables=problem.tables)
    lams = raw.sample("val", 3).lams[0]
    torch.testing.assert_close(lams * span, problem.sample("val", 3).lams[0])

    found, grads = [], []
    for each in (problem, raw):
        sample, (weights, arch) = each.sample("val", 3), parameters(each)
        terms = each.evaluate(sample, weights, arch, balance_lams=True)
        grads.append(torch.autograd.grad(terms.total, (*weights, *arch), materialize_grads=True))
        found.append(terms.detached())
        balanced = found[-1].total / (1 + sample.lams.sum())  # raw, a division by 1
        torch.testing.assert_close(found[-1].objective.double(), balanced, rtol=1e-6, atol=0)
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)
    costs_of_both = (low + span * found[0].costs, found[1].costs.double())
    torch.testing.assert_close(*costs_of_both, rtol=1e-5, atol=0)
    ahead = (found[1].total - found[0].total).double()
    torch.testing.assert_close(ahead, (lams * low).sum(), rtol=1e-4, atol=1e-6)


def test_the_kl_of_weights_is_priced_alike_in_both_units(digits: ImageData) -> None:
    settings = {"weights": "gaussian", "costs": ("kl",), "hypernet": "mlp", "relax": "softmax"}
    found = []
    for unit in ("range", "raw"):
        problem = make(digits, **settings, lam_unit=unit)
        found.append(problem.evaluate(problem.sample("train", 0), *parameters(problem)))
    assert torch.equal(found[0].total, found[1].total) and found[0].costs.item() > 0


def test_kl_cost_is_the_divergence_of_the_expected_network(digits: ImageData) -> None:
    changes = {"weights": "gaussian", "costs": ("kl",), "lam": (1.0,), "initial_sigma": 0.05}
    problem = make(digits, **changes, prior_variance=0.3, hypernet="mlp", relax="softmax")
    sample = problem.sample("train", 0)

    def divergence(module: torch.nn.Module) -> Tensor:
        prior, total = Normal(0.0, math.sqrt(0.3)), torch.zeros(())
        for layer in module.modules():
            if isinstance(layer, GaussianLayer):
                total += kl_divergence(Normal(layer.weight, layer.log_sigma.exp()), prior).sum()
                if layer.bias is not None:
                    bias = Normal(layer.bias, layer.bias_log_sigma.exp())
                    total += kl_divergence(bias, prior).sum()
        return total

    probs = problem.hypernet(sample.unit_lams)[0].softmax(-1)
    expected = divergence(problem.supernet)
    for row, column, op in problem.supernet.candidates():
        expected = expected - (1 - probs[row, column]) * divergence(op)
    terms = problem.evaluate(sample, *parameters(problem))
    torch.testing.assert_close(terms.costs, (expected / 719)[None])
    table = problem.kl_table()
    torch.testing.assert_close(table.expected(probs), expected.double(), rtol=1e-5, atol=1e-3)


def test_several_lams_are_averaged(digits: ImageData) -> None:
    problem = make(digits, lams_per_step=3, relax="gumbel", hypernet="piecewise")
    weights, arch = parameters(problem)
    sample = problem.sample("train", 2)

    def evaluate(numbers: list[int]) -> tuple[Terms, tuple[Tensor, ...]]:
        part = sample._replace(
            lams=sample.lams[numbers],
            unit_lams=sample.unit_lams[numbers],
            relax_noise=[sample.relax_noise[i] for i in numbers],
        )
        terms = problem.evaluate(part, weights, arch, balance_lams=True)
        return terms, torch.autograd.grad(
            terms.objective, (*weights, *arch), materialize_grads=True
        )

    together, grads = evaluate([0, 1, 2])
    singles = [evaluate([i]) for i in range(3)]
    same = (together.accuracy, together.weight_kl, together.penalty)
    for term, *parts in zip(together, *(terms for terms, _ in singles), strict=True):
        torch.testing.assert_close(term, sum(parts) / 3)
        assert not torch.equal(parts[0], parts[1]) or any(term is other for other in same)
    for grad, *parts in zip(grads, *(each for _, each in singles), strict=True):
        torch.testing.assert_close(grad, sum(parts) / 3, atol=1e-6, rtol=1e-4)


def test_warm_up_weighs_all_operations_alike(digits: ImageData) -> None:
    problem = make(digits, warmup_epochs=1, relax="softmax")
    sample = problem.sample("train", 0)
    weights, arch = parameters(problem)
    terms = problem.evaluate(sample, weights, arch)
    class_logits = problem.supernet(sample.x, torch.full((6, 5), 0.2))
    torch.testing.assert_close(terms.nll, F.cross_entropy(class_logits, sample.y))
    assert terms.arch_kl.item() == pytest.approx(0, abs=1e-6)
    assert torch.autograd.grad(terms.total, arch, allow_unused=True) == (None,) * len(arch)
