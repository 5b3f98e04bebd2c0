"""The experiment on NAS-Bench-201: its table, its searches in small, its rivals."""

import csv
import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from cells.errors import InputError
from cells.genotype import Genotype
from cells.notation import to_nasbench201
from cells.space import find_space
from experiments.nasbench201 import benchmark as benchmark_file
from experiments.nasbench201 import rivals, searches, table
from experiments.nasbench201.benchmark import COLUMNS, FILE, MEASURED, Benchmark
from experiments.nasbench201.picture import draw_fronts
from experiments.nasbench201.rivals import by_parameters, chance, evolved
from experiments.nasbench201.searches import Laboratory, base_config, cells_of, ours, ranking
from nas.cell_search.presets import PRESETS
from nas.data.datasets import load_data
from nas.runtime import checkpoint

RECORDS = Path(__file__).parents[2] / "docs" / "results" / "fronts"


@pytest.fixture(scope="module")
def benchmark(data_file: Callable[[str], Path]) -> Benchmark:
    return Benchmark(data_file("nasbench201_cifar10.csv.gz").parent)


def test_the_table_is_the_published_one(benchmark: Benchmark) -> None:
    assert len(set(benchmark.cells)) == 15625
    assert benchmark.accuracy.max() == 94.3733
    best = benchmark.cells[int(benchmark.accuracy.argmax())]
    assert best == tuple("nsc3a".index(op) for op in "333s3c")
    for cost in COLUMNS:
        position = benchmark.position(cost)
        assert position.min() == 0 and position.max() == 1


def test_a_missing_table_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="set NAS_DATA to the folder that holds nasbench201"):
        Benchmark(tmp_path)


@pytest.mark.parametrize(
    ("cost", "published"),
    [("params", 0.824), ("flops", 0.813), ("edgegpu", 0.701), ("raspi4", 0.717)],
)
def test_chance_is_what_others_measured(benchmark: Benchmark, cost: str, published: float) -> None:
    """Twenty random cells, standard deviation 0.06 to 0.12 from draw to draw."""

    class Lab:
        pass

    lab: Any = Lab()
    lab.benchmark = benchmark
    assert chance(lab, 0, cost)["hypervolume"] == pytest.approx(published, abs=0.03)


@pytest.mark.parametrize("costs", [("params",), ("raspi4",), ("params", "edgegpu")])
def test_shares_of_the_true_front(benchmark: Benchmark, costs: tuple[str, ...]) -> None:
    table, kept = np.stack([benchmark.costs[cost] for cost in costs], axis=1), list[int]()
    for number in np.lexsort((*table.T, -benchmark.accuracy)).tolist():
        if not (table[kept] <= table[number]).all(axis=1).any():
            kept.append(number)
    true = [benchmark.cells[number] for number in kept]  # none of all is better and cheaper
    assert benchmark.share(true, *costs) == pytest.approx(1.0)
    generator = np.random.default_rng(0)
    drawn = [benchmark.cells[n] for n in generator.choice(15625, 60)]
    few, more = (benchmark.share(drawn[:n], *costs) for n in (20, 60))
    assert 0 < few <= more < 1
    assert benchmark.share(drawn[:20] + true, *costs) == pytest.approx(1.0)


def test_records_are_what_the_table_says_of_their_cells(benchmark: Benchmark) -> None:
    paths = [path for path in RECORDS.glob("*.json") if not path.name.startswith("taus")]
    assert paths
    for path in paths:
        record = json.loads(path.read_text())
        numbers = benchmark.numbers(record["cells"])
        costs = [cost for cost in COLUMNS if cost in path.stem.split("-")]
        assert record["hypervolume"] == pytest.approx(benchmark.share(record["cells"], *costs))
        assert record["first"] == benchmark.accuracy[numbers[0]]
        assert record["best"] == benchmark.accuracy[numbers].max()
        assert record["distinct"] == len(set(numbers))


