"""Regularisers against values and gradients by hand."""

import torch

from nas.objective.prices import REGULARISERS, zero_one


def test_the_zero_one_loss_is_that_of_the_formula() -> None:
    probs = torch.tensor([[0.0, 1.0, 0.5], [0.2, 0.9, 0.4]])
    squares = [0.25, 0.25, 0.0, 0.09, 0.16, 0.01]
    torch.testing.assert_close(zero_one(probs), torch.tensor(-sum(squares) / 6))


def test_the_zero_one_loss_drives_sigmoids_to_the_ends() -> None:
    start = torch.randn(6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], 0.1)
    for _ in range(300):
        optimizer.zero_grad()
        zero_one(logits.sigmoid()).backward()
        optimizer.step()
    weights = logits.detach().sigmoid()
    assert (torch.minimum(weights, 1 - weights) < 0.01).all()
    assert torch.equal(weights > 0.5, start > 0)  # each to its own nearest end


def test_no_regulariser_has_no_gradient() -> None:
    probs = torch.rand(2, 3, requires_grad=True)
    assert float(REGULARISERS["none"](probs)) == 0 and not REGULARISERS["none"](probs).requires_grad
