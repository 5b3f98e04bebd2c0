"""Regularisers of the architecture: expected weights -> a loss, in nats per example.

They are added to the bound at the price that a search sets. A new one is a function and a line in
`REGULARISERS`.
"""

from collections.abc import Callable

from torch import Tensor


def none(probs: Tensor) -> Tensor:
    """Nothing: 0."""
    return probs.new_zeros(())


def zero_one(probs: Tensor) -> Tensor:
    """−mean (p − ½)²: drives weights to 0 and 1 (Chu et al.: FairDARTS, 2020).

    Args:
        probs: (edges, ops) in [0, 1].

    Returns:
        A scalar in [−¼, 0].
    """
    return -(probs - 0.5).square().mean()


REGULARISERS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": none,
    "zero_one": zero_one,
}
