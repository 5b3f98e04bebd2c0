"""The small protocol, on digits: every cell retrained alike, goes on where it stopped."""

import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cells.cell import Skeleton
from cells.cost import cost_table
from cells.dialects import from_darts_cc
from cells.errors import InputError
from cells.genotype import Genotype
from cells.sampling import random_cell
from cells.space import find_space
from experiments import records
from experiments.chance import Chance
from experiments.small_protocol import protocol as small_protocol
from experiments.small_protocol.picture import draw_protocol
from experiments.small_protocol.protocol import (
    RANDOM_SHARES,
    protocol,
    published_cells,
    shortened,
)
from experiments.small_protocol.published import Point
from experiments.small_protocol.table import table
from nas.cell_search.folder import read_run

GOLDEN = Path(__file__).parents[1] / "golden" / "darts_cc.json"


SEARCH, RETRAIN = small_protocol.SEARCH, small_protocol.RETRAIN


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """Networks and epochs that take a second."""
    sizes = {"channels": 2, "num_cells": 1, "batch_size": 256, "threads": 1, "device": "cpu"}
    search = replace(
        SEARCH, **sizes, crop_padding=1, epochs=20, warmup_epochs=10, eval_images=100, grid=3,
        finalists=20,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_protocol, "LAMS", 2)
        patch.setattr(small_protocol, "RANDOM_SHARES", (0.0, 1.0))
        patch.setattr(small_protocol, "SEARCH", search)
        patch.setattr(
            small_protocol,
            "RETRAIN",
            replace(RETRAIN, **sizes, cutout=2, crop_padding=1, epochs=20),
        )
        yield


def run(out: Path, **options: Any) -> list[dict[str, Any]]:
    """The protocol on digits with two seeds, one epoch of each part."""
    return protocol(**{"data": "digits", "data_root": Path("data"), "out": out, "seeds": [0, 1],
                       "share": 0.05, **options})  # fmt: skip


