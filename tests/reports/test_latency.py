"""Whole networks beside latency added up: the line between them, its table, its budgets."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nas
from cells.cell import Skeleton
from cells.errors import InputError
from cells.genotype import Genotype
from cells.space import find_space
from nas.cell_search.config import SearchConfig
from nas.commands.ask import command
from nas.objective.timing import whole_latencies
from nas.reports.answer import in_words, known_cells
from nas.reports.latency import Calibration, measured_rows, read_calibration
from nas.reports.report import read_rows
from nas.run import search
from nas.runtime.files import write_csv

ADDED, TOOK = [2.19, 2.35, 2.56, 3.0, 4.19], [2.21, 2.49, 3.08, 3.61, 5.69]


def test_the_line_is_that_of_least_squares() -> None:
    found = Calibration.fit(ADDED, TOOK)
    slope, intercept = np.polyfit(ADDED, TOOK, 1)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept))
    errors = np.abs(np.polyval([slope, intercept], ADDED) / np.array(TOOK) - 1)
    assert found.error == pytest.approx(errors.max()) and found.networks == 5
    assert found.added(found.whole(3.3)) == pytest.approx(3.3)
    assert found.whole(0.1) == 0
    assert f"takes {slope:.3g} × latency − {-intercept:.3g} ms" in found.text()


@pytest.mark.parametrize(
    ("added", "took", "ratio"),
    [([2.0], [3.0], 1.5), ([2.0, 4.0], [3.0, 8.0], 1.75), ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], 1.0),
     ([2.0, 2.0, 2.0], [3.0, 4.0, 5.0], 2.0)],
)  # fmt: skip
def test_where_there_is_no_line_it_is_the_median_ratio(
    added: list[float], took: list[float], ratio: float
) -> None:
    found = Calibration.fit(added, took)
    assert (found.slope, found.intercept) == (ratio, 0.0)


@pytest.mark.parametrize(("count", "picked"), [(1, [0]), (2, [0, 1]), (9, [0, 2, 4, 6, 8])])
def test_networks_are_spread_from_the_fastest_to_the_slowest(count: int, picked: list[int]) -> None:
    rows = [{"file": str(i), "latency": float(i + 1)} for i in range(count)]
    cells: Any = [f"cell {i}" for i in range(count)]
    asked: list[Any] = []

    def timer(some: Any) -> list[float]:
        asked.extend(some)
        return [7.0] * len(some)

    found = measured_rows(rows[::-1], cells[::-1], timer)
    assert asked == [f"cell {i}" for i in picked]
    assert found == [{"file": str(i), "latency": i + 1.0, "measured": 7.0} for i in picked]


def test_whole_networks_are_measured_and_no_random_number_is_used() -> None:
    space = find_space("nasbench201")
    cells = [Genotype.from_choices(space, [op] * 6) for op in (1, 3)]
    before = torch.get_rng_state()
    times = whole_latencies(cells, Skeleton(space, 1, 10, 8, 8, 2, 1), torch.device("cpu"), 2, 3)
    assert len(times) == 2 and min(times) > 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def run(run_folder: Path, tmp_path: Path) -> Path:
    """A finished search whose networks take twice what their operations do, and 1 ms."""
    run = shutil.copytree(run_folder, tmp_path / "run")
    rows = [row | {"measured": 2 * row["latency"] + 1} for row in read_rows(run)]
    names = ("file", "latency", "measured")
    write_csv(run / "latency.csv", [{name: row[name] for name in names} for row in rows])
    return run


def test_budgets_and_words_are_those_of_whole_networks(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = known_cells(run)
    for row in rows:
        assert row["whole_latency"] == pytest.approx(2 * row["latency"] + 1)
    fastest = min(rows, key=lambda row: row["latency"])
    bound = 2 * fastest["latency"] + 1.0001
    assert nas.within(run, latency=bound).costs["latency"] == fastest["latency"]
    with pytest.raises(InputError, match=f"the least are latency {bound - 1e-4:,.6g}"):
        nas.within(run, latency=fastest["latency"] + 0.5)
    added = f"(measured operation by operation {fastest['latency']:,.3g} ms)"
    assert f"{fastest['whole_latency']:,.3g} ms {added}" in in_words(fastest)
    command([str(run)])
    printed = capsys.readouterr().out
    assert "whole_latency" in printed.splitlines()[0]
    assert "A whole network takes 2 × latency + 1 ms" in printed


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("file,latency,measured\nx,1,0\n", "line 2: measured must be positive milliseconds"),
        ("file,latency,measured\nx,-1,2\n", "line 2: latency must be positive milliseconds"),
        ("file,latency\nx,1\n", "line 2: '' is no finite number"),
        ("file,latency,measured\n", "has no networks"),
    ],
)
def test_a_damaged_table_gets_one_line(table: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "latency.csv").write_text(table)
    with pytest.raises(InputError, match=told):
        read_calibration(tmp_path)


def test_a_search_that_prices_latency_measures_whole_networks(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = SearchConfig(
        costs=("latency",), channels=2, num_cells=1, epochs=1, batch_size=256, grid=3,
        eval_images=50, chance=0, threads=1, device="cpu",
    )  # fmt: skip
    search(config, tmp_path / "run")
    found, rows = read_calibration(tmp_path / "run"), read_rows(tmp_path / "run")
    assert found is not None and found.networks == min(len(rows), 5)
    assert found.text() in capsys.readouterr().out
    for row in rows:
        assert row["whole_latency"] == found.whole(row["latency"])
    assert read_calibration(run_folder) is None  # which priced parameters
