"""Score-function gradients against expectations that can be added up."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from nas.score import HEAVIEST, Scored, draw_cells, expected_loss, log_likelihoods, scored

EDGES, OPS = 2, 3
CELLS = torch.tensor(list(itertools.product(range(OPS), repeat=EDGES)))
WORTH = torch.tensor([0.3, 2.0, 0.9, 1.1, 0.1, 0.7, 1.6, 0.4, 1.2], dtype=torch.float64)
"""Negative log-likelihood of each cell: no sum over edges."""
FREE = torch.zeros(1, 1)
"""Prices of cells that cost nothing."""


def logits(lams: int = 4, scale: float = 1.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(lams, EDGES, OPS, generator=generator, dtype=torch.float64)


def worth(choices: Tensor) -> Tensor:
    return WORTH[choices[:, 0] * OPS + choices[:, 1]]


def exact(arch_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Expected worth for each λ, and the gradient of their sum."""
    arch_logits = arch_logits.clone().requires_grad_()
    log_probs = arch_logits.log_softmax(dim=-1)
    values = log_likelihoods(log_probs, CELLS).exp() @ WORTH
    (grad,) = torch.autograd.grad(values.sum(), arch_logits)
    return values.detach(), grad


def test_log_likelihoods_are_sums_over_edges() -> None:
    log_probs = logits().log_softmax(dim=-1)
    found = log_likelihoods(log_probs, CELLS)
    for lam, (n, cell) in itertools.product(range(4), enumerate(CELLS.tolist())):
        assert found[lam, n] == pytest.approx(sum(float(log_probs[lam, e, o])
                                                  for e, o in enumerate(cell)))  # fmt: skip
    assert found.exp().sum(dim=1).tolist() == pytest.approx([1.0] * 4)


def test_cells_come_from_every_member_of_the_mixture() -> None:
    one_hot = 50.0 * torch.eye(OPS).repeat(1, EDGES).reshape(OPS, EDGES, OPS)
    drawn = draw_cells(one_hot.log_softmax(dim=-1), 6, torch.Generator().manual_seed(0))
    assert drawn.tolist() == [[0, 0], [0, 0], [1, 1], [1, 1], [2, 2], [2, 2]]


def test_cells_follow_the_mixture() -> None:
    log_probs = logits(2).log_softmax(dim=-1)
    drawn = draw_cells(log_probs, 40_000, torch.Generator().manual_seed(0))
    share = (drawn[:, 0] * OPS + drawn[:, 1]).bincount(minlength=9) / 40_000
    mixture = log_likelihoods(log_probs, CELLS).exp().mean(dim=0)
    assert share.tolist() == pytest.approx(mixture.tolist(), abs=0.01)


def test_what_is_kept_has_no_batch_in_it() -> None:
    log_probs = logits(3).log_softmax(dim=-1)
    easy, hard = (scored(CELLS, WORTH + shift, log_probs) for shift in (0.0, 5.0))
    torch.testing.assert_close(easy.nll, hard.nll)
    assert float(easy.nll.mean()) == pytest.approx(0.0, abs=1e-12)
    mixture = log_likelihoods(log_probs, CELLS).exp().mean(dim=0)
    torch.testing.assert_close(easy.log_q.exp(), mixture)


def every_cell(log_probs: Tensor, copies: Tensor) -> Scored:
    """Each cell as often as `copies` says, as if drawn from that distribution."""
    choices = CELLS.repeat_interleave(copies, dim=0)
    log_q = (copies / copies.sum()).double().log().repeat_interleave(copies)
    return Scored(choices, worth(choices), log_q)


def test_with_all_cells_value_and_gradient_are_exact() -> None:
    """From draws of one law, uneven here, follow expectations under every other one."""
    copies = torch.tensor([900, 300, 500, 200, 400, 100, 700, 600, 800])
    arch_logits = logits(scale=0.7).requires_grad_()
    log_probs = arch_logits.log_softmax(dim=-1)
    memory = every_cell(log_probs, copies)
    found = expected_loss(log_probs, [memory], FREE)
    values, grad = exact(arch_logits.detach())
    torch.testing.assert_close(found.detach(), values)
    (found_grad,) = torch.autograd.grad(found.sum(), arch_logits)
    torch.testing.assert_close(found_grad, grad, rtol=2e-3, atol=1e-4)


