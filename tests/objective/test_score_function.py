"""Score-function gradients against expectations that can be added up."""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from nas.architecture.distribution import draw_cells, log_likelihoods
from nas.objective.score_function import HEAVIEST, Scored, scored, surrogate_loss

EDGES, OPS = 2, 3
CELLS = torch.tensor(list(itertools.product(range(OPS), repeat=EDGES)))
WORTH = torch.tensor([0.3, 2.0, 0.9, 1.1, 0.1, 0.7, 1.6, 0.4, 1.2], dtype=torch.float64)
"""Negative log-likelihood of each cell: no sum over edges."""
COSTS = torch.tensor([[0.0, 0.5, 2.0], [0.1, 0.0, 1.0]], dtype=torch.float64)
"""What each operation of each edge costs."""
FREE = (torch.zeros(1, 1), torch.zeros(1))
"""Prices of cells that cost nothing, and their mean."""


def logits(lams: int = 4, scale: float = 1.0, seed: int = 0, ops: int = OPS) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(lams, EDGES, ops, generator=generator, dtype=torch.float64)


def worth(choices: Tensor) -> Tensor:
    return WORTH[choices[:, 0] * OPS + choices[:, 1]]


def priced(choices: Tensor, log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """Prices of cells at each λ, the n-th of which is n, and the mean under each distribution."""
    lams = torch.arange(len(log_probs)).double()
    costs = COSTS[torch.arange(EDGES), choices].sum(dim=1)
    expected = (log_probs.detach().exp() * COSTS[:, : log_probs.shape[2]]).sum(dim=(1, 2))
    return lams[:, None] * costs, lams * expected


def estimate(arch_logits: Tensor, memory: list[Scored]) -> Tensor:
    """The estimated gradient of the sum over λs of the expected worth and price."""
    leaf = arch_logits.clone().requires_grad_()
    log_probs = leaf.log_softmax(dim=-1)
    prices = priced(torch.cat([cells.choices for cells in memory]), log_probs)
    (grad,) = torch.autograd.grad(surrogate_loss(log_probs, memory, *prices).sum(), leaf)
    return grad


def exact(arch_logits: Tensor, *, price: bool) -> Tensor:
    """The gradient of the sum over λs of the expected worth, and price, added up over all cells."""
    cells = torch.tensor(list(itertools.product(range(arch_logits.shape[2]), repeat=EDGES)))
    leaf = arch_logits.clone().requires_grad_()
    log_probs = leaf.log_softmax(dim=-1)
    losses = worth(cells).expand(len(leaf), -1)
    if price:
        losses = losses + priced(cells, log_probs)[0]
    values = log_likelihoods(log_probs, cells).exp() * losses
    (grad,) = torch.autograd.grad(values.sum(), leaf)
    return grad


def test_log_likelihoods_are_sums_over_edges() -> None:
    log_probs = logits().log_softmax(dim=-1)
    found = log_likelihoods(log_probs, CELLS)
    for lam, (n, cell) in itertools.product(range(4), enumerate(CELLS.tolist())):
        assert found[lam, n] == pytest.approx(sum(float(log_probs[lam, e, o])
                                                  for e, o in enumerate(cell)))  # fmt: skip
    assert found.exp().sum(dim=1).tolist() == pytest.approx([1.0] * 4)


def test_cells_follow_the_mixture() -> None:
    log_probs = logits(2).log_softmax(dim=-1)
    drawn = draw_cells(log_probs, 40_000, torch.Generator().manual_seed(0))
    share = (drawn[:, 0] * OPS + drawn[:, 1]).bincount(minlength=9) / 40_000
    mixture = log_likelihoods(log_probs, CELLS).exp().mean(dim=0)
    assert share.tolist() == pytest.approx(mixture.tolist(), abs=0.01)


def test_cells_of_one_step_are_independent() -> None:
    """Baselines leave a cell out, and must know nothing of it through the others."""
    one_hot = 50.0 * torch.eye(OPS).repeat(1, EDGES).reshape(OPS, EDGES, OPS)
    generator = torch.Generator().manual_seed(0)
    pairs = torch.stack(
        [draw_cells(one_hot.log_softmax(dim=-1), 2, generator)[:, 0] for _ in range(9000)]
    )
    together = (OPS * pairs[:, 0] + pairs[:, 1]).bincount(minlength=9) / 9000
    assert together.tolist() == pytest.approx([1 / 9] * 9, abs=0.012)


def test_what_is_kept_has_no_batch_in_it() -> None:
    log_probs = logits(3).log_softmax(dim=-1)
    easy, hard = (scored(CELLS, WORTH + shift, log_probs) for shift in (0.0, 5.0))
    torch.testing.assert_close(easy.nll, hard.nll)
    others = [float(torch.cat([WORTH[:n], WORTH[n + 1 :]]).mean()) for n in range(len(WORTH))]
    torch.testing.assert_close(easy.nll, WORTH - torch.tensor(others, dtype=torch.float64))
    mixture = log_likelihoods(log_probs, CELLS).exp().mean(dim=0)
    torch.testing.assert_close(easy.log_q.exp(), mixture)


def steps(log_probs: Tensor, count: int) -> Iterator[tuple[float, Scored]]:
    """Every step there can be, but for the order of its cells, and its probability.

    Args:
        log_probs: (lams, edges, ops), from whose mixture `count` cells are drawn.
    """
    cells = torch.tensor(list(itertools.product(range(log_probs.shape[2]), repeat=EDGES)))
    mixture = log_likelihoods(log_probs, cells).exp().mean(dim=0)
    for drawn in itertools.combinations_with_replacement(range(len(cells)), count):
        often = torch.tensor(drawn).bincount(minlength=len(cells))
        orders = math.factorial(count) / math.prod(map(math.factorial, often.tolist()))
        choices = cells[list(drawn)]
        yield (
            orders * float((mixture**often).prod()),
            scored(choices, worth(choices), log_probs),
        )


@pytest.mark.parametrize(("ops", "count", "memory"), [(3, 2, 1), (2, 8, 1), (2, 2, 2), (2, 2, 3)])
def test_the_gradient_is_unbiased_by_enumeration(ops: int, count: int, memory: int) -> None:
    """Added up over all draws there can be; those of each former step have another mixture."""
    arch_logits = logits(ops=ops)
    laws = [logits(3, seed=seed, ops=ops).log_softmax(dim=-1) for seed in range(1, memory)]
    laws.append(arch_logits.log_softmax(dim=-1))
    total, mean = 0.0, torch.zeros_like(arch_logits)
    for drawn in itertools.product(*(list(steps(law, count)) for law in laws)):
        probability = math.prod(p for p, _ in drawn)
        total += probability
        mean += probability * estimate(arch_logits, [cells for _, cells in drawn])
    assert total == pytest.approx(1.0)
    torch.testing.assert_close(mean, exact(arch_logits, price=True), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("count", "memory"), [(2, 16), (8, 16)])
def test_the_gradient_of_many_steps_is_unbiased(count: int, memory: int) -> None:
    """By draws, within three standard errors: a mean with the cell itself would give 1 − 1/n.

    The gradient is compared along its true direction; half of the steps had another mixture.
    """
    generator = torch.Generator().manual_seed(1)
    arch_logits = logits(scale=0.5)
    laws = [logits(5, 0.5, seed=1).log_softmax(dim=-1), arch_logits.log_softmax(dim=-1)]
    truth = exact(arch_logits, price=True)
    along = []
    for _ in range(600):
        remembered = []
        for number in range(memory):
            law = laws[number % 2]
            choices = draw_cells(law, count, generator)
            hard = torch.randn((), generator=generator, dtype=torch.float64)
            remembered.append(scored(choices, worth(choices) + hard, law))
        grad = estimate(arch_logits, remembered)
        along.append(float((grad * truth).sum() / truth.square().sum()))
    found = torch.tensor(along)
    error = float(found.std()) / math.sqrt(len(along))
    assert error < 0.03
    assert float(found.mean()) == pytest.approx(1.0, abs=3 * error)


def test_the_gradient_of_one_draw_of_all_cells_is_exact() -> None:
    """From draws of one law, uneven here, follow expectations under every other one."""
    copies = torch.tensor([900, 300, 500, 200, 400, 100, 700, 600, 800])
    choices = CELLS.repeat_interleave(copies, dim=0)
    log_q = (copies / copies.sum()).double().log().repeat_interleave(copies)
    arch_logits = logits(scale=0.7)
    found = estimate(arch_logits, [Scored(choices, worth(choices), log_q)])
    torch.testing.assert_close(found, exact(arch_logits, price=True))


def test_prices_are_part_of_the_loss() -> None:
    """Whether a cell is unlikely or expensive: only the sum counts, for each λ by its price."""
    log_probs = logits().log_softmax(dim=-1).requires_grad_()
    prices, _ = priced(CELLS, log_probs)
    q, nothing = torch.zeros(len(CELLS)).double(), torch.zeros(4)
    found = surrogate_loss(log_probs, [Scored(CELLS, worth(CELLS), q)], prices, nothing)
    (grad,) = torch.autograd.grad(found.sum(), log_probs)
    for lam in range(4):
        memory = Scored(CELLS, worth(CELLS) + prices[lam], q)
        alone = surrogate_loss(log_probs[lam : lam + 1], [memory], *FREE)
        torch.testing.assert_close(torch.autograd.grad(alone.sum(), log_probs)[0][lam], grad[lam])


def test_two_cells_by_hand() -> None:
    """All weights are 1: each pulls by half of its distance from the other."""
    log_probs = logits(1).log_softmax(dim=-1).requires_grad_()
    choices = torch.tensor([[0, 0], [1, 2]])
    memory = scored(choices, torch.tensor([2.0, 5.0], dtype=torch.float64), log_probs)
    value = surrogate_loss(log_probs, [memory], *FREE)
    assert float(value.detach()) == 0
    (grad,) = torch.autograd.grad(value.sum(), log_probs)
    by_hand = torch.zeros_like(grad)
    for cell, advantage in zip(choices.tolist(), (-3.0, 3.0), strict=True):
        for edge, op in enumerate(cell):
            by_hand[0, edge, op] += advantage / 2
    torch.testing.assert_close(grad, by_hand)


def test_other_steps_say_how_likely_data_are_under_a_lam() -> None:
    """A λ that likes good cells compares with what the other steps' good cells have."""
    log_probs = torch.tensor([[0.9, 0.05, 0.05], [0.5, 0.25, 0.25]], dtype=torch.float64).log()
    log_probs = log_probs[None].requires_grad_()
    choices, log_q = torch.tensor([[0, 0], [1, 1]]), torch.full((2,), math.log(0.1)).double()
    now = Scored(choices, torch.tensor([-1.0, 1.0]).double(), log_q)
    then = Scored(choices, torch.tensor([-3.0, 3.0]).double(), log_q)
    (grad,) = torch.autograd.grad(surrogate_loss(log_probs, [then, now], *FREE).sum(), log_probs)
    first, second = 4.5, 0.125  # importance weights
    level_then, level_now = ((second - first) * x / (first + second) for x in (1.0, 3.0))
    by_hand = torch.zeros(2, 3, dtype=torch.float64)
    by_hand[:, 0] = first * ((-1 - level_now) + (-3 - level_then)) / 4
    by_hand[:, 1] = second * ((1 - level_now) + (3 - level_then)) / 4
    torch.testing.assert_close(grad[0], by_hand)


def test_old_cells_weigh_at_most_so_much() -> None:
    log_probs = torch.zeros(1, EDGES, OPS).double().log_softmax(dim=-1).requires_grad_()
    memory = Scored(CELLS[:1], torch.ones(1).double(), torch.tensor([-50.0]).double())
    value = surrogate_loss(log_probs, [memory], *FREE)
    (grad,) = torch.autograd.grad(value.sum(), log_probs)
    assert grad[0, :, 0].tolist() == [HEAVIEST] * EDGES
