"""What a finished search leaves: one row per cell, and the files that the rows name."""

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from cells.cell import Skeleton
from cells.cost import CostTable
from cells.errors import InputError
from cells.genotype import Genotype
from cells.network import Network
from cells.notation import read_genotype
from cells.space import find_space
from cells.supernet import Supernet
from nas.cell_search.config import SearchConfig
from nas.cell_search.fronts import make_front, make_hypernet
from nas.data.batches import Split, draw_part
from nas.data.datasets import load_data
from nas.reports.report import front_rows, read_rows, supernet_accuracy
from nas.runtime.settings import FREE
from nas.selection.front import Front
from nas.weights.gaussian import to_gaussian

SPACE = find_space("nasbench201")
COLUMNS = [
    "lam_params", "lam_last_params", "expected_params", "expected_flops", "expected_latency",
    "params", "flops", "latency", "lams", "entropy", "parameter_free", "rises_params",
    "floor_params", "ceiling_params", "val_accuracy", "genotype", "file", "pareto",
]  # fmt: skip


@pytest.fixture(scope="module")
def rows(run_folder: Path) -> list[dict[str, object]]:
    return read_rows(run_folder)


def test_the_table_has_a_column_for_everything(run_folder) -> None:
    with open(run_folder / "front.csv", newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    assert table[0] == COLUMNS
    assert {row[-1] for row in table[1:]} <= {"True", "False"}
    assert all(re.fullmatch(r"\d+", row[COLUMNS.index("params")].removesuffix(".0"))
               for row in table[1:])  # fmt: skip


def test_rows_are_different_cells_in_order_of_lam(rows) -> None:
    assert len(rows) >= 3
    assert len({row["genotype"] for row in rows}) == len(rows)
    lows, highs = ([row[name] for row in rows] for name in ("lam_params", "lam_last_params"))
    assert lows == sorted(lows)
    assert lows[0] == 1e-3 and highs[-1] == 10.0
    assert all(low <= high for low, high in zip(lows, highs, strict=True))
    # The grid has 21 λs in these four decades; the stretches of the cells fill it without gaps.
    ratio = 1e4 ** (1 / 20)
    for high, low in zip(highs, lows[1:], strict=False):
        assert low == pytest.approx(high * ratio, rel=1e-9)


def test_costs_fall_with_lam_and_are_those_of_the_networks(rows, run_folder) -> None:
    """The Gibbs form: neither expected nor actual parameters ever rise."""
    for name in ("params", "expected_params"):
        values = [row[name] for row in rows]
        assert values == sorted(values, reverse=True)
    skeleton = Skeleton(SPACE, 1, 10, 8, 8, 4, 2)
    for row in rows:
        network = Network(read_genotype(run_folder / row["file"]), skeleton)
        assert row["params"] == sum(p.numel() for p in network.parameters())


def test_pareto_members_are_marked(rows) -> None:
    for row in rows:
        better = [
            other
            for other in rows
            if other["val_accuracy"] >= row["val_accuracy"]
            and other["params"] <= row["params"]
            and (other["val_accuracy"], other["params"]) != (row["val_accuracy"], row["params"])
        ]
        assert row["pareto"] == (not better)
    assert any(row["pareto"] for row in rows)


def test_files_are_named_by_their_rows(rows, run_folder) -> None:
    genotypes = {path.name for path in (run_folder / "genotypes").iterdir()}
    assert genotypes == {Path(row["file"]).name for row in rows}
    config = json.loads((run_folder / "config.json").read_text())
    for number, row in enumerate(rows):
        assert row["file"] == f"genotypes/{number:02d}-{row['genotype']}.json"
        genotype = read_genotype(run_folder / row["file"])
        assert genotype.id == row["genotype"]
        assert genotype.costs == {name: row[name] for name in ("params", "flops", "latency")}
        assert genotype.lam == {"params": row["lam_params"]}
        kept = {k: v for k, v in config.items() if k not in FREE}
        kept["fingerprint"] = load_data("digits", Path("data")).fingerprint
        assert genotype.search == kept and genotype.seed == config["seed"]
    stems = [Path(row["file"]).stem for row in rows]
    stems += [f"supernet-{end}-lam" for end in ("lowest", "highest")]
    pictures = {path.name for path in (run_folder / "cells").iterdir()}
    assert pictures == {f"{stem}.svg" for stem in stems}
    assert (run_folder / "front.svg").read_text().count("<svg") == 1


def test_accuracies_are_shares_of_the_scored_images(rows) -> None:
    for row in rows:
        assert 100 * row["val_accuracy"] == pytest.approx(
            round(100 * row["val_accuracy"]), abs=1e-4
        )


def random_front(costs: tuple[str, ...], lam: tuple[float, ...] | None = None) -> Front:
    config = SearchConfig(
        costs=costs, lam_low=(1e-3,), lam_high=(10.0,), lam=lam, arch_kl=0.02, grid=49
    )
    shape = (SPACE.num_edges, len(SPACE.ops))
    generator = torch.Generator().manual_seed(1)
    tables = {
        name: CostTable(name, 5.0, torch.rand(shape, generator=generator, dtype=torch.float64))
        for name in ("params", "flops")
    }
    hypernet = make_hypernet(config, tables)
    hypernet.scores.data = torch.randn(shape, generator=generator)
    return make_front(config, hypernet, tables)


@pytest.mark.parametrize("costs", [("params",), ("flops", "params")])
def test_equal_cells_are_merged_wherever_they_stand(costs) -> None:
    found = random_front(costs)
    lams = found.lam_range.grid(49)
    cells = [tuple(choices) for choices in found.choices(lams).tolist()]
    scores = {cell: number * 7 % 10 / 10 for number, cell in enumerate(dict.fromkeys(cells))}
    rows = front_rows(found, lams, scores)
    assert len(rows) == len(scores) > 4
    for row, (cell, score) in zip(rows, scores.items(), strict=True):
        first, last = cells.index(cell), len(cells) - 1 - cells[::-1].index(cell)
        assert [row[f"lam_{name}"] for name in costs] == lams[first].tolist()
        assert [row[f"lam_last_{name}"] for name in costs] == lams[last].tolist()
        assert row["val_accuracy"] == score
        assert row["genotype"] == Genotype.from_choices(SPACE, cell).id
        for name, table in found.tables.items():
            actual = 5.0 + sum(float(table.table[e, o]) for e, o in enumerate(cell))
            assert row[name] == pytest.approx(actual, rel=1e-12)
            probs = found.log_probs(lams[first][None])[0].exp()
            expected = 5.0 + float((probs * table.table).sum())
            assert row[f"expected_{name}"] == pytest.approx(expected, rel=1e-5)
    points = [(row["val_accuracy"], *(-row[name] for name in costs)) for row in rows]
    for row, point in zip(rows, points, strict=True):
        others = [p for p in points if p != point]
        worse = [any(mine > its for mine, its in zip(point, p, strict=True)) for p in others]
        assert row["pareto"] == all(worse)


def test_the_front_of_one_lam_has_one_row() -> None:
    found = random_front(("params",), (0.3,))
    choices = tuple(found.choices(torch.tensor([[0.3]], dtype=torch.float64))[0].tolist())
    (row,) = front_rows(found, found.lam_range.grid(49), {choices: 0.5})
    assert row["lam_params"] == row["lam_last_params"] == 0.3 and row["pareto"]


def test_the_supernet_is_scored_with_mean_weights_on_every_image() -> None:
    """In batches of 34, 33 and 33, each normalised by itself; no noise is drawn."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (100, 1, 8, 8), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.randint(0, 3, (100,), generator=generator))
    torch.manual_seed(0)
    supernet, choices = Supernet(Skeleton(SPACE, 1, 3, 8, 8, 2, 1)), (3, 0, 2, 4, 1, 3)
    x = (images.float() / 255 - 0.5) / 0.25
    with torch.no_grad():
        predicted = torch.cat(
            [supernet.discrete(part, choices).argmax(1) for part in x.split([34, 33, 33])]
        )
    noise = torch.Generator().manual_seed(1)
    to_gaussian(supernet, noise, sigma=5.0)
    before = noise.get_state()
    found = supernet_accuracy(supernet, choices, split, (0.5,), (0.25,), batch_size=40)
    balanced = supernet_accuracy(
        supernet, choices, split, (0.5,), (0.25,), batch_size=40, metric="balanced_accuracy"
    )
    assert balanced == pytest.approx(balanced_accuracy_score(split.labels, predicted))
    assert found == pytest.approx(int((predicted == split.labels).sum()) / 100, abs=1e-7)
    assert torch.equal(noise.get_state(), before) and supernet.training


@pytest.mark.parametrize("count", [1, 5, 10, 99])
def test_scored_images_are_drawn_without_regard_to_their_order(count) -> None:
    split = Split(torch.zeros(10, 1, 1, 1, dtype=torch.uint8), torch.arange(10))
    labels = draw_part(split, count, seed=3).labels.tolist()
    assert len(set(labels)) == len(labels) == min(count, 10)
    assert labels == draw_part(split, count, seed=3).labels.tolist()
    assert count < 5 or labels != sorted(labels)


def test_sorted_classes_are_scored_as_mixed_ones() -> None:
    """Batches of one class would be normalised with that class's statistics."""
    digits = load_data("digits", Path(".")).train
    order = digits.labels.argsort()
    by_class = Split(digits.images[order], digits.labels[order])
    for split in (by_class, digits):
        part = draw_part(split, 1000, seed=0)
        for labels in part.labels.tensor_split(4):
            assert labels.bincount(minlength=10).min() > 5


def refused(run: Path) -> str:
    with pytest.raises(InputError) as error:
        read_rows(run)
    return str(error.value)


def test_hashes_beside_the_front_are_those_of_sha256sum(run_folder: Path) -> None:
    lines = [line.split("  ") for line in (run_folder / "SHA256SUMS").read_text().splitlines()]
    names = [name for _, name in lines]
    assert names == ["front.csv", "chance.csv", *(row["file"] for row in read_rows(run_folder))]
    for wanted, name in lines:
        assert hashlib.sha256((run_folder / name).read_bytes()).hexdigest() == wanted


@pytest.mark.parametrize("name", ["front.csv", "genotype"])
def test_a_file_that_is_not_what_was_written_is_named(
    name: str, run_folder: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    path = run / (name if name == "front.csv" else read_rows(run)[0]["file"])
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    assert f"{path} is not what was written" in refused(run)
    (run / "SHA256SUMS").write_text("whatever\n")
    assert "SHA256SUMS is damaged" in refused(run)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (",pareto\n", ",pareto,pareto\n", "two columns 'pareto'"),
        (",pareto", ",parto", "no column 'pareto'"),
        (",params,", ",parms,", "no column 'params'"),
        ("lam_last_params", "lam_first_params", "no columns of a front"),
        ("False\n", "false\n", "pareto is True or False, not 'false'"),
        ("True\n", "True,1\n", "values, not"),
        ("genotypes/00-", "../../00-", "names '../../00-"),
        ("0.001,", "nan,", "line 2: 'nan' is no finite number"),
        ("0.001,", "1e999,", "line 2: '1e999' is no finite number"),
        ("0.001,", "\xff,", "is not UTF-8 text"),
        ("0.001,", '"0.001,', "unexpected end of data"),
    ],
)
def test_a_damaged_front_gets_one_line(
    old: str, new: str, told: str, run_folder: Path, tmp_path: Path
) -> None:
    text = (run_folder / "front.csv").read_bytes().decode().replace("\r\n", "\n")
    assert old in text
    (tmp_path / "front.csv").write_bytes(text.replace(old, new, 1).encode("latin-1"))
    assert told in refused(tmp_path) and "front.csv" in refused(tmp_path)


def test_a_front_without_rows_is_none(run_folder: Path, tmp_path: Path) -> None:
    header = (run_folder / "front.csv").read_bytes().splitlines(keepends=True)[0]
    for content in (header, b""):
        (tmp_path / "front.csv").write_bytes(content)
        assert "front.csv has no" in refused(tmp_path)


def test_a_genotype_under_the_name_of_another_is_refused(run_folder: Path, tmp_path: Path) -> None:
    first, second = (run_folder / row["file"] for row in read_rows(run_folder)[:2])
    (tmp_path / first.name).write_bytes(second.read_bytes())
    with pytest.raises(InputError, match="not the one of its name: restore a copy"):
        read_genotype(tmp_path / first.name)
    (tmp_path / "mine.json").write_bytes(second.read_bytes())
    assert read_genotype(tmp_path / "mine.json") == read_genotype(second)