def test_prices_are_part_of_the_loss() -> None:
    """Whether a cell is unlikely or dear: only the sum counts, for each λ with its own price."""
    log_probs = logits().log_softmax(dim=-1).requires_grad_()
    prices = torch.linspace(0.0, 3.0, 4).double()[:, None] * worth(CELLS.flip(1))
    q = torch.zeros(len(CELLS)).double()
    found = expected_loss(log_probs, [Scored(CELLS, worth(CELLS), q)], prices)
    for lam in range(4):
        memory = Scored(CELLS, worth(CELLS) + prices[lam].detach(), q)
        alone = expected_loss(log_probs[lam : lam + 1], [memory], FREE)
        torch.testing.assert_close(found[lam : lam + 1], alone)
        grads = [torch.autograd.grad(v.sum(), log_probs, retain_graph=True)[0][lam]
                 for v in (found, alone)]  # fmt: skip
        torch.testing.assert_close(*grads)


def test_the_gradient_of_few_cells_is_right_on_average() -> None:
    generator = torch.Generator().manual_seed(1)
    arch_logits = logits(scale=0.5)
    total, rounds = torch.zeros_like(arch_logits), 3000
    for _ in range(rounds):
        leaf = arch_logits.clone().requires_grad_()
        log_probs = leaf.log_softmax(dim=-1)
        steps = [draw_cells(log_probs, 8, generator) for _ in range(4)]
        memory = [scored(cells, worth(cells), log_probs) for cells in steps]
        total += torch.autograd.grad(expected_loss(log_probs, memory, FREE).sum(), leaf)[0] / rounds
    _, grad = exact(arch_logits)
    # Self-normalised weights of 32 cells are biased by a few per cent.
    assert float((total - grad).norm() / grad.norm()) < 0.1
    assert float(torch.cosine_similarity(total.flatten(), grad.flatten(), dim=0)) > 0.995


def test_the_baseline_leaves_its_own_cell_out() -> None:
    log_probs = logits(1).requires_grad_()
    choices = torch.tensor([[0, 0], [1, 2]])
    log_q = log_likelihoods(log_probs.detach(), choices)[0]  # all weights are 1
    nll = torch.tensor([2.0, 5.0], dtype=torch.float64)
    value = expected_loss(log_probs, [Scored(choices, nll, log_q)], FREE)
    assert float(value.detach()) == pytest.approx(3.5)
    (grad,) = torch.autograd.grad(value.sum(), log_probs)
    by_hand = torch.zeros_like(grad)
    for cell, advantage in zip(choices.tolist(), (-3.0, 3.0), strict=True):
        for edge, op in enumerate(cell):
            by_hand[0, edge, op] += advantage / 2
    torch.testing.assert_close(grad, by_hand)


def test_a_cell_that_has_all_the_weight_pulls_nowhere() -> None:
    log_probs = (60.0 * torch.nn.functional.one_hot(torch.tensor([[0, 0]]), OPS)).double()
    log_probs = log_probs.log_softmax(dim=-1).requires_grad_()
    choices = torch.tensor([[0, 0], [1, 2]])
    memory = Scored(choices, torch.tensor([1.0, 9.0]).double(), torch.zeros(2).double())
    value = expected_loss(log_probs, [memory], FREE)
    assert float(value.detach()) == pytest.approx(1.0)
    assert float(torch.autograd.grad(value.sum(), log_probs)[0].abs().max()) < 1e-40


def test_old_cells_weigh_at_most_so_much() -> None:
    log_probs = torch.zeros(1, EDGES, OPS).double().log_softmax(dim=-1)
    choices = torch.tensor([[0, 0], [1, 2]])
    memory = Scored(choices, torch.tensor([0.0, 1.0]).double(), torch.tensor([-50.0, 0.0]).double())
    least = math.exp(float(log_likelihoods(log_probs, choices)[0, 1]))
    value = float(expected_loss(log_probs, [memory], FREE))
    assert value == pytest.approx(least / (least + HEAVIEST))
