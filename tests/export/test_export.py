"""Exported networks: the same outputs after reading, and nothing but networks is read."""

import json
import os
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import nas
from cells.cell import Skeleton
from cells.errors import InputError
from cells.genotype import Genotype
from cells.network import Network
from cells.notation import read_genotype
from cells.space import SPACES
from nas.export.reproducible import serialise
from nas.export.safetensors import load, save_network
from nas.export.training_data import TrainingData

DATA = TrainingData("shapes", ("disc", "ring"), (0.5, 0.25), (0.2, 0.3), (2, 9, 8))
GENOTYPES = ("DARTS_V2", "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|none~2|")


def trained(genotype: Genotype, auxiliary: bool = False) -> Network:
    """Returns a small network whose weights and statistics are not those of its making."""
    torch.manual_seed(0)
    skeleton = Skeleton(SPACES[genotype.space], 2, 2, 9, 8, 4, 3)
    network = Network(genotype, skeleton, auxiliary=auxiliary)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
        network(torch.randn(8, 2, 9, 8))
    return network.eval()


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A valid file."""
    path = tmp_path / "model.safetensors"
    save_network(path, trained(read_genotype(GENOTYPES[1])), DATA)
    return path


def rewrite(path: Path, **changes: Any) -> None:
    """Writes a file anew with other metadata and the hash of them; None removes a key."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() | changes
    kept = {key: value for key, value in metadata.items() if value is not None}
    path.write_bytes(serialise(load_file(path), kept))


@pytest.mark.parametrize("source", GENOTYPES)
@pytest.mark.parametrize("auxiliary", [False, True])
def test_outputs_are_bitwise_the_same(source: str, auxiliary: bool, tmp_path: Path) -> None:
    genotype = read_genotype(source)
    network = trained(genotype, auxiliary)
    save_network(tmp_path / "model.safetensors", network, DATA)
    loaded = nas.load(tmp_path / "model.safetensors")
    x = torch.randn(5, 2, 9, 8)
    assert torch.equal(loaded(x), network(x))
    assert not loaded.training
    assert (loaded.genotype, loaded.skeleton) == (genotype, network.skeleton)
    assert loaded.auxiliary is None


def test_a_loaded_network_can_be_trained_on(exported: Path) -> None:
    network = load(exported)
    network.train()(torch.randn(4, 2, 9, 8)).sum().backward()
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_it_knows_its_data(exported: Path) -> None:
    data = load(exported).data
    assert data == DATA
    images = torch.randint(0, 256, (3, 2, 9, 8), dtype=torch.uint8)
    mean, std = np.array(DATA.mean)[:, None, None], np.array(DATA.std)[:, None, None]
    expected = (images.double().numpy() / 255 - mean) / std
    assert np.allclose(data.normalise(images).numpy(), expected, atol=1e-6)


def test_the_metadata_are_readable_without_this_program(exported: Path) -> None:
    with safe_open(exported, "pt") as file:
        metadata = file.metadata()
    assert (metadata["format"], metadata["version"]) == ("nas-network", "1")
    assert json.loads(metadata["genotype"])["space"] == "nasbench201"
    assert json.loads(metadata["data"])["classes"] == ["disc", "ring"]
    assert json.loads(metadata["skeleton"])["num_cells"] == 3


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.999])
def test_a_file_cut_short(exported: Path, share: float) -> None:
    content = exported.read_bytes()
    exported.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="cut short"):
        load(exported)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": None}, "not a network of this program"),
        ({"format": "pt"}, "not a network of this program"),
        ({"version": "2"}, "version '2' .* reads '1'"),
        ({"genotype": None}, "lack 'genotype'"),
        ({"genotype": "[" * 10_000}, "nested"),
        ({"skeleton": "[" * 100_000}, "not JSON"),
        ({"skeleton": "[]"}, "not a JSON object"),
        ({"data": "{}"}, "data's name"),
    ],
)
def test_foreign_metadata(exported: Path, changes: dict[str, Any], message: str) -> None:
    rewrite(exported, **changes)
    with pytest.raises(InputError, match=message) as caught:
        load(exported)
    assert "\n" not in str(caught.value)
    assert str(exported) in str(caught.value)


