"""The bound of generated weights as a function of all parameters."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from cells.chain import Chain
from nas.data.batches import Examples, RunBatches
from nas.data.examples import Task
from nas.objective.terms import Terms
from nas.optim.best_response import Descent, near
from nas.runtime.processes import Processes
from nas.runtime.settings import total_steps
from nas.runtime.streams import stream
from nas.weight_search.config import LOCAL, NONE, POINT, WeightConfig
from nas.weight_search.evidence import mean_nll, negative_log_likelihood
from nas.weight_search.networks import build_weight_hypernet
from nas.weights.posteriors import Posteriors, propagate


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
        descent: moves the λ of each run, if λ is learned.
        lam_range: λs that can be asked for.
    """

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
        self.total_steps = total_steps(config, self.steps_per_epoch)
        self.fingerprint = task.fingerprint
        # Of every run: λs that a network of its own has; none with a hypernetwork.
        self.own_lams = self.lam_range.grid(config.grid)[:, 0] if config.hypernet == NONE else None
        hypernet = build_weight_hypernet(config, self.chain, noisy_target=task.regression)
        self.hypernet = hypernet.to(processes.device)
        self._names = [name for name, _ in self.hypernet.named_parameters()]
        self.descent: Descent | None = None
        if config.tune == LOCAL:
            assert task.val is not None
            self.descent = Descent(torch.full((config.runs,), 0.5))
            self._val_batches = RunBatches(
                task.val.to(processes.device), config.batch_size, self.seeds,
                rank=processes.rank, world=processes.world, name="val",
            )  # fmt: skip

    def _unit(self, lams: Tensor) -> Tensor:
        """Positions of log λ in its range, in the shape of `lams`."""
        return self.lam_range.unit(lams.reshape(-1, 1)).reshape(lams.shape)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """Lists the hypernetwork's parameters, in order."""
        return tuple(self.hypernet.parameters())

    @property
    def arch(self) -> tuple[Tensor, ...]:
        """Returns the positions (runs,) of the λs that are learned, if they are."""
        return () if self.descent is None else (self.descent.unit_lams,)

    @property
    def tuned_lams(self) -> Tensor | None:
        """Returns the λs that are learned, (runs,) float64, if they are."""
        if self.descent is None:
            return None
        return self.lam_range.lam(self.descent.unit_lams[:, None])[:, 0]

    @property
    def log_width(self) -> float:
        """Returns the width of the range of log λ."""
        return math.log(self.lam_range.high[0] / self.lam_range.low[0])

    def sample(self, half: str, step: int) -> WeightSample:
        """Draws all that is random about one step; every run draws by its own seed."""
        config, device = self.config, self.processes.device
        x, y = self._batches.batch(step)
        copies = 1 if self.own_lams is None else len(self.own_lams)
        drawn = config.lams_per_step if self.own_lams is None else 1
        if self.own_lams is None:
            lams = torch.stack([self._draw_lams(run, step) for run in range(config.runs)])
        else:
            lams = self.own_lams.repeat(config.runs)[:, None]
        shapes = [] if config.weights == POINT else self.chain.output_shapes
        noises: list[list[Tensor]] = []
        for seed in self.seeds:
            generator = stream(seed, f"posterior/{self.processes.rank}", step, device)
            noises.append(
                [
                    torch.randn(drawn, x.shape[1], *shape, generator=generator, device=device)
                    for shape in shapes
                ]
            )
        joint = [
            torch.stack(layer).repeat_interleave(copies, dim=0)
            for layer in zip(*noises, strict=True)
        ]
        unit_lams = self._unit(lams).float().to(device)
        x, y = (part[:, None].repeat_interleave(copies, dim=0) for part in (x, y))
        return WeightSample(x, y, lams.float().to(device), unit_lams, joint)

    def _draw_lams(self, run: int, step: int) -> Tensor:
        """λs (lams_per_step,) for one run's hypernetwork: over the range, or about the learned."""
        count, generator = self.config.lams_per_step, stream(self.seeds[run], "lams", step)
        if self.descent is None:
            return self.lam_range.spread(count, generator)[:, 0]
        width = self.config.tune_width / self.log_width
        unit_lams = near(float(self.descent.unit_lams[run]), width, count, generator)
        return self.lam_range.lam(unit_lams[:, None])[:, 0]

    def validation_losses(self, step: int, unit_lams: Tensor) -> Tensor:
        """Returns what λ is learned from: losses (runs,) on a validation batch, nats per example.

        Args:
            unit_lams: positions (runs,) of log λ.
        """
        x, y = self._val_batches.batch(step)
        posteriors = self.hypernet(unit_lams[:, None].to(self.processes.device))
        return mean_nll(self.chain, posteriors, Examples(x[:, None], y[:, None]))[:, 0].cpu()

    def evaluate(
        self, sample: WeightSample, weights: Sequence[Tensor], arch: Sequence[Tensor] = ()
    ) -> Terms:
        """Evaluates the bound's terms, means over members and λs.

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
        accuracy = zero
        if not self.task.regression:
            accuracy = (outputs.detach().argmax(dim=-1) == sample.y).float().mean()
        return Terms(
            totals.mean(), nll.mean(), kl.mean()[None], zero, zero, zero, objective, accuracy
        )  # fmt: skip
