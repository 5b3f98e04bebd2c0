"""The search in the space `mlp`: hypernetworks that generate weights, or networks by themselves.

The degenerate cell: with one operation on every edge there is nothing to choose, and what λ
generates is the posterior of the weights, N(m(λ), σ(λ)²). The bound is that of every search,

    −L(λ) = E_q[−log p(y | x, w)] + λ · KL(q(w|λ) ‖ p(w)) / N,

in nats per example. All λs of a step, all runs, and all networks that have a λ of their own go
through one batched network.

With `--tune local` λ itself is learned (`nas.optim.best_response`): it takes the place of the
architecture, and moves on examples that train no weights.
"""

import json
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nas.data.examples import Task
from nas.export.chain import data_of, data_values
from nas.optim.best_response import hypergradient
from nas.optim.search import Search
from nas.runtime.form import fitting, require_usable
from nas.runtime.processes import Processes
from nas.weight_search.config import WeightConfig
from nas.weight_search.problem import WeightProblem, WeightSample
from nas.weights.posteriors import Posteriors

SIGMA_RATE = 3.0
"""Learning rate of the logarithms of σ, as a multiple of that of the means."""
LAM_RATE = 0.02
"""Learning rate (Adam) of a learned log λ at the start; it falls as that of the weights does."""


class WeightSearcher(Search):
    """The search of one `WeightConfig`."""

    problem: WeightProblem
    config: WeightConfig

    def __init__(
        self,
        config: WeightConfig,
        processes: Processes,
        task: Task,
        *,
        start: Posteriors | None = None,
        state: dict[str, Any] | None = None,
    ) -> None:
        """
        Args:
            start: posteriors (runs, λs of the grid) with which networks by themselves begin.
            state: checkpoint to continue from.

        Raises:
            InputError: if layers and data do not fit.
        """
        if config.threads:
            torch.set_num_threads(config.threads)
        problem = WeightProblem(config, processes, task)
        if start is not None:
            problem.hypernet.load(start)
        by_scale: dict[float, list[Tensor]] = {1.0: [], SIGMA_RATE: []}
        for name, parameter in problem.hypernet.named_parameters():
            by_scale[SIGMA_RATE if "log_" in name else 1.0].append(parameter)
        groups = [{"params": p, "scale": scale} for scale, p in by_scale.items() if p]
        optimizer = torch.optim.Adam(groups, config.w_lr, fused=True)
        super().__init__(config, processes, problem, optimizer)
        if state is not None:
            self.restore(state)

    def move_architecture(self, train: WeightSample) -> None:
        """Moves the λ of each run, if it is learned, down its loss on a validation batch."""
        problem, config = self.problem, self.config
        if problem.descent is None:
            return
        loss = partial(problem.validation_losses, self.step)
        found = hypergradient(loss, problem.descent.unit_lams)
        losses, grads = self.processes.average(found)
        self.check_finite(losses.sum(), (grads,))
        rate = LAM_RATE * self.w_lr() / config.w_lr
        problem.descent.move(grads, rate / problem.log_width)
        self.add("val_nll", float(losses.mean()))

    @torch.no_grad()
    def ends(self) -> dict[str, list[float]]:
        """Returns the KL in nats, mean over runs, at the ends of λ; or the learned λs."""
        if self.problem.tuned_lams is not None:
            return {"lam": self.problem.tuned_lams.tolist()}
        posteriors = self.problem.hypernet.at(torch.tensor([0.0, 1.0]))
        return {"kl": posteriors.kl(self.config.prior_variance).mean(dim=0).tolist()}

    def postfix(self) -> str:
        loss = f"loss {self.averages['train_loss'].mean:.3f}, " if self.averages else ""
        ends = self.ends()
        if "lam" in ends:
            return f"{loss}λ " + " ".join(f"{lam:.3g}" for lam in ends["lam"])
        low, high = ends["kl"]
        return f"{loss}KL {low:.0f}…{high:.0f} nats"

    def state(self) -> dict[str, Any]:
        task = self.problem.task
        state = super().state() | {
            "hypernet": self.problem.hypernet.state_dict(),
            "task": {
                "input_shape": list(task.input_shape),
                "outputs": task.outputs,
                "regression": task.regression,
                "data": json.dumps(data_values(data_of(task))),
            },
        }
        if self.problem.descent is not None:
            state["tuned"] = self.problem.descent.state()
        return state

    def restore(self, state: dict[str, Any]) -> None:
        with fitting("step, averages or w_optimizer"):
            super().restore(state)
        with fitting("hypernet"):
            self.problem.hypernet.load_state_dict(state["hypernet"])
        require_usable(self.w_optimizer, "w_optimizer")
        if self.problem.descent is not None:
            with fitting("tuned"):
                self.problem.descent.restore(state["tuned"])
