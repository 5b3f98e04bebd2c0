"""Data that have changed since a search are never gone on with: its test part may be another."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nas
from cells.errors import InputError
from cells.notation import read_genotype, to_nasbench201
from nas.cell_search.config import SearchConfig
from nas.data.datasets import load_data
from nas.data.examples import load_task
from nas.retraining.config import RetrainConfig, read_retraining
from nas.retraining.run import retrain
from nas.run import read_any_run, search
from nas.weight_search.config import WEIGHT_PRESETS
from nas.weight_search.networks import Generated

SEARCH = SearchConfig(
    space="nasbench201", channels=4, num_cells=1, epochs=1, warmup_epochs=0, batch_size=8,
    eval_images=8, grid=3, threads=1, device="cpu",
)  # fmt: skip
RETRAINING = RetrainConfig(epochs=1, warmup_epochs=0, batch_size=8, device="cpu")


def write_npz(path: Path, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    parts = {}
    for part in ("train", "test"):
        parts[f"x_{part}"] = rng.integers(0, 256, (20, 8, 8), dtype=np.uint8)
        parts[f"y_{part}"] = np.arange(20) % 2
    np.savez(path, **parts)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of data, and a search on them."""
    folder = tmp_path_factory.mktemp("changed")
    write_npz(folder / "mine.npz")
    search(replace(SEARCH, data=str(folder / "mine.npz")), folder / "run")
    return folder / "mine.npz", folder / "run"


def test_all_that_goes_on_refuses_changed_data(searched: tuple[Path, Path], tmp_path: Path) -> None:
    data, run = searched
    (cell, *_) = (run / "genotypes").iterdir()
    from_cell = replace(RETRAINING, genotype=str(cell))
    retrain(from_cell, tmp_path / "before")
    network = nas.load(tmp_path / "before" / "model.safetensors")
    assert network.data.fingerprint == load_data(str(data), data.parent).fingerprint

    shutil.copy(data, tmp_path / "as it was.npz")
    write_npz(data, seed=1)
    changed = "have changed: test images '20×1×8×8 uint8 [0-9a-f]{16}' then, '20×1×8×8 uint8"
    config, state = read_any_run(run)
    with pytest.raises(InputError, match=changed):
        search(config, run, state=state)
    with pytest.raises(
        InputError, match=f"of the search that found {re.escape(str(cell))} {changed}"
    ):
        retrain(from_cell, tmp_path / "after")
    assert not (tmp_path / "after").exists()
    by_name = to_nasbench201(read_genotype(str(cell)))  # has no fingerprint of its own
    inheriting = replace(from_cell, genotype=by_name, data=str(data), inherit=str(run))
    with pytest.raises(InputError, match=f"of the search in {re.escape(str(run))} {changed}"):
        retrain(inheriting, tmp_path / "after")
    begun = read_retraining(tmp_path / "before")
    with pytest.raises(InputError, match=changed):
        retrain(begun, tmp_path / "before", resume=True)
    assert not (tmp_path / "after").exists()

    other = retrain(replace(from_cell, data=str(tmp_path / "as it was.npz")), tmp_path / "other")
    assert other is not None


def test_rows_of_a_table_and_files_of_a_folder_count(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    found = []
    for last in ("7", "8", "8"):
        table.write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(12)) + f"12,{last}\n")
        found.append(load_task(str(table), tmp_path).fingerprint)
    assert found[0] != found[1] == found[2]
    table.write_text(table.read_text().replace("a,b", "a,c"))
    assert load_task(str(table), tmp_path).fingerprint != found[1]

    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), len(name)).save(path)
    before = load_data(str(tmp_path / "photos"), tmp_path).fingerprint
    assert load_data(str(tmp_path / "photos"), tmp_path, split_seed=1).fingerprint == before
    Image.new("L", (4, 4), 200).save(tmp_path / "photos" / "dog" / "2.png")
    assert load_data(str(tmp_path / "photos"), tmp_path).fingerprint != before


