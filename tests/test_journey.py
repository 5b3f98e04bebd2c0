"""The whole way in Python: nas.search, nas.create, nas.retrain, and the notebook that shows it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import nas
from cells.errors import InputError
from nas.cell_search.config import SearchConfig
from nas.cell_search.presets import PRESETS
from nas.retraining.config import read_retraining
from nas.run import named
from nas.runtime.files import read_config

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "journey.ipynb"


def test_nas_is_imported_without_torch() -> None:
    code = "import nas, sys; assert callable(nas.search); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_names_of_the_package() -> None:
    assert all(hasattr(nas, name) for name in nas.__all__)
    with pytest.raises(AttributeError, match="module 'nas' has no attribute 'Fornt'"):
        nas.Fornt  # noqa: B018


def test_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    cells = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    assert len(cells) >= 5 and not any(cell["outputs"] for cell in cells)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), names)
    assert isinstance(names["front"], nas.Front)
    saved = json.loads((tmp_path / "runs" / "small" / "result.json").read_text())
    assert names["result"].accuracy == saved["mean"]
    assert names["genotype"].costs["params"] <= 3000
    assert "% of the test images, runs/small\n" in capsys.readouterr().out
    with pytest.raises(InputError, match="runs/journey exists: choose another"):
        nas.search("digits", out="runs/journey")


def test_a_search_from_python_is_that_of_the_command_line(run_folder: Path, tmp_path: Path) -> None:
    """Whatever is not named stays as in the preset; what is named may be a list or a path."""
    settings = read_config(run_folder / "config.json")
    front = nas.search("digits", tmp_path / "again", **settings)
    assert front.search == nas.load_front(tmp_path / "again").search
    for lam in (0.01, 0.3, 10.0):
        found, expected = front.at(lam), nas.load_front(run_folder).at(lam)
        assert (found.cells, found.costs["params"]) == (expected.cells, expected.costs["params"])


def test_a_network_is_created_at_its_size(run_folder: Path) -> None:
    genotype = nas.within(run_folder, params=1e6)
    network = nas.create(run_folder, params=1e6)
    assert network.genotype == genotype and network.training
    assert sum(p.numel() for p in network.parameters()) == genotype.costs["params"]
    images = torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8)
    assert network(network.data.normalise(images)).shape == (2, 10)
    with pytest.raises(InputError, match=r"no cell of .* is within the budget"):
        nas.create(run_folder, params=1)


def test_a_cell_at_hand_and_its_file_are_trained_alike(run_folder: Path, tmp_path: Path) -> None:
    settings = {"epochs": 1, "warmup_epochs": 0, "seeds": (3,), "device": "cpu"}
    by_cell = nas.retrain(nas.within(run_folder, params=1e9), tmp_path / "cell", **settings)
    same = next(
        path
        for path in (run_folder / "genotypes").glob("*.json")
        if json.loads(path.read_text())["lam"] == by_cell.network.genotype.lam
    )
    by_file = nas.retrain(same, tmp_path / "file", **settings)
    assert by_cell.accuracy == by_file.accuracy and by_cell.std is None
    for name, value in by_file.network.state_dict().items():
        assert torch.equal(by_cell.network.state_dict()[name], value), name
    config = read_retraining(by_cell.folder)
    assert (config.data, config.label_smoothing) == ("digits", 0.1)  # its preset's


def test_a_path_is_a_search_on_images_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "pictures.npz").touch()
    name, config = named(f"{tmp_path}/photos/")
    assert name == "photos" and isinstance(config, SearchConfig)
    assert (config.data, config.image_size) == (f"{tmp_path}/photos/", 32)
    assert replace(config, data="cifar10", image_size=None) == PRESETS["images"]
    name, config = named(str(tmp_path / "pictures.npz"))
    assert name == "pictures" and config.image_size is None  # arrays have a size
    assert named("digits") == ("digits", PRESETS["digits"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nas.search("digit"), "unknown preset, file or folder 'digit': did you mean"),
        (lambda: nas.search("mlp"), "preset 'mlp' generates weights, which have no front of"),
        (lambda: nas.search("digits", epoch=3), "unknown setting 'epoch': did you mean 'epochs'"),
        (lambda: nas.search("digits", epochs="3"), "'epochs' must be an integer, got '3'"),
        (lambda: nas.search("digits", channels=0), "channels must be at least 1, got 0"),
        (lambda: nas.search("digits", data=Path("no/data")), "no such file or folder: 'no/data'"),
        (lambda: nas.retrain("DARTS_V3"), "did you mean 'DARTS_V"),
        (lambda: nas.retrain("DARTS_V2"), "the genotype names no data set"),
        (lambda: nas.retrain("DARTS_V2", lrr=1.0), "unknown setting 'lrr': did you mean 'lr'?"),
        (lambda: nas.create("nowhere", params=1), "nowhere"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, monkeypatch, call, message) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
