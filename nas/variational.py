"""The search in the space `mlp`: hypernetworks that generate weights, or networks by themselves.

The degenerate cell: with one operation on every edge there is nothing to choose, and what λ
generates is the posterior of the weights, N(m(λ), σ(λ)²). The bound is that of every search,

    −L(λ) = E_q[−log p(y | x, w)] + λ · KL(q(w|λ) ‖ p(w)) / N,

in nats per example. All λs of a step, all runs, and all networks that have a λ of their own go
through one batched network.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from cells.chain import Chain
from nas.evidence import negative_log_likelihood
from nas.examples import RunBatches, Task
from nas.generated import build_weight_hypernet
from nas.loop import Loop
from nas.runtime import Processes, stream
from nas.terms import Terms
from nas.weight_config import NONE, WeightConfig
from nas.weightnet import Posteriors, propagate


class WeightSample(NamedTuple):
    """Everything random about one evaluation of the bound, for each member."""

    x: Tensor
    """(members, 1, batch, *input_shape)."""
    y: Tensor
    """(members, 1, batch)."""
    lams: Tensor
    """(members, lams) float32, nats per nat of KL."""
    unit_lams: Tensor
    """(members, lams), positions of log λ in its range."""
    noises: list[Tensor]
    """Standard normal, (members, lams, batch, …), for each layer with weights."""


class WeightProblem:
    """The bound as a function of all members' parameters.

    Members are runs, or, without a hypernetwork, all networks of the first run, by λ, then those
    of the second, and so on.

    Attributes:
        chain: the network.
        hypernet: generates all weights.
        weights: its parameters, in order.
        arch: none.
        lam_range: λs that can be asked for.
    """

    arch: tuple[Tensor, ...] = ()

    def __init__(self, config: WeightConfig, processes: Processes, task: Task) -> None:
        """
        Raises:
            InputError: if layers and data do not fit, or batches do not divide among processes.
        """
        self.config = config
        self.processes = processes
        self.task = task
        self.lam_range = config.lam_range()
        self.chain = Chain.parse(config.layers, task.input_shape, task.outputs)
        self.train = task.train.to(processes.device)
        self.seeds = list(range(config.seed, config.seed + config.runs))
        self._batches = RunBatches(
            self.train, config.batch_size, self.seeds, rank=processes.rank, world=processes.world
        )
        self.steps_per_epoch = self._batches.steps_per_epoch
        self.total_steps = config.epochs * self.steps_per_epoch
        # Of every run: λs that a network of its own has; none with a hypernetwork.
        self.own_lams = self.lam_range.grid(config.grid)[:, 0] if config.hypernet == NONE else None
        hypernet = build_weight_hypernet(config, self.chain, noisy_target=task.regression)
        self.hypernet = hypernet.to(processes.device)
        self._names = [name for name, _ in self.hypernet.named_parameters()]

    def _unit(self, lams: Tensor) -> Tensor:
        """Positions of log λ in its range, in the shape of `lams`."""
        return self.lam_range.unit(lams.reshape(-1, 1)).reshape(lams.shape)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """The hypernetwork's parameters, in order."""
        return tuple(self.hypernet.parameters())

    def sample(self, half: str, step: int) -> WeightSample:
        """Draws all that is random about one step; every run draws by its own seed."""
        config, device = self.config, self.processes.device
        x, y = self._batches.batch(step)
        copies = 1 if self.own_lams is None else len(self.own_lams)
        drawn = config.lams_per_step if self.own_lams is None else 1
        if self.own_lams is None:
            lams = torch.stack(
                [
                    self.lam_range.spread(drawn, stream(seed, "lams", step))[:, 0]
                    for seed in self.seeds
                ]
            )
        else:
            lams = self.own_lams.repeat(config.runs)[:, None]
        noises: list[list[Tensor]] = []
        for seed in self.seeds:
            generator = stream(seed, f"posterior/{self.processes.rank}", step, device)
            noises.append(
                [
                    torch.randn(drawn, x.shape[1], *shape, generator=generator, device=device)
                    for shape in self.chain.output_shapes
                ]
            )
        joint = [
            torch.stack(layer).repeat_interleave(copies, dim=0)
            for layer in zip(*noises, strict=True)
        ]
        unit_lams = self._unit(lams).float().to(device)
        x, y = (part[:, None].repeat_interleave(copies, dim=0) for part in (x, y))
        return WeightSample(x, y, lams.float().to(device), unit_lams, joint)

    def evaluate(
        self, sample: WeightSample, weights: Sequence[Tensor], arch: Sequence[Tensor] = ()
    ) -> Terms:
        """The bound's terms, means over members and λs.

        The objective is the sum over members, which share nothing, of the mean over λs of the bound
        over √(1 + λ): no λ's own optimum moves, but all of them count in the parameters they share.
        """
        values = dict(zip(self._names, weights, strict=True))
        posteriors: Posteriors = functional_call(self.hypernet, values, (sample.unit_lams,))
        outputs = propagate(self.chain, posteriors.layers, sample.x, sample.noises)
        nll = negative_log_likelihood(outputs, sample.y, posteriors.log_noise).mean(dim=-1)
        kl = posteriors.kl(self.config.prior_variance) / len(self.train)
        totals = nll + sample.lams * kl
        objective = (totals / (1 + sample.lams).sqrt()).mean(dim=1).sum()
        zero = nll.new_zeros(())
        right = zero
        if not self.task.regression:
            right = (outputs.detach().argmax(dim=-1) == sample.y).float().mean()
        return Terms(
            totals.mean(), nll.mean(), kl.mean()[None], zero, zero, zero, objective, right
        )  # fmt: skip


class WeightSearcher(Loop):
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
        by_scale: dict[float, list[Tensor]] = {1.0: [], config.sigma_lr: []}
        for name, parameter in problem.hypernet.named_parameters():
            by_scale[config.sigma_lr if "log_" in name else 1.0].append(parameter)
        groups = [{"params": p, "scale": scale} for scale, p in by_scale.items()]
        optimizer = torch.optim.Adam(groups, config.w_lr, fused=True)
        super().__init__(config, processes, problem, optimizer)
        if state is not None:
            self.restore(state)

    @torch.no_grad()
    def ends(self) -> dict[str, list[float]]:
        """KL in nats at the lowest and the highest λ, mean over runs."""
        posteriors = self.problem.hypernet.at(torch.tensor([0.0, 1.0]))
        return {"kl": posteriors.kl(self.config.prior_variance).mean(dim=0).tolist()}

    def postfix(self) -> str:
        low, high = self.ends()["kl"]
        loss = f"loss {self.averages['train_loss'].mean:.3f}, " if self.averages else ""
        return f"{loss}KL {low:.0f}…{high:.0f} nats"

    def state(self) -> dict[str, Any]:
        task = self.problem.task
        return super().state() | {
            "hypernet": self.problem.hypernet.state_dict(),
            "task": {
                "input_shape": list(task.input_shape),
                "outputs": task.outputs,
                "regression": task.regression,
            },
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.problem.hypernet.load_state_dict(state["hypernet"])
