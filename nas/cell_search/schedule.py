"""What changes in the course of a search, as functions of its step."""

import math
from dataclasses import dataclass

from nas.architecture.relaxations import temperature
from nas.cell_search.config import SearchConfig


@dataclass(frozen=True)
class Schedule:
    """The schedules of one search; a step is the number of steps taken before it."""

    config: SearchConfig
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        """Steps of the whole search."""
        return self.config.epochs * self.steps_per_epoch

    @property
    def warmup_steps(self) -> int:
        """Steps at the start in which the architecture rests."""
        return self.config.warmup_epochs * self.steps_per_epoch

    def since_warmup(self, step: int) -> float:
        """Share in [0, 1] of the steps after the warm-up that are over."""
        after = max(1, self.total_steps - self.warmup_steps)
        return max(0, step - self.warmup_steps) / after

    def stage(self, step: int) -> int:
        """Number of the stage of candidates and channels that a step belongs to."""
        stages = len(self.config.keep_ops) + 1
        return min(int(self.since_warmup(step) * stages), stages - 1)

    def partial(self, stage: int) -> int:
        """k of a stage: 1/k of the channels go through the operations."""
        shares = self.config.partial_channels
        return shares[min(stage, len(shares) - 1)]

    def arch_moves(self, step: int) -> bool:
        """Whether the architecture takes a step after the weights have taken `step` of them."""
        return step >= self.warmup_steps

    def on_prior(self, half: str, step: int) -> bool:
        """Whether a half, `train` or `val`, sees operations as likely as before any search."""
        always = half == "train" and self.config.trained_cells == "prior"
        return step < self.warmup_steps or always

    def temperature(self, step: int) -> float:
        """Temperature of the relaxation."""
        config = self.config
        return temperature(
            step / self.total_steps,
            config.temperature,
            config.temperature_end,
            config.temperature_schedule,
        )

    def perturb_radius(self, step: int) -> float:
        """Size of the ball of perturbations: 0 at the end of the warm-up, then growing evenly."""
        return self.config.perturb_radius * self.since_warmup(step)

    def arch_lr(self, step: int) -> float:
        """Learning rate of the hypernetwork: a cosine from the warm-up's end, or constant."""
        config = self.config
        if config.arch_lr_end is None:
            return config.arch_lr
        share = (1 + math.cos(math.pi * self.since_warmup(step))) / 2
        return config.arch_lr_end + (config.arch_lr - config.arch_lr_end) * share

    def arch_kl_price(self, step: int) -> float:
        """κ of a step: exponential from the warm-up's end, or constant."""
        config, fraction = self.config, self.since_warmup(step)
        if config.arch_kl_end is None:
            return config.arch_kl
        return config.arch_kl * (config.arch_kl_end / config.arch_kl) ** fraction
