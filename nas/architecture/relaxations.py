"""Relaxations: logits -> weights of the candidate operations, and their temperature.

A relaxation has two parts: `noise` draws, `__call__` is deterministic, so that the several passes
of one bilevel step can share their noise. It also says what the logits mean: `log_probs` are the
expected weights, which costs and discrete cells follow from, and `kl` their distance from the
uniform distribution. A new one is a subclass of `Relaxation` and a line in `RELAXATIONS`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

SCHEDULES: dict[str, Callable[[float, float, float], float]] = {
    "linear": lambda fraction, start, end: (1 - fraction) * start + fraction * end,
    "exponential": lambda fraction, start, end: start ** (1 - fraction) * end**fraction,
    "constant": lambda fraction, start, end: start,
}
"""(finished share of the search in [0, 1], temperature at 0, at 1) -> temperature, all > 0."""


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draws standard Gumbel variables, float32, on the device of the generator.

    The minus logarithm of an exponential variable; torch never draws 0 for the latter, so that
    all are finite, which −log(−log U) is not in float32 when U rounds to 0 or 1.
    """
    exponential = torch.empty(shape, device=generator.device).exponential_(generator=generator)
    return -exponential.log()


class Relaxed(NamedTuple):
    """Weights of the operations on every edge."""

    weights: Tensor
    """(edges, ops) or (batch, edges, ops), >= 0; each row sums to 1, but for the sigmoid."""
    active: tuple[int, ...] | None
    """The one operation per edge that has weight; None if all have."""


class Relaxation(ABC):
    """Turns logits into weights that can be differentiated.

    Unless a subclass says otherwise, an edge's operation is a categorical variable with
    probabilities softmax(logits).
    """

    sampled = False
    """Whether a single operation per edge is computed."""
    categorical = True
    """Whether the expected weights are softmax(logits)."""
    sum_to_one = True
    """Whether the weights of an edge add up to 1."""

    def log_probs(self, logits: Tensor) -> Tensor:
        """Returns the logarithms of the expected weights, (…, edges, ops) as `logits`."""
        return logits.log_softmax(dim=-1)

    def kl(self, log_probs: Tensor, logits: Tensor) -> Tensor:
        """Returns the KL to the distribution that knows nothing, summed over edges, nats, (…).

        Args:
            log_probs: (…, edges, ops), `self.log_probs(logits)`.
            logits: (…, edges, ops).
        """
        edges, ops = log_probs.shape[-2:]
        return (log_probs.exp() * log_probs).sum(dim=(-2, -1)) + edges * math.log(ops)

    def noise(
        self, num_edges: int, num_ops: int, batch: int, generator: torch.Generator
    ) -> Tensor | None:
        """Draws what one step needs; None if nothing, as here.

        With three dimensions, the first of them stands for the examples.

        Args:
            num_edges: rows of the logits.
            num_ops: columns of the logits.
            batch: examples of the step.
            generator: the source of randomness; the noise lies on its device.
        """
        return None

    @abstractmethod
    def __call__(self, logits: Tensor, noise: Tensor | None, temperature: float) -> Relaxed:
        """Returns the weights for given noise.

        Args:
            logits: (edges, ops).
            noise: what `noise` returned.
            temperature: > 0; towards 0 the weights become one-hot.
        """


@final
class Softmax(Relaxation):
    """softmax(logits / T): DARTS (Liu, Simonyan, Yang, 2019), with T = 1."""

    def __call__(self, logits: Tensor, noise: Tensor | None, temperature: float) -> Relaxed:
        return Relaxed(torch.softmax(logits / temperature, dim=-1), None)


class _Noisy(Relaxation):
    """softmax((logits + G) / T), G standard Gumbel (Maddison, Mnih, Teh, 2017; Jang et al. 2017).

    The largest weight falls on operation o with probability softmax(logits)_o at every T. There is
    one architecture for all examples of a step.
    """

    def noise(self, num_edges: int, num_ops: int, batch: int, generator: torch.Generator) -> Tensor:
        return gumbel_noise((num_edges, num_ops), generator)

    def __call__(self, logits: Tensor, noise: Tensor | None, temperature: float) -> Relaxed:
        assert noise is not None
        return Relaxed(torch.softmax((logits + noise) / temperature, dim=-1), None)


@final
class Gumbel(_Noisy):
    """Gumbel-softmax, one architecture for all examples of a step (Xie et al.: SNAS, 2019)."""


@final
class GumbelExample(_Noisy):
    """Gumbel-softmax, an architecture of its own for every example (lower variance)."""

    def noise(self, num_edges: int, num_ops: int, batch: int, generator: torch.Generator) -> Tensor:
        return gumbel_noise((batch, num_edges, num_ops), generator)