@pytest.mark.parametrize(
    ("size", "value", "message"),
    [
        ("num_cells", 10**9, "whole number from 1 to 1000"),
        ("channels", -4, "whole number"),
        ("channels", "4", "whole number"),
        ("channels", 8, "tensor 'body.stem.0.weight' is"),
        ("num_cells", 4, "lacks tensor"),
        ("num_cells", 1000, "too few for 1000 cells"),
        ("num_cells", 2, "additional tensor"),
        ("space", "dart", "did you mean 'darts'"),
        ("space", "darts", "same space"),
        ("num_classes", 3, "classes must be 3 values, got 2"),
    ],
)
def test_sizes_that_are_not_those_of_the_weights(
    exported: Path, size: str, value: Any, message: str
) -> None:
    with safe_open(exported, "pt") as file:
        skeleton = json.loads(file.metadata()["skeleton"])
    rewrite(exported, skeleton=json.dumps(skeleton | {size: value}))
    with pytest.raises(InputError, match=message):
        load(exported)


class Bomb:
    """Pickled, it makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Bomb(tmp_path / "trace")))
    with pytest.raises(InputError, match="no safetensors file"):
        load(path)
    assert not (tmp_path / "trace").exists()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no network file"):
        load(tmp_path / "absent.safetensors")
    with pytest.raises(InputError, match="is a folder"):
        load(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Not a directory"):
        load(tmp_path / "file" / "model.safetensors")


def test_a_file_that_must_not_be_read_is_not_called_absent(exported: Path) -> None:
    exported.chmod(0)
    if os.access(exported, os.R_OK):
        pytest.skip("nothing is forbidden to this user")
    with pytest.raises(InputError, match=r"Permission denied.*check its permissions"):
        load(exported)


def test_every_flipped_bit_is_noticed(exported: Path) -> None:
    content = exported.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content)), 200):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        exported.write_bytes(flipped)
        with pytest.raises(InputError):
            load(exported)


def test_without_a_hash_there_is_a_warning(exported: Path) -> None:
    with safe_open(exported, "pt") as file:
        metadata = file.metadata()
    del metadata["sha256"]
    save_file(load_file(exported), exported, metadata)
    with pytest.warns(UserWarning, match="has no hash: export it again"):
        load(exported)


def test_three_processes_write_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    script = (
        "import sys, pathlib, nas; from nas.export.safetensors import save_network; "
        "network = nas.load(sys.argv[1]); "
        "save_network(pathlib.Path(sys.argv[2]), network, network.data)"
    )
    for number in range(2):
        copy = tmp_path / f"copy{number}.safetensors"
        subprocess.run(
            [sys.executable, "-c", script, str(exported), str(copy)],
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(number)},
        )
        assert copy.read_bytes() == exported.read_bytes()


@pytest.mark.parametrize("name, values", [
    ("std", [0.0, 0.3]), ("std", [-1.0, 0.3]), ("std", [float("nan"), 0.3]),
    ("std", [float("inf"), 0.3]), ("std", [1e-300, 0.3]), ("mean", [float("nan"), 0.2]),
    ("mean", [-0.1, 0.2]), ("mean", [1e308, 0.2]),
])  # fmt: skip
def test_a_normalisation_that_is_none(exported: Path, name: str, values: list[float]) -> None:
    with safe_open(exported, "pt") as file:
        data = json.loads(file.metadata()["data"])
    rewrite(exported, data=json.dumps(data | {name: values}))
    with pytest.raises(InputError, match="are none of values from 0 to 1"):
        load(exported)


@pytest.mark.parametrize("name, value, told", [
    ("body.stem.0.weight", float("nan"), "is no number"),
    ("body.stem.0.weight", float("inf"), "is no number"),
    ("body.stem.1.running_var", -1.0, "variance below 0"),
])  # fmt: skip
def test_weights_that_are_none(exported: Path, name: str, value: float, told: str) -> None:
    with safe_open(exported, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(exported)
    tensors[name].view(-1)[1] = value
    exported.write_bytes(serialise(tensors, metadata))
    with pytest.raises(InputError, match=told):
        load(exported)


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 1, 9, 8, dtype=torch.uint8),
        torch.zeros(3, 2, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 9, 8, dtype=torch.uint8),
        torch.zeros(3, 2, 9, 8),
    ],
)
def test_images_of_another_shape_or_type_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"takes torch.uint8 \(batch, 2, 9, 8\)") as error:
        DATA.normalise(images)
    assert "\n" not in str(error.value)
    assert str(tuple(images.shape)) in str(error.value)
