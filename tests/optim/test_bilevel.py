"""Hypergradients against closed forms, numerical differentiation, autograd and the joint batch."""

import sys
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.hypergradient.__main__ import main
from experiments.hypergradient.problems import (
    EPSILONS,
    SMOOTH,
    Problem,
    Step,
    digits_problem,
    flat,
    mixed_term_errors,
    quadratic,
    slope,
)
from nas.optim.bilevel import Hypergradient, Reduce, exact, finite_difference, first_order

SECOND_ORDER = [finite_difference, exact]
STEP = Step(lr=0.1, momentum=0.9, weight_decay=0.3)
"""Settings at which every term of the step counts."""


@pytest.fixture(scope="module")
def network() -> Problem:
    return digits_problem(SMOOTH)


def second_order(form: Callable[..., Hypergradient], problem: Problem, **settings) -> Hypergradient:
    train_loss, val_loss, weights, arch, buffers = problem
    settings = {"buffers": buffers, **STEP._asdict(), **settings}
    return form(train_loss, val_loss, weights, arch, **settings)


def sgd_step(problem: Problem, arch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Returns w'(φ) as torch's own optimiser makes it."""
    weights = [w.clone().requires_grad_() for w in problem.weights]
    optimiser = torch.optim.SGD(weights, STEP.lr, STEP.momentum, weight_decay=STEP.weight_decay)
    for w, buffer in zip(weights, problem.buffers, strict=True):
        optimiser.state[w]["momentum_buffer"] = buffer.clone()
    problem.train_loss(tuple(weights), arch).backward()
    optimiser.step()
    return tuple(w.detach() for w in weights)


def differentiate(function: Callable[[Tensor], Tensor], x: Tensor, h: float = 1e-3) -> Tensor:
    """Returns the gradient by central differences with an error of order h⁴."""
    grad = torch.empty_like(x)
    for i in range(x.numel()):
        unit = torch.zeros_like(x)
        unit.view(-1)[i] = h
        near = function(x + unit) - function(x - unit)
        far = function(x + 2 * unit) - function(x - 2 * unit)
        grad.view(-1)[i] = (8 * near - far) / (12 * h)
    return grad


@pytest.mark.parametrize("form", SECOND_ORDER)
@pytest.mark.parametrize("seed", range(3))
def test_quadratic_equals_the_solution_by_hand(form, seed):
    problem, solution = quadratic(seed)
    hand = solution(STEP)
    # Finite differences have no truncation error here, but divide rounding by ε.
    settings = {"epsilon": 1.0} if form is finite_difference else {}
    result = second_order(form, problem, **settings)
    np.testing.assert_allclose(flat(result).numpy(), hand, rtol=1e-12, atol=1e-12)


def test_scalar_problem_by_mental_arithmetic():
    """L_t = w²/2 − wφ, L_v = (w − 3)²/2 at w = 2, φ = 1, v = 1."""
    tensors = [(torch.tensor(x, dtype=torch.float64),) for x in (2.0, 1.0, 1.0)]
    problem = Problem(
        lambda w, a: w[0] ** 2 / 2 - w[0] * a[0], lambda w, a: (w[0] - 3) ** 2 / 2, *tensors
    )
    # Step: 2 − 1 + weight decay 0.25·2 + momentum 0.5·1 = 2, so w' = 2 − 0.5·2 = 1, g = −2
    # and dw'/dφ = ξ = 0.5.
    settings = {"lr": 0.5, "momentum": 0.5, "weight_decay": 0.25}
    for form in SECOND_ORDER:
        result = second_order(form, problem, **settings)
        assert result.loss.item() == pytest.approx(2.0, abs=1e-15)
        assert result.grads[0].item() == pytest.approx(-1.0, abs=1e-12)


@pytest.mark.parametrize("form", SECOND_ORDER)
def test_equals_numerical_differentiation_through_torch_sgd(form, network):
    (arch,) = network.arch

    def objective(x: Tensor) -> Tensor:
        return network.val_loss(sgd_step(network, (x,)), (x,))

    settings = {"epsilon": 1e-4} if form is finite_difference else {}
    result = second_order(form, network, **settings)
    torch.testing.assert_close(result.loss, objective(arch), rtol=1e-13, atol=0)
    torch.testing.assert_close(result.grads[0], differentiate(objective, arch), rtol=0, atol=1e-9)


def test_every_term_of_the_step_counts(network):
    """The test above would see weight decay, momentum or the mixed term missing."""
    full = flat(second_order(exact, network))
    for missing in ({"weight_decay": 0.0}, {"momentum": 0.0}, {"buffers": None}):
        assert (flat(second_order(exact, network, **missing)) - full).norm() > 1e-4
    stepped = sgd_step(network, network.arch)
    direct = flat(first_order(network.val_loss, stepped, network.arch))
    assert (direct - full).norm() > 1e-4


@pytest.mark.parametrize("form", SECOND_ORDER)
def test_weight_without_a_buffer_has_had_no_momentum(form, network):
    zeroed = (torch.zeros_like(network.buffers[0]), *network.buffers[1:])
    absent = (None, *network.buffers[1:])
    expected = second_order(form, network, buffers=zeroed)
    assert torch.equal(flat(second_order(form, network, buffers=absent)), flat(expected))


def test_finite_difference_error_falls_as_epsilon_squared(network):
    errors = mixed_term_errors(network, EPSILONS)
    assert slope(EPSILONS, errors) == pytest.approx(2.0, abs=0.1)
    assert min(errors) < 1e-9
    assert errors[-1] > 10 * min(errors), "no rounding at the smallest ε: is ε used?"


def test_first_order_equals_autograd_and_asks_for_no_weight_gradient(network):
    arch = network.arch[0].clone().requires_grad_()
    expected = network.val_loss(network.weights, (arch,))
    expected.backward()
    seen = []

    def val_loss(weights: tuple[Tensor, ...], arch: tuple[Tensor, ...]) -> Tensor:
        seen.extend(w.requires_grad for w in weights)
        return network.val_loss(weights, arch)

    weights = [w.clone().requires_grad_() for w in network.weights]
    result = first_order(val_loss, weights, network.arch)
    assert torch.equal(result.grads[0], arch.grad)
    assert torch.equal(result.loss, expected.detach())
    assert seen == [False] * len(weights)


@pytest.mark.parametrize("form", [first_order, *SECOND_ORDER])
def test_nothing_of_the_caller_changes(form, network):
    # Non-leaf φ, as a hypernetwork would hand over, and parameters with gradients of their own.
    source = network.arch[0].clone().requires_grad_()
    weights = tuple(torch.nn.Parameter(w.clone()) for w in network.weights)
    for w in weights:
        w.grad = torch.ones_like(w)
    problem = network._replace(weights=weights, arch=(source * 1,))
    held = (*weights, *problem.arch, *problem.buffers)
    before = [(x.detach().clone(), x._version) for x in held]
    if form is first_order:
        result = form(problem.val_loss, weights, problem.arch)
    else:
        result = second_order(form, problem)
    for x, (value, version) in zip(held, before, strict=True):
        assert torch.equal(x, value) and x._version == version
    assert all(torch.equal(w.grad, torch.ones_like(w)) for w in weights)
    assert source.grad is None
    assert not any(x.requires_grad for x in (result.loss, *result.grads))


@pytest.mark.parametrize("form", SECOND_ORDER)
def test_unused_tensors(form):
    """L_t = w₁²φ₁/2, L_v = (w₁ + w₂)²/2: w₂ is idle in training, w₃ and φ₂ everywhere."""
    weights = tuple(torch.tensor(x, dtype=torch.float64) for x in (2.0, 3.0, 5.0))
    arch = (torch.tensor(1.0, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64))
    result = form(
        lambda w, a: w[0] ** 2 * a[0] / 2,
        lambda w, a: (w[0] + w[1]) ** 2 / 2,
        weights,
        arch,
        lr=0.5,
    )
    # w' = (2 − 0.5·2, 3, 5), g = (4, 4, 0), mixed term ∂(w₁φ₁)/∂φ₁·4 = 8.
    assert result.grads[0].item() == pytest.approx(-0.5 * 8, abs=1e-11)
    assert torch.equal(result.grads[1], torch.zeros(2, 3, dtype=torch.float64))


def test_losses_that_do_not_use_arch_give_zeros():
    w, a = (torch.tensor([1.0, 2.0]),), (torch.ones(3),)

    def loss(weights: tuple[Tensor, ...], arch: tuple[Tensor, ...]) -> Tensor:
        return weights[0].sum()  # linear: not even ∇_w has a graph

    assert torch.equal(first_order(loss, w, a).grads[0], torch.zeros(3))
    for form in SECOND_ORDER:
        assert torch.equal(form(loss, loss, w, a, lr=0.1).grads[0], torch.zeros(3))


@pytest.mark.parametrize("form", SECOND_ORDER)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_validation_gradient_leaves_the_direct_term(form, dtype):
    w, a = (torch.ones(4, dtype=dtype),), (torch.full((4,), 2.0, dtype=dtype),)
    result = form(
        lambda w, a: (w[0] * a[0]).square().sum(),
        lambda w, a: (0 * w[0] + a[0].square()).sum(),
        w,
        a,
        lr=0.1,
    )
    assert torch.equal(result.grads[0], 2 * a[0])


class Meeting:
    """Averages over threads that stand for processes: all wait until the last has come."""

    def __init__(self, world: int) -> None:
        self.barrier = threading.Barrier(world, timeout=600)
        self.brought: dict[int, Sequence[Tensor]] = {}
        self.rounds = 0

    def reducer(self, rank: int) -> Reduce:
        def average(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
            self.brought[rank] = tensors
            self.barrier.wait()
            means = zip(*(self.brought[r] for r in sorted(self.brought)), strict=True)
            result = tuple(torch.stack(xs).mean(0) for xs in means)
            if self.barrier.wait() == 0:
                self.rounds += 1
            return result

        return average


@pytest.mark.parametrize(("form", "rounds"), [(first_order, 1), *((f, 3) for f in SECOND_ORDER)])
def test_processes_equal_one_on_the_joint_batch(form, rounds):
    """The second part never uses one of the weights, as happens with sampled operations."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(2, 2, 8, 5, generator=generator, dtype=torch.float64)  # split part batch in
    weights, buffers = (
        tuple(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((5, 3), 3))
        for _ in range(2)
    )
    arch = (torch.randn(3, generator=generator, dtype=torch.float64),)

    def part_loss(split: int, part: int) -> Callable[..., Tensor]:
        def loss(weights: tuple[Tensor, ...], arch: tuple[Tensor, ...]) -> Tensor:
            hidden = (data[split, part] @ weights[0]).tanh() * arch[0].exp()
            if part == 0:
                hidden = hidden * weights[1].sin()
            return (hidden.sum(-1) - 1).square().mean()

        return loss

    def joint_loss(split: int) -> Callable[..., Tensor]:
        return lambda w, a: (part_loss(split, 0)(w, a) + part_loss(split, 1)(w, a)) / 2

    def call(train_loss, val_loss, **settings) -> Hypergradient:
        if form is first_order:
            return form(val_loss, weights, arch, **settings)
        problem = Problem(train_loss, val_loss, weights, arch, buffers)
        return second_order(form, problem, **settings)

    joint = call(joint_loss(0), joint_loss(1))
    meeting = Meeting(2)
    results: dict[int, Hypergradient] = {}

    def process(rank: int) -> None:
        results[rank] = call(part_loss(0, rank), part_loss(1, rank), reduce=meeting.reducer(rank))

    threads = [threading.Thread(target=process, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert meeting.rounds == rounds
    assert torch.equal(flat(results[0]), flat(results[1]))
    for result in results.values():
        torch.testing.assert_close(result.loss, joint.loss, rtol=1e-12, atol=0)
        # Finite differences divide the rounding of both sides by 2ε.
        atol = 1e-11 if form is finite_difference else 1e-13
        torch.testing.assert_close(flat(result), flat(joint), rtol=1e-12, atol=atol)
    if form is not first_order:  # averaging at the end alone would not do
        alone = [flat(call(part_loss(0, rank), part_loss(1, rank))) for rank in range(2)]
        assert ((alone[0] + alone[1]) / 2 - flat(joint)).norm() > 1e-2


def test_experiment_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    out = tmp_path / "table.md"
    monkeypatch.setattr(sys, "argv", ["hypergradient", "--out", str(out)])
    threads = torch.get_num_threads()
    try:
        main()
    finally:
        torch.set_num_threads(threads)
    text = out.read_text(encoding="utf-8")
    assert text == capsys.readouterr().out
    rows = [line.split("|")[1:5] for line in text.splitlines() if line.startswith("|")]
    table = {name.strip(): [float(x) for x in grad] for name, *grad in rows[2:6]}
    assert table["exact"] == table["by hand"] != table["first order"]
    assert "log-log slope 1.99" in text


@pytest.mark.parametrize("form", [exact, finite_difference])
def test_a_weight_that_no_training_loss_uses_stands_still_in_the_look_ahead(form) -> None:
    """As in SGD, where neither momentum nor weight decay moves a weight without a gradient."""
    weights = (torch.tensor(2.0, dtype=torch.float64), torch.tensor(3.0, dtype=torch.float64))
    arch = (torch.tensor(0.5, dtype=torch.float64),)
    seen = []

    def train_loss(w, a):
        return (w[0] - a[0]) ** 2

    def val_loss(w, a):
        seen.append(tuple(float(x.detach()) for x in w))
        return w[0] * w[1] * a[0]

    result = form(
        train_loss, val_loss, weights, arch, lr=0.1, momentum=0.9, weight_decay=0.2,
        buffers=(torch.ones((), dtype=torch.float64),) * 2,
    )  # fmt: skip
    ahead = 2.0 - 0.1 * (2 * (2.0 - 0.5) + 0.2 * 2.0 + 0.9)
    assert seen[0] == pytest.approx((ahead, 3.0), abs=1e-12)
    # w0' = w0 - ξ (2 (w0 - φ) + …) has dw0'/dφ = 2 ξ: dL/dφ = w0' w1 + 2 ξ w1 φ
    assert float(result.grads[0]) == pytest.approx(ahead * 3.0 + 2 * 0.1 * 3.0 * 0.5, rel=1e-9)
