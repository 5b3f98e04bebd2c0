"""Two ways to the gradient of a search's validation bound in the hypernetwork's parameters."""

from abc import ABC, abstractmethod
from functools import partial
from typing import NamedTuple, final

import torch
from torch import Tensor

from nas.architecture.distribution import draw_cells
from nas.cell_search.config import SearchConfig
from nas.cell_search.problem import Problem
from nas.objective.score_function import Scored, scored
from nas.objective.terms import StepInputs, Terms
from nas.optim import bilevel
from nas.optim.search import Gradient
from nas.runtime.processes import Processes
from nas.runtime.streams import stream

CELLS_PER_STEP = 8
"""Cells that the score estimator draws at every step of the architecture."""
REMEMBERED = 16
"""Steps of the architecture whose cells it remembers."""


class ArchGradient(NamedTuple):
    """The gradient of the validation bound at one step, the mean over processes."""

    terms: Terms
    """The bound's terms before the move, of this process, detached."""
    loss: Tensor
    """What is checked to be finite with the gradient, a scalar."""
    grads: tuple[Tensor, ...]
    """One for each parameter of the hypernetwork."""
    weights: Gradient | None = None
    """The weights' gradient on the training sample, if looking ahead took it."""


class Estimator(ABC):
    """Estimates the architecture's gradient from a sample of each half.

    Attributes:
        memory: cells that were scored at earlier steps, if the estimator remembers any.
    """

    def __init__(self, config: SearchConfig, processes: Processes, problem: Problem) -> None:
        self.config, self.processes, self.problem = config, processes, problem
        self.memory: list[Scored] = []

    @abstractmethod
    def draw(self, step: int) -> StepInputs:
        """Draws the validation sample of a step."""

    @abstractmethod
    def gradient(
        self, train: StepInputs, val: StepInputs, step: int, w_optimizer: torch.optim.Optimizer
    ) -> ArchGradient:
        """Returns the gradient of the bound on `val`.

        Args:
            train: the training sample of the step.
            w_optimizer: moves the weights; looking ahead needs its rate and momenta.
        """


@final
class Relaxed(Estimator):
    """Differentiates the likelihood through the operations' weights: DARTS and its kin."""

    def draw(self, step: int) -> StepInputs:
        return self.problem.sample("val", step)

    def gradient(
        self, train: StepInputs, val: StepInputs, step: int, w_optimizer: torch.optim.Optimizer
    ) -> ArchGradient:
        problem, order = self.problem, self.config.order
        weights, arch = problem.weights, problem.arch
        val_terms: list[Terms] = []
        train_terms: list[Terms] = []

        def val_loss(w: tuple[Tensor, ...], a: tuple[Tensor, ...]) -> Tensor:
            terms = problem.evaluate(val, w, a, balance_lams=True, once=order == "first")
            val_terms.append(terms.detached())
            return terms.objective

        def train_loss(w: tuple[Tensor, ...], a: tuple[Tensor, ...]) -> Tensor:
            terms = problem.evaluate(train, w, a)
            train_terms.append(terms.detached())
            return terms.objective

        average = self.processes.average
        if order == "first":
            found = bilevel.first_order(val_loss, weights, arch, reduce=average)
            return ArchGradient(val_terms[0], found.loss, found.grads)
        group, state = w_optimizer.param_groups[0], w_optimizer.state
        second = (
            bilevel.exact
            if order == "exact"
            else partial(bilevel.finite_difference, epsilon=self.config.epsilon)
        )
        found = second(
            train_loss,
            val_loss,
            weights,
            arch,
            lr=group["lr"],
            momentum=group["momentum"],
            buffers=[state[w].get("momentum_buffer") if w in state else None for w in weights],
            weight_decay=group["weight_decay"],
            reduce=average,
        )
        assert found.train_grads is not None
        ahead = Gradient(train_terms[0], found.train_grads)
        return ArchGradient(val_terms[0], found.loss, found.grads, ahead)


@final
class ScoreFunction(Estimator):
    """Scores cells drawn from the mixture over many λs: see `nas.objective.score_function`."""

    def draw(self, step: int) -> StepInputs:
        return self.problem.sample("val", step, spread=self.config.score_lams)

    def gradient(
        self, train: StepInputs, val: StepInputs, step: int, w_optimizer: torch.optim.Optimizer
    ) -> ArchGradient:
        config, problem = self.config, self.problem
        with torch.no_grad():
            log_probs = problem.hypernet(val.unit_lams).log_softmax(dim=-1)
        generator = stream(config.seed, "cells", step)
        choices = draw_cells(log_probs, CELLS_PER_STEP, generator).to(val.x.device)
        nll, accuracy = self.processes.average(problem.objective.score(val, choices))
        self.memory = [*self.memory, scored(choices, nll, log_probs)][-REMEMBERED:]
        terms = problem.objective.from_scores(val, self.memory, nll.mean(), accuracy.mean())
        grads = torch.autograd.grad(terms.objective, problem.arch)
        return ArchGradient(terms.detached(), terms.total.detach(), grads)


ESTIMATORS: dict[str, type[Estimator]] = {"relaxed": Relaxed, "score": ScoreFunction}