def test_a_search_without_cells_reads_its_data_again_only_unchanged(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a,b\n" + "".join(f"{i},{i * i}\n" for i in range(40)))
    config = replace(
        WEIGHT_PRESETS["mlp-digits"], data=str(table), layers=("2",), epochs=1, 
        batch_size=8, runs=1, grid=2, device="cpu",
    )  # fmt: skip
    search(config, tmp_path / "run")
    generated = Generated.load(tmp_path / "run")
    assert generated.task().fingerprint == generated.fingerprint
    table.write_text(table.read_text().replace("39,", "40,"))
    with pytest.raises(InputError, match="the data of this search have changed: rows"):
        generated.task()


def test_data_are_those_of_the_search_wherever_a_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file of the same name lies in the folder of the second command."""
    here, there = tmp_path / "here", tmp_path / "there"
    for seed, folder in enumerate((here, there)):
        folder.mkdir()
        write_npz(folder / "mine.npz", seed)
    monkeypatch.chdir(here)
    search(replace(SEARCH, data="mine.npz", split_seed=3), Path("run"))
    config, state = read_any_run(Path("run"))
    assert config.data == str(here / "mine.npz")
    (cell, *_) = (here / "run" / "genotypes").iterdir()
    monkeypatch.chdir(there)
    result = retrain(replace(RETRAINING, genotype=str(cell)), Path("retrained"))
    assert result is not None and result["data"] == str(here / "mine.npz")

    # What lies elsewhere now is the search's own, with its split, if the fingerprint says so.
    (here / "mine.npz").rename(there / "moved.npz")
    for more in ({}, {"inherit": str(here / "run")}):
        moved = replace(RETRAINING, genotype=str(cell), data="moved.npz", **more)
        retrain(moved, folder := Path(f"moved{len(more)}"))
        found = read_retraining(folder)
        assert (found.data, found.split_seed) == (str(there / "moved.npz"), 3)
    other = replace(moved, data="mine.npz")
    with pytest.raises(InputError, match=r"has data .*here/mine.npz', not .*there/mine.npz'"):
        retrain(other, Path("other"))
    with pytest.raises(InputError, match=r"no such file or folder: '/.*here/mine.npz'; check"):
        retrain(replace(RETRAINING, genotype=str(cell)), Path("gone"))
    search(replace(config, data="moved.npz"), here / "run", state=state)
    with pytest.raises(InputError, match="have changed"):
        search(replace(config, data="mine.npz"), here / "run", state=state)


def test_a_search_that_noted_a_relative_path_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_npz(tmp_path / "mine.npz")
    search(replace(SEARCH, data="mine.npz"), Path("run"))
    told = (tmp_path / "run" / "config.json").read_text()
    (tmp_path / "run" / "config.json").write_text(told.replace(f"{tmp_path}/", ""))
    config, state = read_any_run(Path("run"))
    assert config.data == "mine.npz"
    state["config"]["data"] = "mine.npz"
    search(config, Path("run"), state=state)
    del state["fingerprint"]
    search(config, Path("run"), state=state)
    (tmp_path / "mine.npz").rename(tmp_path / "moved.npz")
    with pytest.raises(InputError, match=r"data were 'mine.npz', now .* no fingerprint of them"):
        search(replace(config, data=str(tmp_path / "moved.npz")), Path("run"), state=state)
    (cell, *_) = (tmp_path / "run" / "genotypes").iterdir()
    cell.write_text(cell.read_text().replace(f'"{tmp_path}/mine.npz"', '"mine.npz"'))
    (tmp_path / "moved.npz").rename(tmp_path / "mine.npz")
    result = retrain(replace(RETRAINING, genotype=str(cell)), Path("retrained"))
    assert result is not None and result["data"] == str(tmp_path / "mine.npz")
    write_npz(tmp_path / "mine.npz", seed=1)
    with pytest.raises(InputError, match="have changed"):
        retrain(replace(RETRAINING, genotype=str(cell)), Path("again"))
