"""What changes in the course of a search, as functions of its step."""

from dataclasses import dataclass

from nas.architecture.relaxations import SCHEDULES
from nas.cell_search.config import SearchConfig
from nas.optim.rates import cosine
from nas.runtime.settings import total_steps


@dataclass(frozen=True)
class Schedule:
    """The schedules of one search; a step is the number of steps taken before it."""

    config: SearchConfig
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        """Counts the steps of the whole search."""
        return total_steps(self.config, self.steps_per_epoch)

    @property
    def warmup_steps(self) -> int:
        """Counts the steps at the start in which the architecture rests."""
        return min(self.total_steps, self.config.warmup_epochs * self.steps_per_epoch)

    def since_warmup(self, step: int) -> float:
        """Returns the share in [0, 1] of the steps after the warm-up that are over."""
        after = max(1, self.total_steps - self.warmup_steps)
        return max(0, step - self.warmup_steps) / after

    def stage(self, step: int) -> int:
        """Returns the number of the stage of candidates and channels that a step is in."""
        stages = len(self.config.keep_ops) + 1
        return min(int(self.since_warmup(step) * stages), stages - 1)

    def stage_starts(self) -> tuple[int, ...]:
        """Returns the first step of each stage."""
        stages, after = len(self.config.keep_ops) + 1, self.total_steps - self.warmup_steps
        return tuple(self.warmup_steps + -(-k * after // stages) for k in range(stages))

    def partial(self, stage: int) -> int:
        """Returns k of a stage: 1/k of the channels go through the operations."""
        shares = self.config.partial_channels
        return shares[min(stage, len(shares) - 1)]

    def arch_moves(self, step: int) -> bool:
        """Tells whether the architecture takes a step after `step` steps of the weights."""
        return step >= self.warmup_steps

    def on_prior(self, half: str, step: int) -> bool:
        """Tells whether a half, `train` or `val`, sees the operations' prior probabilities."""
        always = half == "train" and self.config.trained_cells == "prior"
        return step < self.warmup_steps or always

    def temperature(self, step: int) -> float:
        """Returns the temperature of the relaxation."""
        config = self.config
        schedule = SCHEDULES[config.temperature_schedule]
        return schedule(step / self.total_steps, config.temperature, config.temperature_end)

    def perturb_radius(self, step: int) -> float:
        """Returns the radius of perturbations: 0 at the warm-up's end, then growing evenly."""
        return self.config.perturb_radius * self.since_warmup(step)

    def arch_lr(self, step: int) -> float:
        """Returns the hypernetwork's learning rate: a cosine after the warm-up, or constant."""
        config = self.config
        if config.arch_lr_end is None:
            return config.arch_lr
        return cosine(config.arch_lr, config.arch_lr_end, self.since_warmup(step))

    def arch_kl_price(self, step: int) -> float:
        """Returns κ of a step: exponential from the warm-up's end, or constant."""
        config, fraction = self.config, self.since_warmup(step)
        if config.arch_kl_end is None:
            return config.arch_kl
        return config.arch_kl * (config.arch_kl_end / config.arch_kl) ** fraction
