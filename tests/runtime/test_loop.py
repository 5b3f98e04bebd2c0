"""The loop, on a training whose numbers are known: interrupted anywhere, in turns with others."""

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas.runtime import checkpoint
from nas.runtime.loop import Training, drive, run, steps
from nas.runtime.metrics import MetricsLog
from nas.runtime.processes import Processes
from nas.runtime.signals import Stopped, StopSignal

ALONE = Processes(0, 1, torch.device("cpu"))
EPOCH, TOTAL = 3, 9


class Doubling(Training):
    """After n steps the value is 2ⁿ − 1."""

    def __init__(
        self,
        folder: Path,
        *,
        stop_at: int | None = None,
        die_at: int | None = None,
        die_saving: int | None = None,
        look_every: int = 1,
    ) -> None:
        """
        Args:
            stop_at: step during which a signal comes.
            die_at: step that is never finished.
            die_saving: step after which there is no time to save.
        """
        super().__init__(SimpleNamespace(to_dict=dict), ALONE, EPOCH, TOTAL)
        self.value, self.unseen, self.look_every = 0, list[int](), look_every
        self.stop_at, self.die_at, self.die_saving = stop_at, die_at, die_saving
        if checkpoint.exists(folder / "checkpoint.pt"):
            self.restore(checkpoint.load(folder / "checkpoint.pt"))

    def advance(self) -> None:
        self.step += 1
        if self.step == self.die_at:
            raise MemoryError
        if self.step == self.stop_at:
            signal.raise_signal(signal.SIGTERM)
        self.value = 2 * self.value + 1
        self.unseen.append(self.value)

    def look(self) -> None:
        for value in self.unseen:
            self.add("value", value)
        self.unseen = []

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


def assert_whole(folder: Path) -> None:
    assert checkpoint.load(folder / "checkpoint.pt")["value"] == 2**TOTAL - 1
    rows = MetricsLog(folder / "metrics.jsonl").read()
    assert [row["step"] for row in rows] == [3, 6, 9]
    sums = [(2**n - 1) + (2 ** (n - 1) - 1) + (2 ** (n - 2) - 1) for n in (3, 6, 9)]
    assert [row["value"] for row in rows] == pytest.approx([each / 3 for each in sums])


@pytest.mark.parametrize(("step", "look_every"), [(1, 1), (3, 1), (8, 1), (4, 2), (5, 2), (9, 20)])
def test_a_signal_saves_and_it_goes_on(step: int, look_every: int, tmp_path: Path) -> None:
    with pytest.raises(Stopped) as caught:
        run(Doubling(tmp_path, stop_at=step, look_every=look_every), tmp_path)
    looked = next(n for n in range(step, TOTAL + 1) if n % look_every == 0 or n % EPOCH == 0)
    assert checkpoint.load(tmp_path / "checkpoint.pt")["step"] == looked
    assert caught.value.received == signal.SIGTERM
    assert str(caught.value) == f"stopped at step {looked}; go on with --resume {tmp_path}"
    run(Doubling(tmp_path, look_every=look_every), tmp_path)
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    ("how", "step"),
    [("die_at", 1), ("die_at", 3), ("die_at", 4), ("die_saving", 3), ("die_saving", 9)],
)
def test_killed_at_any_point_it_goes_on(how: str, step: int, tmp_path: Path) -> None:
    with pytest.raises(MemoryError):
        run(Doubling(tmp_path, **{how: step}), tmp_path)
    finished = step if how == "die_saving" else step - 1
    assert len(MetricsLog(tmp_path / "metrics.jsonl").read()) == finished // EPOCH
    assert checkpoint.load(tmp_path / "checkpoint.pt")["step"] == (step - 1) // EPOCH * EPOCH
    run(Doubling(tmp_path), tmp_path)
    assert_whole(tmp_path)


def test_trainings_take_turns_until_a_signal(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    made: list[Doubling] = []

    def waiting(stop: StopSignal, stop_at: int | None = None) -> Any:
        for folder in folders:
            folder.mkdir(exist_ok=True)
            made.append(Doubling(folder, stop_at=stop_at if folder.name == "b" else None))
            log = MetricsLog(folder / "metrics.jsonl")
            yield folder.name, steps(made[-1], folder / "checkpoint.pt", log, stop, folder.name)

    with StopSignal() as stop, pytest.raises(Stopped, match="step 5 of b"):
        list(drive(waiting(stop, stop_at=5), 2))
    # What was not at its turn takes one more step; the third never began.
    assert [checkpoint.load(f / "checkpoint.pt")["step"] for f in folders[:2]] == [6, 5]
    assert len(made) == 2
    with StopSignal() as stop:
        done = []
        for name in drive(waiting(stop), 2):
            done.append((name, made[-1].step))
    # With a's last three steps b takes three; then c begins, beside the last one of b.
    assert done == [("a", 8), ("b", 1), ("c", 9)]
    for folder in folders:
        assert_whole(folder)
