"""The record of a run, and the numbers in it."""

import json
import math
import resource
from pathlib import Path

import pytest
import torch
from sklearn.metrics import accuracy_score

from cells.errors import InputError
from nas.runtime.metrics import Average, MetricsLog, accuracy


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@pytest.mark.parametrize("room", [0, 7])
def test_no_part_of_a_row_stays_where_the_disk_is_full(room: int, tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1})
    before = log.path.read_bytes()
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, former[1]))
    try:
        with pytest.raises(OSError, match=r"metrics\.jsonl"):
            log.append({"step": 2, "loss": 0.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert log.path.read_bytes() == before
    log.append({"step": 2})
    assert log.read() == [{"step": 1}, {"step": 2}]


def test_rows_are_strict_json_lines_with_null_for_what_json_lacks(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1, "loss": 0.1, "lams": [math.inf, 2.0], "λ": "0.3\n"})
    log.append({"step": 2, "loss": math.nan, "cost": {"params": -math.inf, "flops": (1, 2)}})
    lines = log.path.read_text().split("\n")
    assert len(lines) == 3 and lines[2] == ""
    rows = [json.loads(line, parse_constant=refuse_constant) for line in lines[:2]]
    assert rows == [
        {"step": 1, "loss": 0.1, "lams": [None, 2.0], "λ": "0.3\n"},
        {"step": 2, "loss": None, "cost": {"params": None, "flops": [1, 2]}},
    ]
    assert log.read() == rows


def test_a_resumed_log_equals_one_never_interrupted(tmp_path: Path) -> None:
    whole, resumed = (MetricsLog(tmp_path / name) for name in ("whole", "resumed"))
    rows = [{"step": step, "loss": step / 3} for step in range(6)]
    for row in rows:
        whole.append(row)
    for row in rows[:5]:
        resumed.append(row)
    with open(resumed.path, "a") as file:
        file.write('{"step": 5, "lo')  # killed while writing
    assert resumed.read() == rows[:5]
    resumed.keep(last_step=2)
    for row in rows[3:]:
        resumed.append(row)
    assert resumed.path.read_bytes() == whole.path.read_bytes()


def test_a_log_not_yet_there_is_empty(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    assert log.read() == []
    log.keep(last_step=3)
    assert log.path.read_bytes() == b""


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.path.write_text('{"step": 1}\n{"step"\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl line 2 is not JSON: remove that line"):
        log.read()


@pytest.mark.parametrize(
    "line", ["3", "[]", "{}", '{"step": null}', '{"step": true}', '{"step": -1}']
)
def test_a_line_without_a_step_is_named(line: str, tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.path.write_text(f'{{"step": 1}}\n{line}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl line 2 tells no step"):
        log.read()


def test_lines_lost_from_the_end_are_told(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for epoch in range(1, 5):
        log.append({"step": 10 * epoch, "epoch": epoch})
    log.keep(last_step=35)  # stopped within the fourth epoch: nothing is lost
    assert len(log.read()) == 3
    content = log.path.read_text()
    for cut in (content[:-3], content[: content.index("\n") + 1]):
        log.path.write_text(cut)
        with pytest.warns(UserWarning, match=r"has lost its rows of steps \d1 to 35"):
            log.keep(last_step=35)


def test_average_is_the_mean_over_examples_and_can_be_continued() -> None:
    values = torch.arange(10, dtype=torch.float64) ** 2
    first = Average()
    assert math.isnan(first.mean)
    first.add(values[:4].mean().item(), count=4)
    second = Average(**vars(first))
    second.add(values[4:].mean().item(), count=6)
    assert second.mean == pytest.approx(285 / 10, rel=1e-15)  # 0² + … + 9² = 285


def test_accuracy_equals_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 5, generator=generator)
    labels = torch.randint(5, (200,), generator=generator)
    expected = accuracy_score(labels.numpy(), logits.argmax(1).numpy())
    assert accuracy(logits, labels).item() == pytest.approx(expected, rel=1e-6)
    assert accuracy(torch.eye(3), torch.tensor([0, 1, 0])).item() == pytest.approx(2 / 3)


def test_a_log_takes_in_another_in_the_order_of_steps(tmp_path: Path) -> None:
    log, apart = MetricsLog(tmp_path / "all"), MetricsLog(tmp_path / "apart")
    for step in (1, 3, 4):
        log.append({"step": step, "of": "all"})
    for step in (2, 3):  # 3 was done once more
        apart.append({"step": step, "of": "apart"})
    log.take_in(apart)
    assert [(row["step"], row["of"]) for row in log.read()] == [
        (1, "all"), (2, "apart"), (3, "apart"), (4, "all"),
    ]  # fmt: skip
    assert not apart.path.exists()
