"""The experiment on predicted latency, in small; no time is asserted."""

import json
from pathlib import Path

import pytest
import torch

from cells.cost import CostTable
from cells.genotype import Genotype
from cells.network import Network
from experiments import latency


def test_networks_whose_prices_add_up_are_predicted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def price(where: latency.Skeleton) -> CostTable:
        count = where.space.num_edges
        prices = torch.arange(len(where.space.ops), dtype=torch.float64).square()
        return CostTable("latency", 2.0, prices.expand(count, -1))

    def timed(networks: list[Network], image: torch.Tensor, rounds: int) -> list[list[float]]:
        assert image.is_contiguous(memory_format=torch.channels_last)
        assert image.shape[1:] == (3, 8, 8)
        truth = [price(net.skeleton).total(net.genotype.choices()) for net in networks]
        return [[2 * each + (number == 2) for number in range(rounds)] for each in truth]

    monkeypatch.setattr(latency, "timed", timed)
    monkeypatch.setattr(latency, "cost_table", lambda name, where, **_: price(where))
    text = latency.report(tmp_path, count=8, cells=1, channels=4, side=8, rounds=3)
    lines = text.splitlines()
    assert len(lines) == 2 + 4
    for line, space in zip(
        lines[2:], ("darts", "darts", "nasbench201", "nasbench201"), strict=True
    ):
        columns = [column.strip() for column in line.split("|")]
        assert columns[1] == space and columns[4:6] == ["1.000", "1.000"]
        assert columns[6] == "0.50 (0.50–0.50)"  # the one round that was slow is no median
    cells = json.loads((tmp_path / "darts-1.json").read_text())["cells"]
    where = latency.skeleton("darts", 1, 4, 8)
    assert len(cells) == 8 and all(Genotype.from_choices(where.space, cell) for cell in cells)


def test_agreement_is_that_of_ranks() -> None:
    measured = [1.0, 2.0, 3.0, 4.0]
    found = {
        "predicted": [1.0, 3.0, 2.0, 4.0], "measured": measured, "even": measured,
        "odd": measured[::-1],
    }  # fmt: skip
    row = latency.agreement(found)
    # One neighbouring pair of four is swapped: ρ = 1 − 6·2 / (4·15), τ = (5 − 1) / 6.
    assert row["spearman"] == pytest.approx(0.8) and row["kendall"] == pytest.approx(2 / 3)
    assert (row["ratio"], row["least"], row["most"]) == (1.0, pytest.approx(2 / 3), 1.5)
    assert row["rounds"] == pytest.approx(-1)


def test_every_network_has_its_turn_in_every_round() -> None:
    where = latency.skeleton("nasbench201", 1, 2, 8)
    network = Network(Genotype.from_choices(where.space, (3,) * 6), where).eval()
    runs = []
    network.register_forward_hook(lambda *_: runs.append(1))
    found = latency.timed([network, network], torch.randn(1, 3, 8, 8), 3)
    assert [len(each) for each in found] == [3, 3] and len(runs) == 2 * 2 * 3