@final
class StraightThrough(_Noisy):
    """One-hot at the Gumbel argmax; its gradient is that of the Gumbel-softmax.

    Only the active operation of each edge has to be computed: GDAS (Dong, Yang, 2019),
    equations 3 to 5.
    """

    sampled = True

    def __call__(self, logits: Tensor, noise: Tensor | None, temperature: float) -> Relaxed:
        assert noise is not None
        perturbed = logits + noise
        soft = torch.softmax(perturbed / temperature, dim=-1)
        chosen = perturbed.argmax(dim=-1)
        hard = torch.zeros_like(soft).scatter(-1, chosen[:, None], 1.0)
        # The bracket is exactly 0; (hard + soft) - soft.detach() may round 1 to 0.99999994.
        weights = hard + (soft - soft.detach())
        return Relaxed(weights, tuple(chosen.tolist()))


@final
class DirichletDraw(Relaxation):
    """Weights ~ Dir(c), c = 1 + elu(logits): DrNAS (Chen, Wang, Cheng, Tang, Hsieh, 2021).

    Expected weights are c / Σc. `kl` is that to the flat Dir(1), which the paper takes for its
    distance regulariser. Gradients are pathwise; the temperature plays no part.
    """

    categorical = False

    def log_probs(self, logits: Tensor) -> Tensor:
        concentration = self._concentration(logits)
        return concentration.log() - concentration.sum(dim=-1, keepdim=True).log()

    def kl(self, log_probs: Tensor, logits: Tensor) -> Tensor:
        concentration = self._concentration(logits)
        flat = Dirichlet(torch.ones_like(concentration))
        # What is no number is told with the loss, not here.
        found = Dirichlet(concentration, validate_args=False)
        kl: Tensor = kl_divergence(found, flat)
        return kl.sum(dim=-1)

    def noise(self, num_edges: int, num_ops: int, batch: int, generator: torch.Generator) -> Tensor:
        """Returns the seed of the draw, a scalar."""
        return torch.randint(2**62, (), generator=generator, device=generator.device)

    def __call__(self, logits: Tensor, noise: Tensor | None, temperature: float) -> Relaxed:
        assert noise is not None
        if not bool(logits.isfinite().all()):
            return Relaxed(logits * math.nan, None)
        # torch.distributions takes no generator: the global one draws, and is then put back.
        with torch.random.fork_rng(devices=[logits.device] if logits.is_cuda else []):
            torch.manual_seed(int(noise))
            weights: Tensor = Dirichlet(self._concentration(logits)).rsample()
        return Relaxed(weights, None)

    @staticmethod
    def _concentration(logits: Tensor) -> Tensor:
        """1 + elu(h) = e^h below 0, 1 + h above; (…, edges, ops), at least e^−10."""
        return torch.where(logits < 0, logits.clamp(min=-10.0, max=0.0).exp(), 1 + logits)


@final
class Sigmoid(Relaxation):
    """sigmoid(logits / T), each operation by itself: FairDARTS (Chu, Zhou, Zhang, Li, 2020).

    Operations do not compete: any number of them may be likely on one edge. `log_probs` are
    logarithms of Bernoulli probabilities, `kl` is to fair coins.
    """

    categorical = False
    sum_to_one = False

    def log_probs(self, logits: Tensor) -> Tensor:
        return F.logsigmoid(logits)

    def kl(self, log_probs: Tensor, logits: Tensor) -> Tensor:
        probs = log_probs.exp()
        each = probs * log_probs + (1 - probs) * F.logsigmoid(-logits) + math.log(2)
        return each.sum(dim=(-2, -1))

    def __call__(self, logits: Tensor, noise: Tensor | None, temperature: float) -> Relaxed:
        return Relaxed(torch.sigmoid(logits / temperature), None)


RELAXATIONS: dict[str, type[Relaxation]] = {
    "softmax": Softmax,
    "gumbel": Gumbel,
    "gumbel_example": GumbelExample,
    "straight_through": StraightThrough,
    "dirichlet": DirichletDraw,
    "sigmoid": Sigmoid,
}


def perturbed(weights: Tensor, delta: Tensor, *, sum_to_one: bool = True) -> Tensor:
    """Returns perturbed operation weights that are weights again, as the authors' code does.

    w + δ is clamped to [0, 1], and each edge is divided by its sum. An edge of which nothing is
    left keeps its largest operation alone. The gradient is that of w + δ, as if there was neither
    clamp nor division: the authors differentiate at the point itself.

    Args:
        weights: (…, edges, ops), in [0, 1].
        delta: (edges, ops).
        sum_to_one: whether the weights of an edge add up to 1; otherwise nothing is divided.
    """
    moved = weights + delta
    inside = moved.detach().clamp(0, 1)
    if sum_to_one:
        total = inside.sum(dim=-1, keepdim=True)
        largest = F.one_hot(moved.argmax(dim=-1), moved.shape[-1]).to(moved)
        inside = torch.where(total > 0, inside / total, largest)
    return inside + (moved - moved.detach())
