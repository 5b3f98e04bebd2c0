"""The loop, on a training whose numbers are known: interrupted anywhere, in turns with others."""

import signal
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas.runtime import checkpoint
from nas.runtime.loop import Training, drive, run, steps
from nas.runtime.metrics import MetricsLog
from nas.runtime.processes import Processes
from nas.runtime.signals import StopSignal


class Doubling(Training):
    """Three epochs of three steps; after n steps the value is 2ⁿ − 1."""

    die_saving: int | None = None
    """Step after which there is no time to save."""

    def __init__(self, folder: Path, look_every: int = 1) -> None:
        super().__init__(
            SimpleNamespace(to_dict=dict, data=None, tensorboard=False),
            Processes(0, 1, torch.device("cpu")),
            3,
            9,
            {},
        )
        self.look_every, self.value, self.unseen = look_every, 0, list[int]()
        if checkpoint.exists(folder / "checkpoint.pt"):
            self.restore(checkpoint.load(folder / "checkpoint.pt"))

    def advance(self) -> None:
        self.step += 1
        self.value = 2 * self.value + 1
        self.unseen.append(self.value)

    def look(self) -> None:
        while self.unseen:
            self.add("value", self.unseen.pop(0))

    def row(self) -> dict[str, Any]:
        return {"step": self.step, **self.means()}

    def postfix(self) -> str:
        return ""

    def state(self) -> dict[str, Any]:
        if self.step == self.die_saving:
            raise MemoryError
        assert not self.unseen
        return super().state() | {"value": self.value}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.value = state["value"]


def step_of(folder: Path) -> int:
    return int(checkpoint.load(folder / "checkpoint.pt")["step"])


def assert_whole(folder: Path) -> None:
    assert checkpoint.load(folder / "checkpoint.pt")["value"] == 511
    # (1 + 3 + 7) / 3, (15 + 31 + 63) / 3, (127 + 255 + 511) / 3
    rows = [(row["step"], row["value"]) for row in MetricsLog(folder / "metrics.jsonl").read()]
    assert rows == [(3, 11 / 3), (6, 109 / 3), (9, 893 / 3)]


@pytest.mark.parametrize(
    ("step", "look_every", "saved"),
    [(1, 1, 1), (3, 1, 3), (8, 1, 8), (4, 2, 4), (5, 2, 6), (7, 20, 9)],
)
def test_a_signal_saves_at_the_next_look(
    step: int, look_every: int, saved: int, tmp_path: Path, interrupted: Any
) -> None:
    with interrupted(Doubling, step, signal.SIGTERM) as stopped:
        run(Doubling(tmp_path, look_every), tmp_path, "x")
    assert str(stopped.value) == f"stopped at step {saved} of x; go on with --resume {tmp_path}"
    assert step_of(tmp_path) == saved
    run(Doubling(tmp_path, look_every), tmp_path)
    assert_whole(tmp_path)


@pytest.mark.parametrize(("step", "saved"), [(1, 0), (3, 0), (4, 3)])
def test_a_kill_costs_no_more_than_an_epoch(
    step: int, saved: int, tmp_path: Path, interrupted: Any
) -> None:
    with interrupted(Doubling, step):
        run(Doubling(tmp_path), tmp_path)
    assert step_of(tmp_path) == saved
    run(Doubling(tmp_path), tmp_path)
    assert_whole(tmp_path)


def test_a_row_without_its_checkpoint_is_logged_again(tmp_path: Path) -> None:
    training = Doubling(tmp_path)
    training.die_saving = 6
    with pytest.raises(MemoryError):
        run(training, tmp_path)
    assert len(MetricsLog(tmp_path / "metrics.jsonl").read()) == 2 and step_of(tmp_path) == 3
    run(Doubling(tmp_path), tmp_path)
    assert_whole(tmp_path)


def test_trainings_take_turns_until_a_signal(tmp_path: Path, interrupted: Any) -> None:
    folders, made = [tmp_path / name for name in "abc"], list[Doubling]()

    def waiting(stop: StopSignal) -> Any:
        for folder in folders:
            folder.mkdir(exist_ok=True)
            made.append(Doubling(folder))
            log = MetricsLog(folder / "metrics.jsonl")
            yield folder.name, steps(made[-1], folder / "checkpoint.pt", log, stop, folder.name)

    with interrupted(Doubling, 10, signal.SIGINT) as stopped, StopSignal() as stop:
        list(drive(waiting(stop), 2))  # a b a b a b a b a b
    assert stopped.value.at == "step 5 of b"
    # The other one takes one more step; the third never began.
    assert [step_of(folder) for folder in folders[:2]] == [6, 5] and len(made) == 2
    with StopSignal() as stop:
        done = [(name, made[-1].step) for name in drive(waiting(stop), 2)]
    # With a's last three steps b takes three; then c begins, beside the last one of b.
    assert done == [("a", 8), ("b", 1), ("c", 9)]
    for folder in folders:
        assert_whole(folder)


def test_others_are_ended_when_one_fails() -> None:
    ended = []

    def steps(name: str, count: int) -> Generator[None, None, None]:
        try:
            for _ in range(count):
                yield
            raise ValueError(name)
        finally:
            ended.append(name)

    waiting = ((name, steps(name, count)) for name, count in (("a", 5), ("b", 2), ("c", 5)))
    with pytest.raises(ValueError, match="b"):
        list(drive(waiting, at_once=3))
    assert ended == ["b", "c", "a"]
