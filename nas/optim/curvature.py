"""How curved a loss is: the largest eigenvalue of its Hessian, by Lanczos.

Where that of the validation loss in the architecture's logits grows, the discrete cell will be
worse than the mixture (Zela, Elsken, Saikia, Marrakchi, Brox, Hutter: Understanding and
robustifying differentiable architecture search, 2020).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh
from torch import Tensor

from nas.optim.bilevel import Reduce

BASIS = 12
"""Lanczos vectors at a time; in so few dimensions the whole matrix takes no more products."""
TOLERANCE = 1e-4
"""Residual at which Lanczos ends, as a share of μ + 2r, r the eigenvalues' root mean square.

Spectra of random matrices without a gap, of 112 and 224 dimensions, take 40 to 50 products, up to
130; those of searches, whose largest eigenvalue stands apart, 15 to 21."""


class Eigenvalue(NamedTuple):
    """An eigenvalue of a symmetric matrix H, as a unit vector v found it."""

    value: float
    """μ = vᵀHv."""
    residual: float
    """‖Hv − μv‖, in the unit of μ: within so much of μ there is an eigenvalue (Weinstein)."""


def top_eigenvalue(
    loss: Callable[[Tensor], Tensor],
    point: Tensor,
    generator: torch.Generator,
    reduce: Reduce = tuple,
) -> Eigenvalue:
    """Returns the largest eigenvalue of a loss's Hessian, the most positive one.

    The code of Zela et al. takes that one, too. The eigenvalue of largest modulus would jump
    from one end of the spectrum to the other where both are about as far from zero.

    Args:
        loss: twice differentiable function of a tensor like `point`.
        point: where.
        generator: source of the first direction.
        reduce: average over processes, each of which has a loss of its own: of their Hessians'
            mean. Every process makes the same products.

    Returns:
        Zeros where the gradient is constant, NaN where the Hessian is not finite.
    """
    leaf = point.detach().requires_grad_()
    (grad,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    if not grad.requires_grad:
        return Eigenvalue(0.0, 0.0)

    def product(vector: Any) -> Any:
        direction = torch.tensor(vector).to(leaf).view_as(leaf)
        found = torch.autograd.grad(
            grad, leaf, direction, retain_graph=True, materialize_grads=True
        )
        (mean,) = reduce(found)
        if not mean.isfinite().all():
            raise FloatingPointError  # ARPACK would go on, and complain on stderr
        return mean.flatten().double().cpu().numpy()

    start = torch.randn(
        leaf.numel(), generator=generator, device=generator.device, dtype=torch.float64
    )
    try:
        vector = _top_vector(product, start.cpu().numpy())
        image = product(vector)
    except FloatingPointError:
        return Eigenvalue(math.nan, math.nan)
    value = float(vector @ image)
    return Eigenvalue(value, float(np.linalg.norm(image - value * vector)))


def _top_vector(product: Callable[[Any], Any], start: Any) -> Any:
    """Returns the unit eigenvector (n,) float64 of a symmetric matrix's largest eigenvalue.

    Args:
        product: vector -> matrix times vector, (n,) float64.
        start: first direction, (n,) float64, normally distributed.
    """
    size = len(start)
    if size > BASIS:
        # ARPACK's tolerance is a share of the eigenvalue, and where that is near zero, another one
        # may come back. The largest is at least −r, so that of H + 2r it is at least r. A random
        # direction tells r.
        shift = 2 * np.linalg.norm(product(start)) / np.linalg.norm(start)
        operator = LinearOperator(
            (size, size), matvec=lambda x: product(x) + shift * x, dtype=start.dtype
        )
        try:
            # As a restart takes half a basis, about `size` products at most.
            _, vectors = eigsh(
                operator, 1, which="LA", v0=start, ncv=BASIS, tol=TOLERANCE,
                maxiter=2 * size // BASIS, rng=0,
            )  # fmt: skip
            return vectors[:, 0]
        except ArpackError:
            pass  # no convergence
    matrix = np.stack([product(row) for row in np.eye(size)])
    return np.linalg.eigh((matrix + matrix.T) / 2)[1][:, -1]
