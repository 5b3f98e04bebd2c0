"""How long a training is: epochs that may change while it runs, and a time that it is fitted to.

Schedules are functions of the share of a training that is over, so that they follow its length.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, TypeVar, final

from cells.errors import InputError
from nas.runtime.durations import show_duration

COURSE = ("epochs", "steps", "warmup_epochs")
"""Settings of the length: a run may change them, its checkpoint tells which are in force."""
CLOSE, FAR = 0.005, 0.05
"""Shares of the whole time, and of what is left of it, by which the end may be off before the
length is changed once more: few changes early, and an end in time."""
ROUNDS = 12
"""Of a length from a warm-up, and a warm-up from a length; each comes closer by half or more."""
MEMORY = 0.1
"""Share of the whole time over which the speed of the present is taken. It begins with the measured
one, so that a few slow steps do not make a run of hours short."""

Config = TypeVar("Config", bound=Any)


class Pace(NamedTuple):
    """What the steps of a training take."""

    phases: tuple[float, ...]
    """Seconds of a step in each phase; see `Training.phases`."""
    epoch: float
    """Seconds at the end of an epoch besides: log and checkpoint."""

    def seconds(self, starts: Sequence[int], total: int, per_epoch: int, done: int = 0) -> float:
        """Returns what the steps from `done` to `total` take.

        Args:
            starts: first step of each phase, rising.
            total: steps of the whole training.
            per_epoch: steps of an epoch.
            done: steps that are over.
        """
        ends = [*starts[1:], total]
        taken = sum(
            rate * max(0, min(end, total) - max(start, done))
            for rate, start, end in zip(self.phases, starts, ends, strict=True)
        )
        return taken + self.epoch * (math.ceil(total / per_epoch) - done // per_epoch)


class TimeLimit(NamedTuple):
    """The time that a run is given."""

    seconds: float | None
    """Of the whole run; None for what it has been given before, if anything."""
    begun: float
    """Reading of `time.monotonic` when the program started."""


class Paced(Protocol):
    """What a deadline changes the length of: a `Training`."""

    config: Any
    step: int
    steps_per_epoch: int
    total_steps: int

    def phases(self) -> tuple[int, ...]:
        """First steps of the parts whose steps take different times."""

    def change_course(self, config: Any) -> None:
        """Goes on with other settings of the length."""


def with_course(config: Config, found: Any) -> Config:
    """Returns settings with the length of others of their kind."""
    return replace(
        config, **{name: getattr(found, name) for name in COURSE if hasattr(found, name)}
    )


def course_of(config: Any) -> dict[str, Any]:
    """Returns the settings of the length, by name."""
    return {name: getattr(config, name) for name in COURSE if hasattr(config, name)}


@final
class Deadline:
    """The time that a run is given, over all its resumes.

    Attributes:
        limit: seconds of the whole run.
    """

    def __init__(
        self,
        limit: float,
        pace: Pace,
        after: float,
        *,
        share: float,
        others: float = 0.0,
        spent: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            limit: seconds of the whole run.
            pace: what steps take, as measured.
            after: seconds that are kept for what comes after the last step.
            share: of the warm-up in all epochs.
            others: trainings of the same length that come after this one.
            spent: seconds so far.
            clock: returns seconds.
        """
        self.limit = limit
        self._pace, self._after, self._share, self._others = pace, after, share, others
        self._former, self._clock, self._begun = spent, clock, clock() - spent
        self._last: tuple[float, int] | None = None
        self._taken = self._expected = MEMORY * limit

    def spent(self) -> float:
        """Returns the seconds of the run so far."""
        return self._clock() - self._begun

    def count_from(self, begun: float) -> None:
        """Counts from an earlier reading of the clock on, e.g. from the start of the program."""
        self._begun = begun - self._former

    def steps_begin(self, training: Paced) -> None:
        """Takes in that the next step begins now: what came before is no step's time."""
        self._last = self.spent(), training.step

    def state(self) -> dict[str, Any]:
        """Returns what `from_state` goes on with, as JSON values."""
        return {
            "limit": self.limit, "spent": self.spent(), "after": self._after,
            "phases": list(self._pace.phases), "epoch": self._pace.epoch,
            "share": self._share, "others": self._others,
        }  # fmt: skip

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], clock: Callable[[], float] = time.monotonic
    ) -> "Deadline":
        """Goes on where `state` was taken; the time in between does not count."""
        return cls(
            state["limit"], Pace(tuple(state["phases"]), state["epoch"]), state["after"],
            share=state["share"], others=state["others"], spent=state["spent"], clock=clock,
        )  # fmt: skip

    def of_another(self, others: int) -> "Deadline":
        """Returns the same for another training of the run.

        Args:
            others: trainings of the same length that come after that one.
        """
        return Deadline.from_state(self.state() | {"others": others}, self._clock)

    def fit(self, training: Paced) -> bool:
        """Gives a training the length that ends in time, at the speed of its last steps.

        The warm-up keeps its share, unless it is over; what is done stays done.

        Returns:
            Whether it has changed.
        """
        self._observe(training)
        before = course_of(training.config)
        # What comes after the last step is as much slower, or faster, as the steps are.
        left = self.limit - self.spent() - self._speed() * self._after
        if abs(self._seconds(training) - left) <= max(CLOSE * self.limit, FAR * left):
            return False
        for _ in range(ROUNDS):  # the warm-up of a length, then the length with that warm-up
            warmup = self._warmup(training)
            low, high = training.step, training.step + 1
            while self._try(training, high, warmup) <= left:
                low, high = high, 2 * high
            while high - low > 1:
                middle = (low + high) // 2
                if self._try(training, middle, warmup) <= left:
                    low = middle
                else:
                    high = middle
            self._try(training, max(1, low), warmup)
        return course_of(training.config) != before

    def require_enough(self, training: Paced) -> None:
        """Makes sure that there is time for a step of every phase at least.

        Raises:
            InputError: if there is not.
        """
        least = self._seconds(training) + self.spent() + self._after
        if least > (1 + 10 * CLOSE) * self.limit:
            raise InputError(
                f"time must be more than {show_duration(least)}, got {show_duration(self.limit)}: "
                f"{show_duration(self.spent())} are over, and what comes after the last step takes "
                f"about {show_duration(self._after)}; allow more, or less after it (of cells: "
                "--finalists, --chance)"
            )

    def _observe(self, training: Paced) -> None:
        """Takes in how long the steps since the last call took."""
        now, former = self.spent(), self._last
        self._last = now, training.step
        if former is not None and training.step > former[1]:
            starts, per_epoch = training.phases(), training.steps_per_epoch
            expected = self._pace.seconds(starts, training.step, per_epoch, former[1])
            kept = math.exp(-expected / (MEMORY * self.limit))
            self._taken = kept * self._taken + now - former[0]
            self._expected = kept * self._expected + expected

    def _seconds(self, training: Paced) -> float:
        """Returns what is left to do takes at the present speed."""
        starts, total = training.phases(), training.total_steps
        whole, rest = (
            self._pace.seconds(starts, total, training.steps_per_epoch, done)
            for done in (0, training.step)
        )
        return self._speed() * (rest + self._others * whole)

    def _speed(self) -> float:
        """Returns what the last steps took, as a multiple of what was measured."""
        return self._taken / self._expected

    def _warmup(self, training: Paced) -> int | None:
        """Returns the epochs of the warm-up of a training of the present length."""
        former, per_epoch = (
            getattr(training.config, "warmup_epochs", None),
            training.steps_per_epoch,
        )
        if former is None or 0 < former * per_epoch <= training.step:
            return former
        wanted = round(self._share * training.total_steps / per_epoch)
        return max(wanted, -(-training.step // per_epoch)) if former else 0

    def _try(self, training: Paced, steps: int, warmup: int | None) -> float:
        """Gives a training a length, and returns what is left to do takes then."""
        epochs = max(1, math.ceil(steps / training.steps_per_epoch), warmup or 0)
        short = steps if steps < epochs * training.steps_per_epoch else None
        values: dict[str, Any] = {"epochs": epochs, "steps": short}
        if warmup is not None:
            values["warmup_epochs"] = warmup
        training.change_course(replace(training.config, **values))
        return self._seconds(training)