@pytest.fixture(scope="module")
def done(
    small: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of a finished run, and its rows."""
    folder = tmp_path_factory.mktemp("small") / "run"
    return folder, run(folder)


@pytest.fixture
def copy(done: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> Path:
    """A finished run of one's own."""
    return Path(shutil.copytree(done[0], tmp_path / "run"))


@pytest.fixture
def plain(done: tuple[Path, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of the finished run."""
    return json.loads(json.dumps(done[1]))


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "seconds": 0} for row in rows]


def test_every_cell_is_retrained_alike(copy: Path, plain: list[dict[str, Any]]) -> None:
    assert [row["kind"] for row in plain] == ["ours"] * 4 + ["random"] * 2 + ["DARTS"]
    assert [len(row["accuracies"]) for row in plain] == [1] * 4 + [2] * 3
    settings = set()
    for folder in (copy / "retrained").iterdir():
        if folder.is_dir():
            config = small_protocol.read_retraining(folder)
            settings.add(replace(config, genotype="", seeds=(0,)))
    assert len(settings) == 1
    text = table(plain).splitlines()
    assert len(text) == 2 + len(plain)
    assert all(line.count("|") == text[0].count("|") for line in text)


def test_networks_side_by_side_are_those_one_by_one(
    copy: Path, plain: list[dict[str, Any]]
) -> None:
    for name in ("ours-seed0-0", "ours-seed1-1", "random-0", "DARTS_V2"):
        (copy / f"{name}.json").unlink()
        shutil.rmtree(copy / "retrained" / name)
    assert timeless(run(copy, at_once=4)) == timeless(plain)


def test_each_factor_of_shrinking_has_a_search_of_its_own(
    small: None, copy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "shrunk"
    out.mkdir()
    for name in ("random-0", "random-1", "DARTS_V2"):
        shutil.copy(copy / f"{name}.json", out)
    rows = run(out, seeds=[0], search_share=0.1, shrink=[1, 2])
    assert [row["kind"] for row in rows[:4]] == ["ours"] * 2 + ["ours, shrink 2"] * 2
    assert {row["epochs"] for row in rows} == {1}
    for name, factor in (("search-seed0", 1), ("search-shrink2-seed0", 2)):
        config = read_run(out / name)[0]
        assert (config.shrink, config.epochs) == (factor, 2)
    assert (out / "ours-shrink2-seed0-1.json").is_file()


def test_what_is_finished_is_only_read(
    copy: Path, plain: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "random-0.json").unlink()  # its result is read
    for file in (copy / "retrained" / "random-0").glob("checkpoint*"):
        file.unlink()
    (copy / "random-1.json").unlink()
    (copy / "retrained" / "random-1" / "result.json").unlink()
    monkeypatch.setattr(records, "search", None)
    assert timeless(run(copy)) == timeless(plain)


def test_records_are_all_that_another_machine_needs(
    copy: Path, plain: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    there.mkdir()
    for file in copy.glob("*.json"):
        shutil.copy(file, there)
    monkeypatch.setattr(records, "search", None)
    monkeypatch.setattr(small_protocol, "retrain_each", None)
    assert run(there) == plain
    cells = small_protocol.searched(small_protocol.SEARCH, there / "search-seed0")
    assert cells == small_protocol.searched(small_protocol.SEARCH, copy / "search-seed0")
    assert [cell.lam for cell in cells] == [{"params": row["lam"]} for row in plain[:2]]


def test_a_cell_stands_beside_what_random_cells_of_its_size_reach() -> None:
    random_cells = {20_000: 0.85, 30_000: 0.88, 50_000: 0.91, 70_000: 0.9, 90_000: 0.93}
    rows = [{"kind": "random", "params": p, "accuracies": [a]} for p, a in random_cells.items()]
    rows += [{"kind": "ours", "params": p, "accuracies": [0.91, 0.93]} for p in (40_000, 91_000)]
    rows = [{"lam": None, **row} for row in rows]
    chance = Chance(list(random_cells.items()))
    ahead, error = chance.ahead([(40_000, 0.92)]), chance.error([40_000])
    assert error is not None
    inside, beyond = table(rows).splitlines()[2:4]
    assert inside == f"| ours |  | 40,000 | 92.00 ± 1.41 | {100 * ahead:+.2f} ± {100 * error:.2f} |"
    assert beyond == "| ours |  | 91,000 | 92.00 ± 1.41 |  |"
    rows = [dict(rows[0], params=p, accuracies=[a]) for p, a in ((20_000, 0.8), (80_000, 0.9))]
    rows.append({"kind": "ours", "lam": None, "params": 40_000, "accuracies": [0.87]})
    line, *_ = table(rows).splitlines()[2:]  # half way along a line, which leaves no error
    assert line == "| ours |  | 40,000 | 87.00 | +2.00 |"


def test_every_kind_of_cell_is_in_the_picture(tmp_path: Path) -> None:
    kinds = ("ours", "random", "random", "DARTS", "DARTS-CC", "DARTS-CC, DARTS", "DARTS-CC, random")
    rows = [
        {"kind": kind, "params": 20_000 * 2**n, "accuracies": [0.9, 0.91]}
        for n, kind in enumerate(kinds)
    ]
    draw_protocol(rows, tmp_path / "all.svg")
    text = (tmp_path / "all.svg").read_text()
    assert all(f">{kind}</text>" in text for kind in kinds)
    assert all(f">{size}</text>" in text for size in ("50 k", "100 k", "1 M"))
    draw_protocol(rows[:3], tmp_path / "some.svg", [Point("DARTS-CC", 1e-8, 100_000, 0.92)])
    text = (tmp_path / "some.svg").read_text()
    assert ">DARTS</text>" not in text and ">DARTS-CC, published</text>" in text


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Some of DARTS-CC's cells, found on CIFAR-10 and on Fashion-MNIST."""
    path = tmp_path / "published.json"
    path.write_text(json.dumps(json.loads(GOLDEN.read_text())["cells"]))
    return path


def test_published_cells_have_their_lam_and_seeds(published: Path) -> None:
    cells = {cell.name: cell for cell in published_cells(published, "cifar10", [0, 1])}
    # configs/mini_cifar_hyper_final/cifar_hyper.cfg: log10 λ from −8 to −4; a name has the seed
    # and the position in that range.
    assert {name: (cell.kind, cell.lam, cell.seeds) for name, cell in cells.items()} == {
        "darts-cc-darts_genotype_0": ("DARTS-CC, DARTS", None, (0,)),
        "darts-cc-genotype_0_0_25": ("DARTS-CC", pytest.approx(1e-7), (0,)),
        "darts-cc-genotype_0_1_0": ("DARTS-CC", 1e-4, (0,)),
        "darts-cc-random_genotype_16": ("DARTS-CC, random", None, (0, 1)),
    }
    row = json.loads(published.read_text())[0]
    expected = from_darts_cc(json.dumps([row["reduce"], row["normal"]]))
    assert cells["darts-cc-darts_genotype_0"].genotype.cells == expected.cells
    (fashion,) = published_cells(published, "fashion", [0])
    assert (fashion.name, fashion.lam) == ("darts-cc-genotype_0_0_0", 1e-8)


def test_published_cells_are_further_rows(
    copy: Path,
    plain: list[dict[str, Any]],
    published: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records, "search", None)  # what there is needs no search
    rows = run(copy, published=published)
    assert rows[: len(plain)] == plain
    further = rows[len(plain) :]
    assert [row["kind"] for row in further] == [
        "DARTS-CC, DARTS", "DARTS-CC", "DARTS-CC", "DARTS-CC, random"
    ]  # fmt: skip
    assert [len(row["accuracies"]) for row in further] == [1, 1, 1, 2]
    params = cost_table("params", Skeleton(find_space("darts_free"), 1, 10, 8, 8, 2, 1))
    for row, cell in zip(further, published_cells(published, "digits", [0, 1]), strict=True):
        assert row["params"] == params.total(cell.genotype.choices())
        config = small_protocol.read_retraining(copy / "retrained" / cell.name)
        ours = small_protocol.read_retraining(copy / "retrained" / "random-0")
        assert replace(config, genotype="", seeds=(0,)) == replace(ours, genotype="", seeds=(0,))
        assert config.seeds == cell.seeds
    lines = table(rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert sum("1e-07 / parameter" in line for line in lines) == 1
    monkeypatch.setattr(small_protocol, "retrain_each", None)
    assert run(copy, published=published) == rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "genotype_0"}, "unknown name of a cell: 'genotype_0'"),
        ({"name": 3}, "no list of DARTS-CC's cells"),
        ({"net": "cifar"}, "no cells of 'mini_cifar', those for the data 'digits'"),
        ({"reduce": []}, "not the lists"),
        ({"normal": 3}, "not the lists"),
    ],
)
def test_other_files_are_refused_before_the_search(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    row = json.loads(GOLDEN.read_text())["cells"][0] | change
    path = tmp_path / "cells.json"
    path.write_text(json.dumps([row]))
    with pytest.raises(InputError, match=message):
        protocol("digits", Path("data"), tmp_path / "out", [0], 1.0, path)
    with pytest.raises(InputError, match=r"cannot read .*absent.json: .*No such file"):
        protocol("digits", Path("data"), tmp_path / "out", [0], 1.0, tmp_path / "absent.json")
    path.write_text("a text")
    with pytest.raises(InputError, match=r"cannot read .*cells.json: not JSON"):
        protocol("digits", Path("data"), tmp_path / "out", [0], 1.0, path)
    assert not (tmp_path / "out").exists()


def test_random_cells_are_those_of_earlier_results() -> None:
    """Results are kept under the numbers of these cells."""
    draw, space = random.Random(0), find_space("darts")
    cells = [random_cell(space, draw, convolutions=share) for share in RANDOM_SHARES]
    assert [Genotype.from_choices(space, cell).id for cell in cells] == [
        "19200dd7ba", "1df53a2ea8", "8e93e0cc55", "6d65bdef4c", "e06ff469f1", "35a678b516",
        "1cd86ba11a", "7d5e2e3b18", "f914994c9f", "622c321b25",
    ]  # fmt: skip


def test_a_share_of_the_epochs_is_at_least_one() -> None:
    assert shortened(SEARCH, 0.1).epochs == 5
    assert shortened(SEARCH, 0.1).warmup_epochs == 4
    assert shortened(RETRAIN, 0.001).epochs == 1
