"""A step of every search: weights moved along their bound.

What is searched, and what else moves at a step, is told by a subclass.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from cells.errors import InputError
from nas.objective.terms import Terms
from nas.runtime.loop import Training
from nas.runtime.processes import Processes


class StepConfig(Protocol):
    """The settings that a step itself reads."""

    @property
    def costs(self) -> tuple[str, ...]:
        """Names of what λ prices."""

    @property
    def w_lr(self) -> float:
        """Learning rate of the weights at the start."""

    @property
    def w_lr_min(self) -> float:
        """Learning rate of the weights at the end."""

    @property
    def w_grad_clip(self) -> float:
        """Largest norm of the weights' gradient."""

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON values."""


class Objective(Protocol):
    """What a search optimises: a bound as a function of weights and architecture parameters."""

    steps_per_epoch: int
    total_steps: int
    fingerprint: Mapping[str, str]

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """What the search moves."""

    @property
    def arch(self) -> tuple[Tensor, ...]:
        """Parameters of the architecture, if any."""

    def sample(self, half: str, step: int) -> Any:
        """Draws all that is random about one step on one half, `train` or `val`."""

    def evaluate(self, sample: Any, weights: Sequence[Tensor], arch: Sequence[Tensor]) -> Terms:
        """The bound's terms at given weights and architecture parameters."""


class Gradient(NamedTuple):
    """The weights' gradient of the training bound."""

    terms: Terms
    """The bound's terms, detached."""
    grads: tuple[Tensor | None, ...]
    """One for each weight, averaged over processes; None for a weight that no loss uses."""


class Search(Training):
    """One search.

    Attributes:
        problem: what is optimised.
        w_optimizer: moves the weights; a group's learning rate is multiplied by its `scale`.
    """

    config: StepConfig

    def __init__(
        self,
        config: StepConfig,
        processes: Processes,
        problem: Objective,
        w_optimizer: torch.optim.Optimizer,
    ) -> None:
        super().__init__(
            config, processes, problem.steps_per_epoch, problem.total_steps, problem.fingerprint
        )
        self.problem = problem
        self.w_optimizer = w_optimizer

    def w_lr(self) -> float:
        """Learning rate of the weights at the present step: a cosine."""
        low, high = self.config.w_lr_min, self.config.w_lr
        return low + (high - low) * (1 + math.cos(math.pi * self.step / self.total_steps)) / 2

    def weight_gradient(self, train: Any) -> Gradient:
        """The gradient of the training bound with respect to the weights."""
        weights = self.problem.weights
        arch = tuple(parameter.detach() for parameter in self.problem.arch)
        terms = self.training_terms(train, weights, arch)
        grads = torch.autograd.grad(terms.objective, weights, allow_unused=True)
        averaged = iter(self.processes.average([grad for grad in grads if grad is not None]))
        return Gradient(
            terms.detached(), tuple(None if grad is None else next(averaged) for grad in grads)
        )

    def training_terms(
        self, train: Any, weights: Sequence[Tensor], arch: Sequence[Tensor]
    ) -> Terms:
        """The training bound's terms at the present weights, to be differentiated once."""
        return self.problem.evaluate(train, weights, arch)

    def weight_step(self, gradient: Gradient) -> Terms:
        """Moves the weights along a gradient of the training bound."""
        weights = self.problem.weights
        for weight, grad in zip(weights, gradient.grads, strict=True):
            weight.grad = grad  # None: an operation that was not computed keeps its momentum, too
        norm = torch.nn.utils.clip_grad_norm_(weights, self.config.w_grad_clip)
        self.check_finite(gradient.terms.total, (norm,))
        self.w_optimizer.step()
        return gradient.terms

    def check_finite(self, loss: Tensor, grads: Sequence[Tensor]) -> None:
        """Stops before an update that would spread what is not a number.

        Raises:
            InputError: if the loss or a gradient is not finite.
        """
        total = torch.stack([loss, *(grad.sum() for grad in grads)]).sum()
        if not math.isfinite(float(total)):
            raise InputError(
                f"the loss or its gradient became {float(total)} at step {self.step}: the last "
                "checkpoint is kept; lower --w-lr or --arch-lr"
            )

    def advance(self) -> None:
        """One step: the architecture, if it moves, and the weights.

        In the second orders both gradients are taken before either moves, so that the weights'
        serves twice: to look ahead and to move along.
        """
        for group in self.w_optimizer.param_groups:
            group["lr"] = self.w_lr() * group.get("scale", 1.0)
        train = self.draw_train()
        gradient = self.move_architecture(train) or self.weight_gradient(train)
        self.note("train", self.weight_step(gradient))
        self.step += 1

    def draw_train(self) -> Any:
        """Draws what the weights are trained on at the present step."""
        return self.problem.sample("train", self.step)

    def move_architecture(self, train: Any) -> Gradient | None:
        """Moves the architecture if it is its turn; here there is none.

        Returns:
            The weights' gradient on `train` before the move, if it was taken.
        """
        return None

    # ---------------------------------------------------------------- records

    def note(self, half: str, terms: Terms) -> None:
        """Takes the terms of one step into the averages of the epoch."""
        values = {"loss": terms.total, "nll": terms.nll, "arch_kl": terms.arch_kl}
        values |= {"weight_kl": terms.weight_kl, "accuracy": terms.accuracy}
        values |= {"penalty": terms.penalty}
        values |= {f"cost_{n}": c for n, c in zip(self.config.costs, terms.costs, strict=True)}
        (means,) = self.processes.average([torch.stack(list(values.values()))])
        for name, value in zip(values, means.tolist(), strict=True):
            self.add(f"{half}_{name}", value)

    @abstractmethod
    def ends(self) -> dict[str, list[float]]:
        """Figures at the lowest and the highest λ, for the log."""

    def row(self) -> dict[str, Any]:
        """See `Training`; `seconds` are those of the epoch."""
        return {
            "step": self.step, "epoch": self.step // self.steps_per_epoch,
            **dict(sorted(self.means().items())), **self.ends(),
            "w_lr": self.w_lr(), "seconds": round(self.seconds, 3),
        }  # fmt: skip

    def end_epoch(self) -> dict[str, Any]:
        row = super().end_epoch()
        self.seconds = 0.0
        return row

    def state(self) -> dict[str, Any]:
        return super().state() | {"w_optimizer": self.w_optimizer.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.w_optimizer.load_state_dict(state["w_optimizer"])
