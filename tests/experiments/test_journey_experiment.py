"""The journey from a folder of images to a network in use: its images, rivals and table."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from cells.cell import Skeleton
from cells.cost import cost_table
from cells.genotype import Genotype
from cells.space import find_space
from experiments.journey.photos import LARGEST, SMALLEST, TEST, TRAIN, make_photos
from experiments.journey.rivals import Fixed, largest_random, scaled_mobilenet, tpe, trained
from experiments.journey.table import share, tables
from nas.data.datasets import load_data
from nas.retraining.config import RetrainConfig
from nas.runtime.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))
SPACE = find_space("darts")
SKELETON = Skeleton(SPACE, 1, 10, 8, 8, channels=4, num_cells=1)
RECIPE = RetrainConfig(
    data="digits",
    channels=4,
    num_cells=1,
    stem_stride=1,
    crop_padding=0,
    epochs=1,
    warmup_epochs=0,
    threads=1,
)


def test_the_photos_are_of_mixed_sizes_and_forms(
    tmp_path: Path, data_file: Callable[[str], Path]
) -> None:
    folder = make_photos(tmp_path / "photos", data_file("cifar10.npz").parent)
    for part, count in (("train", TRAIN), ("test", TEST)):
        classes = sorted(path.name for path in (folder / part).iterdir())
        assert len(classes) == 10 and "airplane" in classes
        files = sorted((folder / part / "cat").iterdir())
        assert len(files) == count
        assert sum(path.suffix == ".jpg" for path in files) == count // 2
    sizes = set()
    for path in files:
        with Image.open(path) as image:
            sizes.add(image.size)
    assert len(sizes) > count // 2
    assert all(SMALLEST <= side <= LARGEST for size in sizes for side in size)
    assert make_photos(folder, tmp_path / "absent") == folder  # kept as it is


def test_the_largest_random_cell_fits_and_is_large() -> None:
    table = cost_table("params", SKELETON)
    middle = int(table.base + table.table.max(dim=1).values.sum()) // 2
    found = largest_random(SPACE, table, middle, seed=0)
    assert 0.95 * middle < table.total(found.choices()) <= middle
    assert found == largest_random(SPACE, table, middle, seed=0)


@pytest.mark.parametrize("bound", [20_000, 100_000])
def test_the_mobilenet_is_the_widest_that_fits(bound: int) -> None:
    network = scaled_mobilenet(10, bound)
    count = sum(weight.numel() for weight in network.parameters())
    assert 0.85 * bound < count <= bound
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    depthwise = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(depthwise) == 17  # inverted residuals of Sandler et al. 2018, table 2


def test_a_given_network_is_trained_as_cells_are() -> None:
    data = load_data("digits", Path("data"))
    given = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    before = given[1].weight.detach().clone()
    genotype = largest_random(SPACE, cost_table("params", SKELETON), 10**6, seed=0)
    trainer = Fixed(given, replace(RECIPE, epochs=4), genotype, data, ALONE, 0)
    assert trained(trainer) > 0.8  # a linear classifier's
    assert not torch.equal(before, given[1].weight)


def test_tpe_gives_the_cells_that_no_other_dominates() -> None:
    data = load_data("digits", Path("data"))
    found = tpe(data, RECIPE, SKELETON, seed=0, minutes=0.02)
    assert found["trials"] >= len(found["cells"]) >= 1
    for text in found["cells"]:
        assert SPACE.connected(Genotype.from_json(text).choices())


def test_the_share_is_the_area_under_the_members() -> None:
    assert share([{"accuracy": 1.0, "params": 0}], 100) == pytest.approx(1)
    assert share([{"accuracy": 0.1, "params": 0}], 100) == 0  # chance
    two = [{"accuracy": 0.55, "params": 20}, {"accuracy": 1.0, "params": 50}]
    assert share(two, 100) == pytest.approx(0.5 * 0.3 + 1.0 * 0.5)
    assert share([*two, {"accuracy": 1.0, "params": 101}], 100) == pytest.approx(0.65)


def test_the_tables_tell_every_seed_and_the_spread() -> None:
    net = {"accuracy": 0.5, "params": 90}
    own = [
        {"minutes": {"search": 20.0, "ask": 0.1}, "bytes": 4000, "cell": each, "members": [each]}
        for each in (net, {"accuracy": 0.6, "params": 80})
    ]
    rivals = [{"trials": 7, "members": [net], "random": net, "mobilenet": net}] * 2
    text = tables(own, rivals, 100)
    assert "| seed 1 | 20.0 | 0.1 | 20.1 | 4 |" in text
    assert "| the tool's cell | 90 80 | 55.00 ± 7.07 |" in text
    assert "7, 7 trials" in text
