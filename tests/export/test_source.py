"""Networks as Python of their own, beside the networks that they are written from."""

import ast
import random
import re
from pathlib import Path

import pytest
import torch

import nas
from cells.cell import Skeleton
from cells.genotype import Genotype
from cells.network import Network
from cells.sampling import random_cell
from cells.space import SPACES, SearchSpace
from nas.export.deploy import largest_difference
from nas.export.source import source, to_source
from nas.export.training_data import TrainingData


def some_network(space: SearchSpace, seed: int, num_cells: int) -> Network:
    """A network of operations at random, on odd sizes; some of its nodes may have no edge."""
    choices = random_cell(space, random.Random(seed), connected=False)
    torch.manual_seed(seed)
    network = Network(
        Genotype.from_choices(space, choices), Skeleton(space, 2, 3, 11, 9, 3, num_cells, 2)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
        network(torch.randn(8, 2, 11, 9))
    network.data = TrainingData("x", ("a", "b", "c"), (0.4, 0.5), (0.2, 0.3), (2, 11, 9))
    return network.eval()


@pytest.mark.parametrize("name", ["darts_free", "nasbench201"])
def test_any_cell_computes_the_same(name: str) -> None:
    space = SPACES[name]
    images = torch.randint(256, (4, 2, 11, 9), dtype=torch.uint8)
    text = ""
    for seed in range(3):
        network = some_network(space, seed, 2 + seed)
        assert largest_difference(network, to_source(network).run, [images]) < 1e-6
        text += source(network)
    for op in set(space.ops) - {"none"}:
        assert f"_{op}(channels, " in text


def test_torch_is_all_that_is_imported(models: dict[str, Path]) -> None:
    for path in models.values():
        text = source(nas.load(path))
        names = re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)
        assert set(names) == {"collections", "json", "pathlib", "struct", "torch"}
        assert "nas" not in {n.id for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Name)}


def test_names_from_a_stranger_are_literals(models: dict[str, Path]) -> None:
    network = nas.load(models["nasbench201"])
    hostile = (
        "'''\nraise SystemExit\n'''",
        '"""\nraise SystemExit\n"""',
        "{0}\\\udcff",
    )
    network.data = TrainingData(hostile[0], hostile, (0.5,), (0.2,), (1, 9, 8))
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(to_source(network).content).body
        if isinstance(node, ast.Assign) and node.targets[0].id.isupper()
    }
    assert constants["CLASSES"] == hostile
    assert constants["DATA"] == hostile[0]
