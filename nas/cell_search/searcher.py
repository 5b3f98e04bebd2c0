"""The search for cells: weights and hypernetwork, optimised in turn on two halves of the data."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cells.cost import CostTable, tables_from_state
from nas.architecture.distribution import entropy
from nas.cell_search.config import SearchConfig
from nas.cell_search.estimators import ESTIMATORS, ArchGradient
from nas.cell_search.fronts import make_front
from nas.cell_search.problem import Problem
from nas.data.datasets import ImageData
from nas.hypernets.forms import Gibbs
from nas.objective.score_function import Scored
from nas.objective.terms import StepInputs, Terms
from nas.optim.constraints import CostConstraint
from nas.optim.curvature import Eigenvalue, top_eigenvalue
from nas.optim.perturbation import adversarial
from nas.optim.progressive import remaining_ops, widen
from nas.optim.search import Gradient, Search
from nas.runtime.form import fitting, require_usable
from nas.runtime.processes import Processes
from nas.runtime.streams import stream
from nas.selection.finalists import Finalists
from nas.selection.front import Front


class Searcher(Search):
    """A search for cells.

    Attributes:
        problem: data, supernet, hypernetwork and bound.
        estimator: of the architecture's gradient.
        stage: number of the stage of candidates and channels.
        finalists: what `nas.cell_search.finalist_scores` found, if it was asked.
    """

    config: SearchConfig
    problem: Problem

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
        if config.threads:
            torch.set_num_threads(config.threads)
        if state is not None:
            tables = tables_from_state(state["tables"])
        problem = Problem(config, processes, data=data, tables=tables)
        self.supernet, self.hypernet = problem.supernet, problem.hypernet
        super().__init__(config, processes, problem, self._weight_optimizer(config))
        self.arch_optimizer = torch.optim.Adam(
            self.hypernet.parameters(),
            config.arch_lr,
            (config.arch_beta1, 0.999),
            weight_decay=config.arch_weight_decay,
        )
        self.estimator = ESTIMATORS[config.estimator](config, processes, problem)
        self.finalists: Finalists | None = None
        self.stage = 0
        self.constraint: CostConstraint | None = None
        if problem.bounds is not None:
            self.constraint = CostConstraint(
                config.constraint,
                problem.bounds,
                problem.objective,
                problem.lam_range,
                config.bound_levels,
                processes.device,
            )
        if state is not None:
            self.restore(state)

    def _weight_optimizer(self, config: SearchConfig) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            self.supernet.parameters(),
            config.w_lr,
            momentum=config.w_momentum,
            # The prior of Gaussian weights takes the place of weight decay.
            weight_decay=0.0 if config.weights == "gaussian" else config.w_weight_decay,
        )

    # ---------------------------------------------------------------- one step

    def advance(self) -> None:
        """Takes one step, and before it enters a stage of fewer candidates if one begins."""
        stage = self.problem.schedule.stage(self.step)
        if stage > self.stage:  # a run that is made longer does not go back
            log_probs = self.front().log_probs(self.problem.lam_range.grid(self.config.grid))
            self.check_finite(log_probs.exp().sum(), ())
            count = self.config.keep_ops[stage - 1]
            self._enter(stage, remaining_ops(log_probs, self.problem.skeleton.space.none, count))
        super().advance()

    def _enter(self, stage: int, kept: Tensor) -> None:
        """Begins a stage: a supernet of its width, with the weights so far, and its candidates."""
        if self.problem.schedule.partial(stage) != self.supernet.partial:
            supernet = self.problem.new_supernet(stage)
            widen(supernet, self.supernet)
            self.problem.replace_supernet(supernet)
            self.supernet = supernet
            self.w_optimizer = self._weight_optimizer(self.config)
        self.problem.objective.restrict(kept)
        self.stage = stage

    def draw_train(self) -> StepInputs:
        """Draws the training sample, its perturbation moved to where it does most harm."""
        train = self.problem.sample("train", self.step)
        if train.perturbations is None or self.config.perturb != "adversarial":
            return train
        weights = tuple(w.detach() for w in self.problem.weights)
        arch = tuple(a.detach() for a in self.problem.arch)

        def loss(delta: Tensor) -> Tensor:
            moved = train._replace(perturbations=list(delta))
            return self.problem.evaluate(moved, weights, arch).objective

        objective = self.problem.objective
        with torch.no_grad():
            logits, _ = objective.arch_logits(train)
        still = train._replace(perturbations=None)
        resting = [weights for weights, _ in objective.op_weights(still, logits)]

        def landed(delta: Tensor) -> Tensor:
            moved = objective.op_weights(train._replace(perturbations=list(delta)), logits)
            shifts = [weights - rest for (weights, _), rest in zip(moved, resting, strict=True)]
            # One perturbation serves all examples, also where each has weights of its own.
            return torch.stack([s.mean(dim=0) if s.ndim == 3 else s for s in shifts])

        found = adversarial(
            loss,
            landed,
            torch.stack(list(train.perturbations)),
            self.problem.schedule.perturb_radius(self.step),
            reduce=self.processes.average,
        )
        return train._replace(perturbations=list(found))

    def training_terms(
        self, train: StepInputs, weights: Sequence[Tensor], arch: Sequence[Tensor]
    ) -> Terms:
        """Evaluates the training bound; see `Search`."""
        return self.problem.evaluate(train, weights, arch, once=True)

    def step_architecture(self, train: StepInputs, val: StepInputs) -> ArchGradient:
        """Moves the hypernetwork along its estimated gradient, and returns that."""
        found = self.estimator.gradient(train, val, self.step, self.w_optimizer)
        self.check_finite(found.loss, found.grads)
        for parameter, grad in zip(self.problem.arch, found.grads, strict=True):
            parameter.grad = grad
        self.arch_optimizer.step()
        return found

    def move_architecture(self, train: StepInputs) -> Gradient | None:
        """Moves the hypernetwork on the validation half, if it is its turn."""
        for group in self.arch_optimizer.param_groups:
            group["lr"] = self.problem.schedule.arch_lr(self.step)
        if not self.problem.schedule.arch_moves(self.step):
            return None
        val = self.estimator.draw(self.step)
        found = self.step_architecture(train, val)
        if self.constraint is not None:
            self.constraint.enforce(val.unit_lams, self.problem.schedule.since_warmup(self.step))
        self.note("val", found.terms)
        return found.weights

    def change_course(self, config: SearchConfig) -> None:
        """See `Training`; the schedules follow."""
        super().change_course(config)
        self.problem.change_course(config)
        self.estimator.config = config
        self.finalists = None  # they are those of the end

    def phases(self) -> tuple[int, ...]:
        """See `Training`: the warm-up, and the stages of candidates and channels."""
        return (0, *self.problem.schedule.stage_starts())

    # ---------------------------------------------------------------- records

    def front(self) -> Front:
        """Returns the cells that the hypernetwork gives at present."""
        tables = self.problem.tables
        if "kl" in tables:
            tables = tables | {"kl": self.problem.kl_table()}
        kept = self.problem.objective.distribution.kept
        left = None if kept is None else kept.cpu()
        bounds = self.problem.bounds
        return make_front(
            self.config, self.hypernet, tables, self.finalists, left, bounds, self.fingerprint
        )

    def end_epoch(self) -> dict[str, Any]:
        """Tells the Gibbs form what the operations cost by now, where that is their KL."""
        if "kl" in self.config.costs and isinstance(self.hypernet, Gibbs):
            tables = self.front().tables
            costs = torch.stack([tables[name].table for name in self.config.costs])
            self.hypernet.set_costs(costs.to(self.processes.device))
        return super().end_epoch()

    @torch.no_grad()
    def ends(self) -> dict[str, list[float]]:
        """Returns expected costs and mean entropy at the lowest and the highest λ."""
        lams = torch.tensor(
            [self.problem.lam_range.low, self.problem.lam_range.high], dtype=torch.float64
        )
        front = self.front()
        log_probs = front.log_probs(lams)
        values = {
            f"expected_{name}": front.tables[name].expected(log_probs.exp()).tolist()
            for name in self.config.costs
        }
        return values | {"entropy": entropy(log_probs).tolist()}

    def hessian(self) -> Eigenvalue:
        """Returns the top eigenvalue of the validation bound's Hessian in the middle λ's logits."""
        problem, device = self.problem, self.processes.device
        grid = problem.lam_range.grid(3)
        middle = grid[len(grid) // 2][None]
        unit = problem.lam_range.unit(middle).float().to(device)
        val = problem.sample("val", self.step)
        noise = val.relax_noise[:1]
        val = val._replace(lams=middle.to(device), unit_lams=unit, relax_noise=noise)
        weights = tuple(weight.detach() for weight in problem.weights)

        def loss(logits: Tensor) -> Tensor:
            return problem.evaluate(val, weights, self.problem.arch, logits=logits).objective

        generator = stream(self.config.seed, "hessian", self.step)
        logits = self.hypernet(unit).detach()
        return top_eigenvalue(loss, logits, generator, reduce=self.processes.average)

    def row(self) -> dict[str, Any]:
        row = super().row()
        if self.constraint is not None:
            row |= self.constraint.row()
        if self.config.hessian:
            found = self.hessian()
            row |= {"hessian": found.value, "hessian_residual": found.residual}
        return row

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "supernet": self.supernet.state_dict(),
            "hypernet": self.hypernet.state_dict(),
            "arch_optimizer": self.arch_optimizer.state_dict(),
            "memory": [scores._asdict() for scores in self.estimator.memory],
            "finalists": self.finalists._asdict() if self.finalists else None,
            "stage": self.stage,
            "kept": self.problem.objective.distribution.kept,
            "multipliers": self.constraint.multipliers if self.constraint else None,
            "tables": {
                t.name: {"base": t.base, "table": t.table} for t in self.front().tables.values()
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        with fitting("stage or multipliers"):
            if state.get("stage"):
                self._enter(state["stage"], state["kept"])
            if self.constraint is not None:
                self.constraint.set(state["multipliers"])
        with fitting("step, averages or w_optimizer"):
            super().restore(state)
        with fitting("supernet"):
            self.supernet.load_state_dict(state["supernet"])
        with fitting("hypernet"):
            self.hypernet.load_state_dict(state["hypernet"])
        with fitting("arch_optimizer"):
            self.arch_optimizer.load_state_dict(state["arch_optimizer"])
        require_usable(self.w_optimizer, "w_optimizer")
        require_usable(self.arch_optimizer, "arch_optimizer")
        with fitting("memory"):
            self.estimator.memory = [Scored(**scores) for scores in state["memory"]]
        scored = state.get("finalists")
        self.finalists = Finalists.from_state(scored) if scored else None

    def postfix(self) -> str:
        ends = self.ends()
        name = self.config.costs[0]
        low, high = ends[f"expected_{name}"]
        parts = [f"loss {self.averages['train_loss'].mean:.3f}"] if self.averages else []
        if "val_accuracy" in self.averages:
            parts.append(f"val accuracy {100 * self.averages['val_accuracy'].mean:.1f}%")
        parts.append(f"{name} {low:.3g}…{high:.3g}")
        parts.append("entropy {:.2f}…{:.2f}".format(*ends["entropy"]))
        return ", ".join(parts)
