"""A training is fitted to a time, on a clock that the test moves."""

import re
from dataclasses import dataclass, replace

import pytest

from cells.errors import InputError
from nas.cell_search.config import SearchConfig
from nas.cell_search.schedule import Schedule
from nas.runtime.course import Deadline, Pace, course_of, with_course
from nas.runtime.durations import read_duration, show_duration

PER_EPOCH = 10


@dataclass
class Course:
    """What a deadline sees of a search."""

    config: SearchConfig
    step: int = 0
    steps_per_epoch: int = PER_EPOCH

    @property
    def total_steps(self) -> int:
        return Schedule(self.config, PER_EPOCH).total_steps

    def phases(self) -> tuple[int, ...]:
        return (0, *Schedule(self.config, PER_EPOCH).stage_starts())

    def change_course(self, config: SearchConfig) -> None:
        self.config = config


class Clock:
    """Seconds, as the test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def deadline(limit: float, clock: Clock, **options: float) -> Deadline:
    """2 s for a step of the warm-up, 4 s after it, 1 s an epoch, 30 s at the end."""
    return Deadline(limit, Pace((2.0, 4.0), 1.0), 30.0, share=0.5, clock=clock, **options)


def seconds(course: Course, speed: float = 1.0) -> float:
    """What a search of that length takes in all, counted step by step."""
    warmup = course.config.warmup_epochs * PER_EPOCH
    steps = [speed * (2.0 if step < warmup else 4.0) for step in range(course.total_steps)]
    return sum(steps) + speed * -(-len(steps) // PER_EPOCH)


def test_a_pace_counts_what_is_left() -> None:
    pace = Pace((2.0, 4.0), 1.0)
    assert pace.seconds((0, 20), 50, 10) == 20 * 2 + 30 * 4 + 5
    assert pace.seconds((0, 20), 50, 10, done=30) == 20 * 4 + 2
    assert pace.seconds((0, 20), 45, 10, done=30) == 15 * 4 + 2


@pytest.mark.parametrize("limit", [100.0, 330.0, 1000.0, 7777.0])
def test_the_length_fits_the_time_to_a_step(limit: float) -> None:
    course = Course(SearchConfig(epochs=50, warmup_epochs=25))
    assert deadline(limit, Clock()).fit(course)
    left = limit - 30 - seconds(course)
    assert 0 <= left <= 2 * 4 + 1  # a step more would be too much, or an epoch's end
    config = course.config
    assert abs(config.warmup_epochs - 0.5 * course.total_steps / PER_EPOCH) <= 1
    assert config.epochs == -(-course.total_steps // PER_EPOCH)
    # What was decided repeats by itself.
    assert Course(replace(SearchConfig(), **course_of(config))).total_steps == course.total_steps


def test_a_short_slow_moment_does_not_end_a_long_run() -> None:
    clock = Clock()
    course = Course(SearchConfig(epochs=100, warmup_epochs=50))
    long = Deadline(10_000.0, Pace((2.0, 4.0), 1.0), 4000.0, share=0.5, clock=clock)
    long.fit(course)
    planned = course.total_steps
    course.step = PER_EPOCH
    clock.now += 3 * 21.0  # an epoch, three times as long as measured
    long.fit(course)
    assert course.total_steps > 0.9 * planned


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.1, 2.0])
def test_another_speed_than_measured_ends_in_time(speed: float) -> None:
    clock = Clock()
    limit, begun = 2000.0, clock.now
    course = Course(SearchConfig(epochs=50, warmup_epochs=25))
    given = deadline(limit, clock)
    given.fit(course)
    while course.step < course.total_steps:
        warm = course.step < course.config.warmup_epochs * PER_EPOCH
        clock.now += speed * (2.0 if warm else 4.0)
        course.step += 1
        if course.step % PER_EPOCH == 0 or course.step == course.total_steps:
            clock.now += speed
            given.fit(course)
    # What comes after the last step is as slow.
    assert abs(clock.now + speed * 30 - begun - limit) <= 0.01 * limit


def test_what_is_done_before_the_first_step_is_no_steps_time() -> None:
    clock = Clock()
    course = Course(SearchConfig(epochs=50, warmup_epochs=25))
    given = deadline(2000.0, clock)
    given.fit(course)
    clock.now += 200.0  # folders, processes
    given.steps_begin(course)
    before = course_of(course.config)
    for _ in range(PER_EPOCH):
        clock.now += 2.0
        course.step += 1
    clock.now += 1.0
    assert given.fit(course) and course_of(course.config) != before
    # 200 s fewer are left, at the speed that was measured.
    left = 2000.0 - 200 - 30 - seconds(course)
    assert 0 <= left <= 2 * 4 + 1


def test_a_resume_counts_what_was_spent_and_not_the_time_between() -> None:
    clock = Clock()
    course = Course(SearchConfig(epochs=50, warmup_epochs=25))
    first = deadline(1000.0, clock)
    first.fit(course)
    clock.now += 150
    state = first.state()
    clock.now += 1e6
    again = Deadline.from_state(state, clock)
    clock.now += 7
    assert again.spent() == 157
    again.count_from(clock.now - 20)  # the program had started before the state was read
    assert again.spent() == 170
    assert again.of_another(2).state() == again.state() | {"others": 2}


def test_others_after_this_one_have_their_time() -> None:
    alone, first = (Course(SearchConfig(epochs=50, warmup_epochs=25)) for _ in range(2))
    deadline(1030.0, Clock()).fit(alone)
    deadline(2030.0, Clock(), others=1.0).fit(first)
    assert abs(alone.total_steps - first.total_steps) <= 1


def test_a_warmup_that_is_over_stays() -> None:
    course = Course(SearchConfig(epochs=50, warmup_epochs=25), step=260)
    deadline(700.0, Clock()).fit(course)
    assert course.config.warmup_epochs == 25
    assert course.total_steps >= course.step
    deadline(31.0, Clock()).fit(course)
    assert course.total_steps == 260  # what is done stays done


def test_too_little_time_is_refused() -> None:
    course = Course(SearchConfig(epochs=50, warmup_epochs=25))
    given = deadline(20.0, Clock(), spent=12.0)
    given.fit(course)
    told = r"more than (\d+) s, got 20 s: 12 s are over, .* takes about 30 s"
    with pytest.raises(InputError, match=told) as raised:
        given.require_enough(course)
    enough = re.search(told, str(raised.value))
    assert enough is not None
    given = deadline(float(enough[1]), Clock(), spent=12.0)
    given.fit(course)
    given.require_enough(course)


def test_a_length_is_taken_from_other_settings() -> None:
    found = SearchConfig(epochs=7, warmup_epochs=2, steps=31, seed=5)
    assert with_course(SearchConfig(seed=3), found) == replace(found, seed=3)
    assert Schedule(found, PER_EPOCH).total_steps == 31
    assert Schedule(replace(found, steps=99), PER_EPOCH).total_steps == 70


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("45m", 2700),
        ("20min", 1200),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("1d 2h", 93600),
    ],
)
def test_durations_are_read(text: str, expected: float) -> None:
    assert read_duration(text, "time") == expected


@pytest.mark.parametrize("text", ["", "45", "0s", "m", "1m1h", "5 minutes", "-3m", "1e3s", "2000d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^time must be a duration .* such as 90s, 45m or 1h30m"):
        read_duration(text, "time")


def test_durations_are_shown() -> None:
    shown = [show_duration(seconds) for seconds in (0.0312, 9.96, 59.6, 61, 3599.7, 5400)]
    assert shown == ["0.031 s", "10 s", "1 min 0 s", "1 min 1 s", "1 h 0 min", "1 h 30 min"]
