"""Lottery tickets: what is removed, what is rewound, what the command leaves."""

import csv
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cells.errors import InputError
from nas.commands.lottery import command
from nas.data.examples import load_task
from nas.runtime import checkpoint
from nas.runtime.processes import Processes
from nas.weight_search.lottery import (
    LotteryConfig,
    TicketProblem,
    TicketTraining,
    lottery,
    smallest_removed,
)

ALONE = Processes(0, 1, torch.device("cpu"))
CONFIG = LotteryConfig(
    data="digits", layers=("16",), rounds=3, share=0.5, epochs=15, runs=2, device="cpu"
)


def test_each_round_removes_a_share_of_what_is_left() -> None:
    generator = torch.Generator().manual_seed(0)
    tables = [torch.randn(2, 6, 5, generator=generator), torch.randn(2, 3, 7, generator=generator)]
    masks = [torch.ones_like(table) for table in tables]
    left = 24 + 18
    for _ in range(3):
        before, masks = masks, smallest_removed(tables, masks, 0.25)
        left -= round(0.25 * left)
        for network in range(2):
            there = torch.cat([mask[network, :, :-1].flatten() for mask in masks]) > 0
            was = torch.cat([mask[network, :, :-1].flatten() for mask in before]) > 0
            sizes = torch.cat([table[network, :, :-1].abs().flatten() for table in tables])
            assert int(there.sum()) == left and not bool((there & ~was).any())
            assert float(sizes[was & ~there].max()) <= float(sizes[there].min())
        assert all(bool((mask[..., -1] == 1).all()) for mask in masks)  # biases stay


def test_what_stays_goes_back_to_where_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[list[torch.Tensor]] = []
    make = TicketProblem.__init__

    def record(self: TicketProblem, *args: object) -> None:
        make(self, *args)
        starts.append([table.detach().clone() for table in self.tables])

    monkeypatch.setattr(TicketProblem, "__init__", record)
    task = load_task("digits", Path("data"))
    rows = lottery(replace(CONFIG, epochs=1), task, ALONE, tmp_path)
    assert len(starts) == len(rows) == 4
    for later in starts[1:]:
        assert all(torch.equal(a, b) for a, b in zip(later, starts[0], strict=True))
    assert not torch.equal(starts[0][0][:2], starts[0][0][2:])  # controls begin elsewhere
    shares = [row["remaining"] for row in rows]
    assert shares == pytest.approx([1, 0.5, 0.25, 0.125], abs=0.001)


def test_tickets_beat_controls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At an eighth of the weights, as Frankle and Carbin found."""
    options = "--data digits --layers 32 --rounds 3 --share 0.5 --epochs 30 --runs 2 --device cpu"
    out = tmp_path / "run"
    command([*options.split(), "--out", str(out)])
    with (out / "lottery.csv").open(newline="") as file:
        rows = [[float(value) for value in row] for row in list(csv.reader(file))[1:]]
    assert [row[0] for row in rows] == pytest.approx([1, 0.5, 0.25, 0.125], abs=0.001)
    ticket, control = (sum(rows[-1][i:j]) / 2 for i, j in ((1, 3), (3, 5)))
    assert ticket > control + 0.05 and rows[0][1] > 0.85
    assert "12.5" in capsys.readouterr().out
    table = (out / "lottery.csv").read_bytes()
    command([*options.split(), "--out", str(out)])  # nothing is left to do
    assert (out / "lottery.csv").read_bytes() == table
    with pytest.raises(InputError, match="another configuration: layers was"):
        command(["--data", "digits", "--out", str(out)])
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="mine exists and is no lottery: choose another --out"):
        command(["--data", "digits", "--out", str(tmp_path / "mine")])


def test_an_interrupted_lottery_ends_bitwise_the_same(tmp_path: Path, interrupted: Any) -> None:
    options = "--data digits --layers 8 --rounds 2 --epochs 2 --runs 2 --batch-size 256"
    args = [*options.split(), "--device", "cpu", "--out"]
    whole, halved = str(tmp_path / "whole"), str(tmp_path / "halved")
    command([*args, whole])
    for step, number in ((3, None), (5, signal.SIGINT), (16, signal.SIGTERM)):
        with interrupted(TicketTraining, step, number) as stopped:
            command([*args, halved])
        assert number is None or str(stopped.value).endswith("; go on with the same command")
        assert not (tmp_path / "halved" / "lottery.csv").exists()
    command([*args, halved])
    tables = [(Path(out) / "lottery.csv").read_bytes() for out in (halved, whole)]
    assert tables[0] == tables[1]
    for number in range(3):
        path = Path(f"round-{number}") / "checkpoint.pt"
        ours, wanted = (checkpoint.load(Path(out) / path)["tables"] for out in (halved, whole))
        assert all(torch.equal(one, other) for one, other in zip(ours, wanted, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"share": 1.0}, "share must lie between 0 and 1, got 1.0"),
        ({"w_lr": float("nan")}, "w_lr must be positive"),
    ],
)
def test_bad_settings_get_one_line(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **changes)
