"""What a search optimises: the two halves of the data, the supernet, the bound at a step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from cells.cost import CostTable
from cells.supernet import Supernet
from nas.architecture.budgets import Budgets
from nas.cell_search.config import SearchConfig
from nas.cell_search.fronts import make_distribution, make_hypernet
from nas.cell_search.schedule import Schedule
from nas.data.augmentation import shrink
from nas.data.batches import draw_part, stratified_split
from nas.data.datasets import ImageData, load_data
from nas.data.image_task import ImageTask
from nas.objective.costs import MEASURED, kl_costs, measure
from nas.objective.elbo import NegativeElbo
from nas.objective.likelihood import RecordedLikelihood
from nas.objective.terms import StepInputs, Terms
from nas.optim.perturbation import random_in_ball
from nas.runtime.confusion import balanced_weights
from nas.runtime.output import note
from nas.runtime.processes import Processes, has_bfloat16
from nas.runtime.streams import stream
from nas.weights.gaussian import to_gaussian
from nas.weights.kernels import to_generated

SCORED_BATCH = 250
"""Images per batch, at most, on which cells are compared."""


class Problem:
    """The bilevel problem of one configuration.

    Attributes:
        task: the images, and the sizes of the networks for them.
        val: validation part, on this process's device.
        skeleton: sizes of the network.
        supernet: the weights w.
        hypernet: the architecture parameters φ.
        weights: the supernet's parameters, in order.
        arch: the hypernetwork's parameters, in order.
        tables: cost tables in their own units, by name.
        bounds: upper bounds on costs, if there are any.
        objective: the negative evidence lower bound, a function of w and φ.
        schedule: what changes in the course of the search.
        steps_per_epoch: steps in which the training part is seen once.
        total_steps: steps of the whole search.
        fingerprint: of the data.
    """

    def __init__(
        self,
        config: SearchConfig,
        processes: Processes,
        *,
        data: ImageData | None = None,
        tables: dict[str, CostTable] | None = None,
    ) -> None:
        """
        Args:
            data: the images; read as the configuration says if None.
            tables: cost tables; counted and measured if None.

        Raises:
            InputError: if data cannot be read or do not fit.
        """
        self.config = config
        self.processes = processes
        device = processes.device
        self.lam_range = config.lam_range()
        data = data or processes.main_first(
            lambda: load_data(
                config.data,
                Path(config.data_root),
                split_seed=config.split_seed,
                image_size=config.image_size,
                image_fit=config.image_fit,
            )
        )
        self.task = ImageTask.of(
            data, config.space, config.channels, config.num_cells, config.stem_stride
        )
        self.skeleton = self.task.skeleton
        if data.val is None:
            train, val = stratified_split(data.train, config.val_fraction, config.split_seed)
        else:
            train, val = data.train, data.val
            note(f"{data.name!r} has a validation part of its own: val_fraction has no effect")
        self.val = val.to(device)
        self._batches = {
            name: self.task.batches(
                part,
                config.batch_size,
                seed=config.seed,
                name=name,
                augmentation=config,
                processes=processes,
                shrunk=config.shrink,
            )
            for name, part in (("train", train), ("val", self.val))
        }
        self.steps_per_epoch = self._batches["train"].steps_per_epoch
        self.schedule = Schedule(config, self.steps_per_epoch)
        self.total_steps = self.schedule.total_steps
        self.fingerprint = data.fingerprint
        self.supernet = self.new_supernet(0)
        weight_noise = None
        if config.weights == "gaussian":
            weight_noise = torch.Generator(device)
            to_gaussian(self.supernet, weight_noise, sigma=config.initial_sigma)
        elif config.weights == "generated":
            rng = stream(config.seed, "kernels", 0)
            to_generated(self.supernet, rng, config.kernel_embedding)
        self.tables = tables or self._measure()
        self.hypernet = make_hypernet(config, self.tables).to(device)
        self.bounds = (
            Budgets.read(config.bounds, self.tables, self.skeleton.space) if config.bounds else None
        )
        self.objective = self._objective(len(train), weight_noise)
        self.look_up()

    def new_supernet(self, stage: int) -> Supernet:
        """Builds the supernet of a stage, at its initial weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(self.config.seed, "weights", stage).initial_seed())
            supernet = Supernet(self.skeleton, self.schedule.partial(stage))
        supernet.to(self.processes.device)
        supernet.to(memory_format=torch.channels_last)
        return supernet

    def change_course(self, config: SearchConfig) -> None:
        """Goes on with settings of another length."""
        self.config, self.schedule = config, Schedule(config, self.steps_per_epoch)
        self.total_steps = self.schedule.total_steps

    def look_up(self) -> None:
        """Lists the parameters once: a supernet has thousands of modules to walk through."""
        self.weights = tuple(self.supernet.parameters())
        self.arch = tuple(self.hypernet.parameters())
        self._names = [
            *(f"supernet.{name}" for name, _ in self.supernet.named_parameters()),
            *(f"hypernet.{name}" for name, _ in self.hypernet.named_parameters()),
        ]
        if self.processes.device.type == "cuda" and self.config.weights == "point":
            self.objective.recorded = RecordedLikelihood(self.supernet, self.objective.likelihood)

    def replace_supernet(self, supernet: Supernet) -> None:
        """Puts another supernet in the place of this one."""
        self.supernet = self.objective.supernet = supernet
        self.look_up()

    def _measure(self) -> dict[str, CostTable]:
        config = self.config
        tables = measure(self.skeleton, self.processes, config.latency_batch, config.latency_file)
        if config.weights == "gaussian":
            tables["kl"] = self.kl_table()
        return tables

    @torch.no_grad()
    def kl_table(self) -> CostTable:
        """Returns the KL of Gaussian weights at present, in nats."""
        table, rest = kl_costs(self.supernet, self.config.prior_variance)
        return CostTable("kl", float(rest), table.double().cpu())

    def _objective(self, num_train: int, weight_noise: torch.Generator | None) -> NegativeElbo:
        config, device = self.config, self.processes.device
        weights = None
        if config.class_weights != "none":
            labels = self.task.data.train.labels
            weights = balanced_weights(labels, self.task.data.num_classes).to(device)
        # The columns of `kl` are zero here: they follow from the weights at every step.
        units = [
            self.tables[name].priced(config.lam_unit)
            if name in MEASURED
            else (torch.zeros_like(self.tables[name].table), 0.0)
            for name in config.costs
        ]
        return NegativeElbo(
            self.supernet,
            self.hypernet,
            make_distribution(config),
            torch.stack([table for table, _ in units]).float().to(device),
            torch.tensor([offset for _, offset in units], device=device),
            kl_column=config.costs.index("kl") if "kl" in config.costs else None,
            kl_scale=1 / num_train,
            prior_variance=config.prior_variance,
            op_probs=config.op_probs,
            weight_noise=weight_noise,
            autocast=config.precision == "bfloat16"
            or (config.precision == "auto" and has_bfloat16(device)),
            config=config,
            class_weights=weights,
        )

    def sample(self, half: str, step: int, *, spread: int | None = None) -> StepInputs:
        """Draws all that is random about one step on one half, `train` or `val`.

        Every process draws for the joint batch and keeps its part; λ is the same in all of them
        and in both halves.

        Args:
            half: `train` or `val`.
            spread: number of λs that are drawn evenly over their range, instead of the search's.
        """
        config, device = self.config, self.processes.device
        x, y = self._batches[half].batch(step)
        x = shrink(x, config.shrink)
        draws = stream(config.seed, "lams", step)
        if spread is None:
            lams = self.lam_range.sample(config.lams_per_step, draws)
        else:
            lams = self.lam_range.spread(spread, draws)
        prior = self.schedule.on_prior(half, step)
        generator = stream(config.seed, f"relax/{half}", step)
        rank, world = self.processes.rank, self.processes.world
        noises: list[Tensor | None] = []
        for _ in range(len(lams)):
            noise = self._noise(len(x) * world, generator, connected=prior)
            if noise is not None and noise.ndim == 3:  # one for each example
                noise = noise[rank * len(x) : (rank + 1) * len(x)]
            noises.append(None if noise is None else noise.to(device))
        return StepInputs(
            x,
            y,
            lams.to(device),
            self.lam_range.unit(lams).float().to(device),
            noises,
            stream(config.seed, f"posterior/{half}/{rank}", step).initial_seed(),
            self.schedule.temperature(step),
            self.schedule.arch_kl_price(step),
            prior,
            self._perturbations(half, step, len(lams)),
        )

    def _perturbations(self, half: str, step: int, count: int) -> list[Tensor] | None:
        """Draws a perturbation of the operations' weights for each λ, while they are trained."""
        radius = self.schedule.perturb_radius(step)
        if half != "train" or self.config.perturb == "none" or radius == 0:
            return None
        space = self.skeleton.space
        generator = stream(self.config.seed, "perturb", step)
        shape = (space.num_edges, len(space.ops))
        drawn = [random_in_ball(shape, radius, generator) for _ in range(count)]
        return [each.to(self.processes.device) for each in drawn]

    def _noise(self, batch: int, generator: torch.Generator, *, connected: bool) -> Tensor | None:
        """Draws the noise of a relaxation.

        Args:
            connected: draw again as long as it makes a cell of the prior whose output does not
                depend on its inputs, from which nothing can be learned.
        """
        space, relaxation = self.skeleton.space, self.objective.relaxation
        kept = self.objective.distribution.kept
        columns = len(space.ops) if kept is None else kept.shape[1]
        while True:
            noise = relaxation.noise(space.num_edges, columns, batch, generator)
            if not connected or kept is not None or not relaxation.sampled:
                return noise
            assert noise is not None
            active = relaxation(
                self.objective.prior_logits.cpu().expand_as(noise), noise, 1.0
            ).active
            assert active is not None
            if space.connected(active):
                return noise

    def likelihoods(self, choices: Tensor, images: int) -> Tensor:
        """Scores discrete cells on validation images, the same for all of them.

        Args:
            choices: (n, edges) int64.
            images: how many, if the validation part has as many.

        Returns:
            (n,) float64 mean negative log-likelihoods with the supernet's weights, nats per
            example, on the CPU. Normalisation uses the statistics of each batch.
        """
        part = draw_part(self.val, images, self.config.split_seed)
        sample = self.sample("val", 0)
        total = torch.zeros(len(choices), dtype=torch.float64)
        number = -(-len(part) // SCORED_BATCH)
        size = -(-len(part) // number)  # a last batch of few images would have poor statistics
        for x, y in self.task.evaluation_batches(part, size):
            batch = sample._replace(x=shrink(x, self.config.shrink), y=y)
            total += len(y) * self.objective.score(batch, choices.to(x.device))[0].double().cpu()
        return total / len(part)

    def evaluate(
        self,
        sample: StepInputs,
        weights: Sequence[Tensor],
        arch: Sequence[Tensor],
        *,
        balance_lams: bool = False,
        logits: Tensor | None = None,
        once: bool = False,
    ) -> Terms:
        """Evaluates the bound's terms at given weights and architecture parameters.

        Args:
            weights: one tensor for each parameter of the supernet.
            arch: one tensor for each parameter of the hypernetwork.
            balance_lams: see `NegativeElbo.forward`.
            logits: `arch_logits` there.
            once: whether the weights are the present ones, or these without gradient, and the terms
                are differentiated no more than once, so that recordings may be used.
        """
        recorded = once and self.objective.recorded is not None
        options: dict[str, Any] = {"balance_lams": balance_lams, "arch_logits": logits}
        if recorded:
            options["own"] = weights
        values = dict(zip(self._names[len(weights) :], arch, strict=True))
        if not recorded and weights is not self.weights:
            values |= zip(self._names, weights, strict=False)
        terms: Terms = functional_call(
            self.objective, values, (sample,), options, tie_weights=False
        )
        return terms
