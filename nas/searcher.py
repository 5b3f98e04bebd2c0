"""The search: weights and hypernetwork, optimised in turn on the two halves of the data."""

import math
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from cells.cost import CostTable
from cells.errors import InputError
from nas import bilevel, checkpoint
from nas.config import SearchConfig
from nas.data import ImageData
from nas.elbo import Sample, Terms, entropy
from nas.finalists import IMAGES, LAMS, Finalists, draw, mixture
from nas.front import Front, tables_from_state
from nas.hypernet import Gibbs
from nas.metrics import Average, MetricsLog
from nas.problem import Problem
from nas.runs import CHECKPOINT
from nas.runtime import Processes, StopSignal, stream
from nas.score import Scored, draw_cells, scored


class Gradient(NamedTuple):
    """The weights' gradient of the training bound."""

    terms: Terms
    """The bound's terms, detached."""
    grads: tuple[Tensor | None, ...]
    """One for each weight, averaged over processes; None for a weight that no loss uses."""


class Searcher:
    """One search: everything that its checkpoint holds, and the loop that moves it.

    Attributes:
        config: the settings.
        problem: data, supernet, hypernetwork and bound.
        step: finished steps, each one update of the architecture and one of the weights.
        finalists: what `choose_finalists` found.
    """

    def __init__(
        self,
        config: SearchConfig,
        processes: Processes,
        *,
        data: ImageData | None = None,
        tables: dict[str, CostTable] | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        """
        Args:
            data: the images; read as the configuration says if None.
            tables: cost tables; those of `state`, or counted and measured, if None.
            state: checkpoint to continue from.

        Raises:
            InputError: if data cannot be read or do not fit.
        """
        self.config = config
        self.processes = processes
        if config.threads:
            torch.set_num_threads(config.threads)
        if state is not None:
            tables = tables_from_state(state["tables"])
        self.problem = Problem(config, processes, data=data, tables=tables)
        self.supernet, self.hypernet = self.problem.supernet, self.problem.hypernet
        self.w_optimizer = torch.optim.SGD(
            self.supernet.parameters(),
            config.w_lr,
            momentum=config.w_momentum,
            # The prior of Gaussian weights takes the place of weight decay.
            weight_decay=config.w_weight_decay if config.weights == "point" else 0.0,
        )
        self.arch_optimizer = torch.optim.Adam(
            self.hypernet.parameters(),
            config.arch_lr,
            (config.arch_beta1, config.arch_beta2),
            weight_decay=config.arch_weight_decay,
        )
        self.step = 0
        self.memory: list[Scored] = []
        self.finalists: Finalists | None = None
        self.averages: dict[str, Average] = {}
        if state is not None:
            self._restore(state)

    # ---------------------------------------------------------------- one step

    def w_lr(self) -> float:
        """Learning rate of the weights at the present step: a cosine."""
        low, high = self.config.w_lr_min, self.config.w_lr
        return (
            low + (high - low) * (1 + math.cos(math.pi * self.step / self.problem.total_steps)) / 2
        )

    def arch_step(self, train: Sample, val: Sample) -> tuple[Terms, Gradient | None]:
        """Moves the hypernetwork along the hypergradient of the validation bound.

        Returns:
            The validation bound's terms, and the weights' gradient of the training bound before
            the move, if the order is second: looking ahead takes it.
        """
        weights, arch = self.problem.weights, self.problem.arch
        val_terms: list[Terms] = []
        train_terms: list[Terms] = []

        def val_loss(w: tuple[Tensor, ...], a: tuple[Tensor, ...]) -> Tensor:
            terms = self.problem.evaluate(val, w, a, even=True)
            val_terms.append(terms.detached())
            return terms.objective

        def train_loss(w: tuple[Tensor, ...], a: tuple[Tensor, ...]) -> Tensor:
            terms = self.problem.evaluate(train, w, a)
            train_terms.append(terms.detached())
            return terms.objective

        average = self.processes.average
        if self.config.order == "first":
            found = bilevel.first_order(val_loss, weights, arch, reduce=average)
        else:
            group = self.w_optimizer.param_groups[0]
            state = self.w_optimizer.state
            second = (
                bilevel.exact
                if self.config.order == "exact"
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
        self._check_finite(found.loss, found.grads)
        for parameter, grad in zip(arch, found.grads, strict=True):
            parameter.grad = grad
        self.arch_optimizer.step()
        if found.train_grads is None:
            return val_terms[0], None
        return val_terms[0], Gradient(train_terms[0], found.train_grads)

    def score_step(self, val: Sample) -> Terms:
        """Moves the hypernetwork along the score-function gradient of the validation bound.

        Returns:
            The bound's terms, before the move.
        """
        config, objective = self.config, self.problem.objective
        with torch.no_grad():
            log_probs = self.hypernet(val.unit_lams).log_softmax(dim=-1)
        generator = stream(config.seed, "cells", self.step)
        choices = draw_cells(log_probs, config.cells_per_step, generator).to(val.x.device)
        nll, right = self.processes.average(objective.score(val, choices))
        self.memory = [*self.memory, scored(choices, nll, log_probs)][-config.replay :]
        terms = objective.from_scores(val, self.memory, nll.mean(), right.mean())
        grads = torch.autograd.grad(terms.objective, self.problem.arch)
        self._check_finite(terms.total.detach(), grads)
        for parameter, grad in zip(self.problem.arch, grads, strict=True):
            parameter.grad = grad
        self.arch_optimizer.step()
        return terms.detached()

    def weight_gradient(self, train: Sample) -> Gradient:
        """The gradient of the training bound with respect to the weights."""
        weights = self.problem.weights
        arch = tuple(parameter.detach() for parameter in self.problem.arch)
        terms = self.problem.evaluate(train, weights, arch)
        grads = torch.autograd.grad(terms.objective, weights, allow_unused=True)
        averaged = iter(self.processes.average([grad for grad in grads if grad is not None]))
        return Gradient(
            terms.detached(), tuple(None if grad is None else next(averaged) for grad in grads)
        )

    def weight_step(self, gradient: Gradient) -> Terms:
        """Moves the weights along a gradient of the training bound."""
        weights = self.problem.weights
        for weight, grad in zip(weights, gradient.grads, strict=True):
            weight.grad = grad  # None: an operation that was not computed keeps its momentum, too
        norm = torch.nn.utils.clip_grad_norm_(weights, self.config.w_grad_clip)
        self._check_finite(gradient.terms.total, (norm,))
        self.w_optimizer.step()
        return gradient.terms

    def _check_finite(self, loss: Tensor, grads: Sequence[Tensor]) -> None:
        total = torch.stack([loss, *(grad.sum() for grad in grads)]).sum()
        if not math.isfinite(float(total)):
            raise InputError(
                f"the loss or its gradient became {float(total)} at step {self.step}: the last "
                "checkpoint is kept; lower --w-lr or --arch-lr"
            )

    def advance(self) -> None:
        """One step: the architecture on the validation half, the weights on the training half.

        In the second orders both gradients are taken before either moves, so that the weights'
        serves twice: to look ahead and to move along.
        """
        for group in self.w_optimizer.param_groups:
            group["lr"] = self.w_lr()
        for group in self.arch_optimizer.param_groups:
            group["lr"] = self.config.arch_lr_at(self.problem.since_warmup(self.step))
        train = self.problem.sample("train", self.step)
        gradient = None
        if self.problem.arch_moves(self.step):
            val = self.problem.sample("val", self.step)
            if self.config.estimator == "score":
                terms = self.score_step(val)
            else:
                terms, gradient = self.arch_step(train, val)
            self._note("val", terms)
        self._note("train", self.weight_step(gradient or self.weight_gradient(train)))
        self.step += 1

    # ---------------------------------------------------------------- records

    def _note(self, half: str, terms: Terms) -> None:
        values = {"loss": terms.total, "nll": terms.nll, "arch_kl": terms.arch_kl}
        values |= {"weight_kl": terms.weight_kl, "accuracy": terms.accuracy}
        values |= {f"cost_{n}": c for n, c in zip(self.config.costs, terms.costs, strict=True)}
        (means,) = self.processes.average([torch.stack(list(values.values()))])
        for name, value in zip(values, means.tolist(), strict=True):
            self.averages.setdefault(f"{half}_{name}", Average()).add(value)

    def front(self) -> Front:
        """The cells that the hypernetwork gives at present."""
        tables = self.problem.tables
        if "kl" in tables:
            tables = tables | {"kl": self.problem.kl_table()}
        return Front(self.config, self.hypernet, tables, self.finalists)

    def choose_finalists(self) -> None:
        """Draws the finalists and scores them with the weights as they are."""
        front = self.front()
        logits = front.logits(front.lam_range.grid(LAMS))
        cells = draw(
            front.space,
            logits,
            self.config.discretise,
            self.config.finalists,
            front.costs_of,
            stream(self.config.seed, "finalists", 0),
        )
        (nll,) = self.processes.average([self.problem.likelihoods(cells, IMAGES)])
        log_q = mixture(logits.double().log_softmax(dim=-1), cells)
        self.finalists = Finalists(cells, nll.cpu(), log_q)

    def _refresh_costs(self) -> None:
        """Tells the Gibbs form what the operations cost by now, where that is their KL."""
        if "kl" in self.config.costs and isinstance(self.hypernet, Gibbs):
            tables = self.front().tables
            costs = torch.stack([tables[name].table for name in self.config.costs])
            self.hypernet.set_costs(costs.to(self.processes.device))

    @torch.no_grad()
    def ends(self) -> dict[str, list[float]]:
        """Expected costs and mean entropy at the lowest and the highest λ."""
        lams = torch.tensor(
            [self.problem.lam_range.low, self.problem.lam_range.high], dtype=torch.float64
        )
        front = self.front()
        logits = front.logits(lams)
        values = {
            f"expected_{name}": front.tables[name].expected(logits.softmax(dim=-1)).tolist()
            for name in self.config.costs
        }
        return values | {"entropy": entropy(logits).tolist()}

    def row(self, seconds: float) -> dict[str, Any]:
        """What is logged at the end of an epoch."""
        means = {name: average.mean for name, average in sorted(self.averages.items())}
        epoch = self.step // self.problem.steps_per_epoch
        return {
            "step": self.step, "epoch": epoch, **means, **self.ends(),
            "w_lr": self.w_lr(), "seconds": round(seconds, 3),
        }  # fmt: skip

    def state(self) -> dict[str, Any]:
        """The checkpoint: with the configuration, all that the rest of the run depends on."""
        return {
            "config": self.config.to_dict(),
            "step": self.step,
            "supernet": self.supernet.state_dict(),
            "hypernet": self.hypernet.state_dict(),
            "w_optimizer": self.w_optimizer.state_dict(),
            "arch_optimizer": self.arch_optimizer.state_dict(),
            "memory": [scores._asdict() for scores in self.memory],
            "finalists": self.finalists._asdict() if self.finalists else None,
            "averages": {name: vars(average) for name, average in self.averages.items()},
            "tables": {
                t.name: {"base": t.base, "table": t.table} for t in self.front().tables.values()
            },
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.supernet.load_state_dict(state["supernet"])
        self.hypernet.load_state_dict(state["hypernet"])
        self.w_optimizer.load_state_dict(state["w_optimizer"])
        self.arch_optimizer.load_state_dict(state["arch_optimizer"])
        self.memory = [Scored(**scores) for scores in state["memory"]]
        scored = state.get("finalists")
        self.finalists = Finalists(**scored) if scored else None
        self.averages = {name: Average(**a) for name, a in state["averages"].items()}

    # ---------------------------------------------------------------- the run

    def run(self, folder: Path) -> int | None:
        """Searches to the end, or until SIGINT or SIGTERM.

        Writes `metrics.jsonl` and a checkpoint after every epoch and before leaving.

        Returns:
            The signal that stopped the search, or None.

        Raises:
            InputError: if the loss is not finite any more.
        """
        log = MetricsLog(folder / "metrics.jsonl")
        main = self.processes.is_main
        if main:
            log.keep(self.step)
        bar = tqdm(
            total=self.problem.total_steps,
            initial=self.step,
            unit="step",
            disable=not main,
            mininterval=0.2 if sys.stderr.isatty() else 20,
        )
        start = time.perf_counter()
        with bar, StopSignal() as stop:
            while self.step < self.problem.total_steps:
                self.advance()
                bar.update()
                if self.step % max(1, self.problem.steps_per_epoch // 10) == 0:
                    bar.set_postfix_str(self._postfix(), refresh=False)
                stopped = self.processes.any_process(stop.received is not None)
                epoch_ends = self.step % self.problem.steps_per_epoch == 0
                if epoch_ends:
                    self._refresh_costs()
                    row = self.row(time.perf_counter() - start)
                    self.averages = {}
                    if main:
                        log.append(row)
                    start = time.perf_counter()
                if main and (epoch_ends or stopped):
                    checkpoint.save(folder / CHECKPOINT, self.state())
                if stopped:
                    return stop.received or 15
        return None

    def _postfix(self) -> str:
        ends = self.ends()
        name = self.config.costs[0]
        low, high = ends[f"expected_{name}"]
        parts = [f"loss {self.averages['train_loss'].mean:.3f}"] if self.averages else []
        if "val_accuracy" in self.averages:
            parts.append(f"val {100 * self.averages['val_accuracy'].mean:.1f}%")
        parts.append(f"{name} {low:.3g}…{high:.3g}")
        parts.append("entropy {:.2f}…{:.2f}".format(*ends["entropy"]))
        return ", ".join(parts)