def test_a_latency_is_fitted_to_connected_networks(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        benchmark_file,
        "fitted_table",
        lambda name, space, choices, measured: seen.append((space, choices, measured)),
    )
    benchmark.fitted("raspi4", 3)
    ((space, choices, measured),) = seen
    assert len(choices) == len(choices.unique(dim=0)) == len(measured) == MEASURED
    assert all(space.connected(cell) for cell in choices.tolist())
    numbers = benchmark.numbers(choices.tolist())
    assert measured.tolist() == benchmark.costs["raspi4"][numbers].tolist()
    monkeypatch.undo()
    table = benchmark.fitted("raspi4", 3)
    predicted = table.totals(benchmark.choices()).numpy()
    assert np.corrcoef(predicted, benchmark.costs["raspi4"])[0, 1] > 0.9


# ---------------------------------------------------------------- searches, in small


HELPS = (0, 0, 1, 9, 0)
"""What each operation adds to the accuracy and to the costs of the made-up truth."""


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data: digits in the place of CIFAR-10, and a truth of 3×3 convolutions."""
    folder, digits = tmp_path_factory.mktemp("data"), load_data("digits", Path("."))
    parts = {"train": digits.train, "test": digits.test}
    arrays = {f"x_{name}": part.images.permute(0, 2, 3, 1).numpy() for name, part in parts.items()}
    arrays |= {f"y_{name}": part.labels.numpy() for name, part in parts.items()}
    np.savez(folder / "cifar10.npz", **arrays)
    space = find_space("nasbench201")
    with gzip.open(folder / FILE, "wt", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch_str", "cifar10_test_acc", *COLUMNS.values()])
        for cell in itertools.product(range(5), repeat=6):
            total = sum(HELPS[op] for op in cell)
            name = to_nasbench201(Genotype.from_choices(space, cell))
            writer.writerow([name, 86 + 8 * (total / 54) ** 0.5, *[1.0 + total] * len(COLUMNS)])
    return folder


@pytest.fixture(scope="module")
def lab(made_up: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laboratory]:
    """In small; what one test has searched, another finds finished."""
    small = replace(
        PRESETS["nasbench201"], channels=2, num_cells=2, batch_size=128, shrink=1, epochs=2,
        warmup_epochs=1, precision="float32", finalists=12,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searches, "PRESETS", {**PRESETS, "nasbench201": small})
        patch.setattr(searches, "DARTS_CC_EPOCHS", 1)
        patch.setattr(searches, "SINGLE", 2)
        patch.setattr(searches, "RANKED", 20)
        patch.setattr(searches, "RANKED_IMAGES", 100)
        patch.setattr(rivals, "DRAWS", 2)
        patch.setattr(rivals, "POPULATION", 8)
        patch.setattr(rivals, "IMAGES", 250)
        yield Laboratory(tmp_path_factory.mktemp("lab"), made_up)


def test_searches_of_one_seed_share_their_warm_up(lab: Laboratory) -> None:
    """A search from a shared warm-up is the search, bit by bit."""
    config = base_config(1, lab.data_root)
    first, _ = lab.search("first", config, ("flops",))
    assert (lab.out / "warm-1-of-2-seed1.pt").exists()
    second, minutes = lab.search("second", config, ("flops",), share_warmup=False)
    assert first.step == second.step == first.problem.total_steps and minutes > 0
    for one, other in ((first.supernet, second.supernet), (first.hypernet, second.hypernet)):
        for a, b in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(a, b)


def test_an_interrupted_search_goes_on(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    config = base_config(0, lab.data_root)
    whole, _ = lab.search("whole", config, ("params",))
    advance, calls = searches.Searcher.advance, []

    def stop(searcher: Any) -> None:
        calls.append(1)
        if len(calls) > 7:  # of ten steps, five an epoch
            raise KeyboardInterrupt
        advance(searcher)

    monkeypatch.setattr(searches.Searcher, "advance", stop)
    with pytest.raises(KeyboardInterrupt):
        lab.search("again", config, ("params",), share_warmup=False)
    monkeypatch.undo()
    assert (lab.out / "again.pt").exists()
    again, _ = lab.search("again", config, ("params",))
    assert cells_of(again.front()) == cells_of(whole.front())


def test_finished_parts_are_only_read(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    result = ours(lab, 0, ("edgegpu",))
    assert len(result["cells"]) == 20 and 0 < result["hypervolume"] <= 1 + 1e-9
    assert result["distinct"] == len({tuple(cell) for cell in result["cells"]})
    monkeypatch.setattr(lab, "search", None)
    assert ours(lab, 0, ("edgegpu",)) == result


def test_two_searches_share_their_finalists(lab: Laboratory) -> None:
    alone, both = (ours(lab, 0, ("edgegpu",), searches=n) for n in (1, 2))
    assert len(both["cells"]) == 20 and both["minutes"] > alone["minutes"]
    assert {p.stem for p in lab.out.glob("front-edgegpu-*.pt") if "previous" not in p.name} == {
        "front-edgegpu-seed0", "front-edgegpu-seed0-1"
    }  # fmt: skip
    # The first is kept as it was alone, the second knows the same latencies.
    first, second = (
        checkpoint.load(lab.out / f"front-edgegpu-seed{name}.pt") for name in ("0", "0-1")
    )
    assert first["finalists"] is None and second["finalists"] is None
    assert torch.equal(first["tables"]["latency"]["table"], second["tables"]["latency"]["table"])
    assert second["config"]["seed"] not in (0, first["config"]["seed"])


def test_the_table_has_a_row_for_every_method(lab: Laboratory) -> None:
    text = table.table(lab, list(table.METHODS), [0], ["params"])
    lines = text.splitlines()
    assert len(lines) == 2 + len(table.METHODS)
    assert all(line.count("|") == lines[0].count("|") for line in lines)
    found = evolved(lab, 0, "params")
    costs = [sum(HELPS[op] for op in cell) for cell in found["cells"]]
    assert costs == sorted(costs, reverse=True) and costs[0] > costs[-1]
    assert found["minutes"] > 0
    taus = ranking(lab, 0)
    assert taus["parameters"] == pytest.approx([1.0, 1.0])
    ranked = ("one supernet", "all supernets", "with NASWOT", "NASWOT alone", "parameters")
    assert list(taus) == list(ranked)
    assert len({tuple(taus[name]) for name in ranked}) == len(ranked)  # each ranks otherwise


def test_a_surface_is_of_two_costs(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searches, "LAMS", 3)
    monkeypatch.setattr(table, "LAMS", 3)
    lines = table.surface(lab, [0], ("params", "raspi4")).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == [
        "one run, 3 × 3 λs", "3 random cells", "9 random cells"
    ]  # fmt: skip
    assert len(ours(lab, 0, ("params", "raspi4"))["cells"]) == 9


def test_fronts_are_drawn_beside_the_true_ones(lab: Laboratory, tmp_path: Path) -> None:
    benchmark = deepcopy(lab.benchmark)
    benchmark.accuracy[:2000] = 10.0  # off the picture
    cells = [benchmark.cells[n] for n in range(0, 15625, 700)]
    found = {"params": {0: cells, 1: cells[:9]}, "raspi4": {0: cells}, "flops": {2: cells[:1]}}
    draw_fronts(benchmark, found, tmp_path / "fronts.png")
    image = PIL.Image.open(tmp_path / "fronts.png")
    assert image.width > 1000 and len(image.getcolors(10**6)) > 50


def test_by_parameters_takes_the_largest_cell_at_each_cost(lab: Laboratory) -> None:
    """In the made-up truth cost, parameters and accuracy agree: its front is found whole."""
    assert by_parameters(lab, 0, "params")["hypervolume"] > 0.9
