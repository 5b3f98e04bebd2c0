"""Small trained networks as files, which tests read and never change."""

from pathlib import Path

import pytest
import torch

from cells.cell import Skeleton
from cells.network import Network
from cells.notation import read_genotype
from cells.space import SPACES
from nas.export.safetensors import save_network
from nas.export.training_data import TrainingData

CLASSES = ("disc", 'a "ring"\nor two', "λ-förmig\t\\")
"""Names that neither JSON nor a table may take literally."""
CELLS = {
    "darts": "DARTS_V2",
    "nasbench201": "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|none~2|",
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Space -> a network of 2 cells; darts takes 8×8 RGB images, nasbench201 grey ones of 9×8."""
    folder = tmp_path_factory.mktemp("models")
    shapes = {"darts": (3, 8, 8), "nasbench201": (1, 9, 8)}
    found = {}
    for space, cell in CELLS.items():
        torch.manual_seed(0)
        channels, height, width = shapes[space]
        skeleton = Skeleton(SPACES[space], channels, len(CLASSES), height, width, 4, 2)
        network = Network(read_genotype(cell), skeleton)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) / 10)
            network(torch.randn(8, *shapes[space]))
        mean, std = (0.5, 0.25, 0.4)[:channels], (0.2, 0.3, 0.25)[:channels]
        found[space] = folder / f"{space}.safetensors"
        data = TrainingData("shäpes", CLASSES, mean, std, shapes[space])
        save_network(found[space], network.eval(), data)
    return found
