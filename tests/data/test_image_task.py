"""Which batches can be normalised, against torch's own refusal on the built network."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cells.errors import InputError
from cells.network import Network
from cells.notation import read_genotype
from nas.data.augmentation import Augmentation
from nas.data.batches import Split
from nas.data.datasets import ImageData, load_data
from nas.data.image_task import ImageTask
from nas.runtime.processes import Processes

CELLS = {
    "darts": "DARTS_V2",
    "nasbench201": "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|none~2|",
}


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_data("digits", Path("."))


@pytest.mark.parametrize("space", CELLS)
@pytest.mark.parametrize(
    ("height", "width", "num_cells", "stride"),
    [
        (1, 1, 1, 1), (1, 2, 1, 1), (1, 2, 2, 1), (4, 4, 3, 1), (4, 5, 3, 1), (5, 4, 3, 2),
        (32, 32, 3, 1), (43, 43, 3, 1), (44, 44, 3, 1), (41, 48, 3, 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("auxiliary", [False, True])
def test_a_single_image_is_refused_where_torch_would(
    height: int, width: int, num_cells: int, stride: int, auxiliary: bool, space: str,
    digits: ImageData,
) -> None:  # fmt: skip
    images = torch.zeros(3, 1, height, width, dtype=torch.uint8)
    data = replace(digits, train=Split(images, torch.tensor([0, 1, 2])))
    task = ImageTask.of(data, space, 2, num_cells, stride)
    with torch.device("meta"):
        network = Network(read_genotype(CELLS[space]), task.skeleton, auxiliary=auxiliary)
        x = torch.zeros(1, 1, height, width)
    try:
        network.with_auxiliary(x) if auxiliary else network(x)
        wanted = False
    except ValueError as error:
        assert "more than 1 value per channel" in str(error)
        wanted = True
    found = False
    alone = Processes(0, 1, torch.device("cpu"))
    options = {"seed": 0, "name": "train", "augmentation": Augmentation(), "auxiliary": auxiliary}
    try:
        task.batches(data.train, 1, processes=alone, **options)
    except InputError as error:
        assert "batches of 1 image per process cannot be normalised" in str(error)
        assert "take a batch size of 2 or more" in str(error)
        found = True
    assert found == wanted
    task.batches(data.train, 2, processes=alone, **options)
