"""What DARTS-CC reports of its networks."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.small_protocol.published import Point, published_points, published_table

RANDOM = "DARTS-CC, random"


@pytest.mark.parametrize("data", ["cifar10", "fashion"])
def test_five_seeds_of_every_lam_and_of_darts_and_twenty_random_cells(data: str) -> None:
    points = published_points(data)
    counts = {kind: sum(p.kind == kind for p in points) for kind in {p.kind for p in points}}
    assert counts == {"DARTS-CC": 25, "DARTS-CC, DARTS": 5, RANDOM: 20}
    lams = [p.lam for p in points if p.kind == "DARTS-CC"]
    assert lams == [lam for lam in (1e-8, 1e-7, 1e-6, 1e-5, 1e-4) for _ in range(5)]
    assert all(p.lam is None for p in points if p.kind != "DARTS-CC")


def test_no_points_for_other_data() -> None:
    assert published_points("digits") == []


def test_parameters_are_those_of_the_committed_cells(data_file: Callable[[str], Path]) -> None:
    rows = json.loads(data_file("darts_cc/genotypes.json").read_text())
    expected = sorted(row["params"] for row in rows if row["net"] == "mini_cifar")
    assert sorted(point.params for point in published_points("cifar10")) == expected


def test_accuracies_are_the_printed_ones_and_those_another_reader_saw() -> None:
    points = published_points("cifar10")
    printed = {p.accuracy for p in points if p.lam == 1e-7}
    assert printed == {0.8964, 0.9123, 0.9167, 0.8992, 0.8953}
    seen = {28_700: 83.8, 49_000: 87.4, 80_000: 89.8, 102_000: 90.1, 125_000: 91.0, 174_000: 91.9}
    random = {p.params: 100 * p.accuracy for p in points if p.kind == RANDOM}
    for size, accuracy in seen.items():
        nearest = min(random, key=lambda params: abs(params - size))
        assert nearest == pytest.approx(size, rel=0.01)
        assert random[nearest] == pytest.approx(accuracy, abs=0.1)


def test_table_compares_what_lies_between_the_random_cells() -> None:
    points = [
        Point("DARTS-CC", 1e-8, 20_000, 0.93), Point("DARTS-CC", 1e-8, 5_000, 0.80),
        Point("DARTS-CC", 1e-4, 4_000, 0.70), Point("DARTS-CC", 1e-4, 4_000, 0.72),
        # a line in log parameters: two points for twice as many
        *(Point(RANDOM, None, 10_000 * 2**n, 0.88 + 0.02 * n) for n in range(3)),
    ]  # fmt: skip
    rows = [
        [cell.strip() for cell in line.split("|")] for line in published_table(points).split("\n")
    ]
    assert rows[2][2:6] == ["1e-08", "5,000–20,000", "86.50 ± 9.19", "+3.00 (1 of 2)"]
    assert rows[3][2:6] == ["1e-04", "4,000–4,000", "71.00 ± 1.41", ""]
    assert rows[4][1] == RANDOM and rows[4][5] == ""
