"""The pace of a training whose steps take what the test's clock says."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas.runtime.loop import Training
from nas.runtime.pace import measure_pace
from nas.runtime.processes import Processes


class Slow(Training):
    """Steps of 2 s in the first epochs, 5 s later; 7 s at the end of an epoch."""

    def __init__(self, per_epoch: int, epochs: int, warmup: int) -> None:
        alone = Processes(0, 1, torch.device("cpu"))
        config = SimpleNamespace(to_dict=dict, data=None, tensorboard=False)
        super().__init__(config, alone, per_epoch, epochs * per_epoch, {})
        self.now, self.warmup = 0.0, warmup * per_epoch

    def phases(self) -> tuple[int, ...]:
        return (0, self.warmup)

    def advance(self) -> None:
        assert self.step < self.total_steps
        self.now += 2.0 if self.step < self.warmup else 5.0
        self.step += 1

    def row(self) -> dict[str, Any]:
        self.now += 7.0
        return {"step": self.step}

    def postfix(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("per_epoch", "epochs", "warmup"), [(11, 8, 4), (500, 2, 1), (3, 5, 1), (2, 2, 1), (40, 1, 0)]
)
def test_phases_and_ends_of_epochs_are_told_apart(
    per_epoch: int, epochs: int, warmup: int, tmp_path: Path
) -> None:
    training = Slow(per_epoch, epochs, warmup)
    pace = measure_pace(training, tmp_path, clock=lambda: training.now)
    # The clock stands still between steps: nothing else takes time.
    assert pace.phases == ((2.0, 5.0) if warmup else (0.0, 5.0))
    assert pace.epoch == 7.0


def test_what_else_an_epochs_end_does_counts(tmp_path: Path) -> None:
    training = Slow(10, 4, 2)

    def page() -> None:
        training.now += 3.0

    pace = measure_pace(training, tmp_path, page, clock=lambda: training.now)
    assert pace.phases == (2.0, 5.0) and pace.epoch == 10.0
    whole = Slow(10, 4, 2)
    while whole.step < whole.total_steps:
        whole.advance()
        if whole.step % 10 == 0:
            whole.row()
            whole.now += 3.0
    assert pace.seconds(whole.phases(), whole.total_steps, 10) == whole.now
