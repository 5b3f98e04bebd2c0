"""A front beside random cells: the table, the band, what is said of them."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cells.cell import Skeleton
from cells.cost import cost_table
from cells.errors import InputError
from cells.space import find_space
from nas.cell_search.config import SearchConfig
from nas.cell_search.folder import read_run
from nas.cell_search.fronts import make_front, make_hypernet
from nas.cell_search.searcher import Searcher
from nas.data.batches import draw_part
from nas.reports.chance import band, beside_chance, chance_rows, read_chance
from nas.reports.report import read_rows, supernet_accuracy
from nas.run import search
from nas.runtime.processes import Processes
from nas.selection.chance import draw_chance
from nas.selection.front import Front

TINY = SearchConfig(
    channels=2, num_cells=1, epochs=1, batch_size=256, grid=3, eval_images=50, threads=1,
    device="cpu",
)  # fmt: skip


def cells(costs: Any, accuracies: Any) -> list[dict[str, Any]]:
    pairs = zip(np.asarray(costs).tolist(), np.asarray(accuracies).tolist(), strict=True)
    return [{"params": cost, "val_accuracy": a, "over": "params"} for cost, a in pairs]


def test_a_search_leaves_a_hundred_random_cells_of_its_fronts_costs(run_folder: Path) -> None:
    rows, chance = read_rows(run_folder), read_chance(run_folder)
    assert len(chance) == 100 and {row["over"] for row in chance} == {"params"}
    low, high = (end(row["params"] for row in rows) for end in (min, max))
    logs = np.log([row["params"] for row in chance])
    edges = np.linspace(np.log(low), np.log(high), 4)[1:3]
    thirds = np.bincount(np.searchsorted(edges, logs))
    assert len(thirds) == 3 and min(thirds) >= 15, thirds
    for row in chance:
        hits = 100 * row["val_accuracy"]  # of 100 images
        assert hits == pytest.approx(round(hits), abs=1e-4)
    config, state = read_run(run_folder)
    searcher = Searcher(config, Processes(0, 1, torch.device("cpu")), state=state)
    problem = searcher.problem
    images, data = draw_part(problem.val, config.eval_images, config.split_seed), problem.task.data
    drawn = draw_chance(searcher.front(), rows, 100)
    for row, (_, cell) in list(zip(chance, drawn, strict=True))[::30]:  # scored as the front's
        scored = supernet_accuracy(searcher.supernet, cell, images, data.mean, data.std)
        assert row["val_accuracy"] == pytest.approx(scored, abs=1e-6)
        assert row["flops"] == searcher.front().tables["flops"].total(cell)


def test_without_random_cells_there_is_no_table_and_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search(replace(TINY, chance=0), tmp_path / "run")
    assert not (tmp_path / "run" / "chance.csv").exists()
    assert read_chance(tmp_path / "run") == []
    assert "random cell" not in capsys.readouterr().out
    assert "random cell" not in (tmp_path / "run" / "front.svg").read_text()


def front(costs: tuple[str, ...], seed: int = 0) -> Front:
    config = SearchConfig(costs=costs, lam_low=(1e-3,), lam_high=(10.0,), seed=seed)
    skeleton = Skeleton(find_space("nasbench201"), 1, 10, 8, 8, 4, 1)
    tables = {name: cost_table(name, skeleton) for name in ("params", "flops")}
    return make_front(config, make_hypernet(config, tables), tables)


def test_random_cells_follow_from_the_seed_and_each_cost_has_its_share() -> None:
    rows = [{"params": 500.0, "flops": 1e4}, {"params": 4000.0, "flops": 1e5}]
    one, again, other = (
        chance_rows(front(("params", "flops"), seed), rows, lambda cell: sum(cell) / 100, 31)
        for seed in (0, 0, 1)
    )
    assert one == again != other
    assert [row["over"] for row in one] == ["params"] * 16 + ["flops"] * 15
    assert {*one[0]} == {"params", "flops", "val_accuracy", "genotype", "over"}


def test_a_lead_without_scatter_is_told_exactly() -> None:
    costs = np.geomspace(1e3, 1e5, 50)
    rows = cells(costs[::7], 0.8 + 0.03 + 0 * costs[::7])
    (told,) = beside_chance(rows, cells(costs, 0.8 + 0 * costs))
    assert told == (
        "The front's cells are 3.0 points above the median random cell of equal parameters "
        "(95 % interval 3.0 to 3.0; 50 random cells)."
    )
    (told,) = beside_chance(cells(costs[::7], 0.75 + 0 * costs[::7]), cells(costs, 0.8 + 0 * costs))
    assert "5.0 points below the median random cell" in told
    (told,) = beside_chance(rows, cells(costs[:9], 0.8 + 0 * costs[:9]))
    assert told == "9 random cells are too few to compare the front's cells with."


def test_cells_that_are_random_themselves_are_seldom_called_better() -> None:
    """The interval covers 0 as often as it says, but for what a bootstrap of 8 cells misses."""
    draw = np.random.default_rng(0)
    costs, shown = np.geomspace(1e3, 1e5, 100), 0
    for _ in range(25):
        accuracies = 0.8 + 0.02 * np.log(costs / 1e3) + draw.normal(0, 0.02, size=100)
        at = np.exp(draw.uniform(np.log(2e3), np.log(5e4), 8))
        own = 0.8 + 0.02 * np.log(at / 1e3) + draw.normal(0, 0.02, size=8)
        (told,) = beside_chance(cells(at, own), cells(costs, accuracies))
        shown += "not shown" not in told
    assert shown <= 25 * 0.2


def test_a_lead_that_is_there_is_seen() -> None:
    draw = np.random.default_rng(1)
    costs = np.geomspace(1e3, 1e5, 100)
    rows = cells(costs[5::12], 0.84 + draw.normal(0, 0.01, size=8))
    (told,) = beside_chance(rows, cells(costs, 0.8 + draw.normal(0, 0.02, size=100)))
    assert " points above the median random cell of equal parameters (95 % interval " in told


def test_a_band_has_the_quantiles_of_the_nearest_fifth() -> None:
    draw = np.random.default_rng(0)
    costs = np.geomspace(1e3, 1e5, 100)
    accuracies = draw.uniform(size=100)
    found = band(cells(costs, accuracies), "params", points=3)
    assert found is not None
    assert found.costs == pytest.approx([1e3, 1e4, 1e5])
    for place, part in enumerate((slice(0, 20), slice(40, 60), slice(80, 100))):
        expected = np.quantile(accuracies[part], (0.1, 0.5, 0.9))
        assert [found.low[place], found.median[place], found.high[place]] == pytest.approx(expected)
    assert band([], "params") is None
    alone = band(cells([5.0] * 10, accuracies[:10]), "params")
    assert alone is not None and alone.median.tolist() == [np.median(accuracies[:5])]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (",over", ",under", "must have costs, val_accuracy, genotype and over"),
        (",params\r\n", ",flips\r\n", "'flips' is no cost"),
        (",val_accuracy", ",val_accuracy,val_accuracy", "two columns"),
    ],
)
def test_a_damaged_table_gets_one_line(
    old: str, new: str, told: str, run_folder: Path, tmp_path: Path
) -> None:
    text = (run_folder / "chance.csv").read_bytes().decode()
    assert old in text
    (tmp_path / "chance.csv").write_bytes(text.replace(old, new, 1).encode())
    with pytest.raises(InputError, match=told):
        read_chance(tmp_path)


def test_a_table_that_is_not_what_was_written_is_named(run_folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    path = run / "chance.csv"
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(InputError, match=r"chance\.csv is not what was written"):
        read_chance(run)
