"""Discrete networks: published sizes, the auxiliary head, drop path, inherited weights."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cells.cell import Skeleton
from cells.dialects import from_darts_cc
from cells.errors import InputError
from cells.network import Network, inherit
from cells.notation import from_nasbench201, read_genotype
from cells.space import SPACES
from cells.supernet import Supernet

NASBENCH201 = Skeleton(SPACES["nasbench201"], 3, 10, 8, 8, 4, 1)
DARTS = Skeleton(SPACES["darts"], 3, 10, 32, 32, 2, 3)
ONE_CONV = from_nasbench201("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")
ONE_SKIP = from_nasbench201("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
NOTHING = from_nasbench201("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def num_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("name", "params"), [("DARTS_V1", 3_169_414), ("DARTS_V2", 3_349_342)])
def test_published_darts_size(name: str, params: int) -> None:
    # Liu, Simonyan, Yang 2019, table 1: 3.3 million for both; these are what quark0/darts builds.
    with torch.device("meta"):
        network = Network(
            read_genotype(name), replace(DARTS, channels=36, num_cells=20), auxiliary=False
        )
    assert num_parameters(network) == params


@pytest.mark.parametrize("genotype", [ONE_CONV, ONE_SKIP, NOTHING])
def test_cells_of_one_edge_or_none_train(genotype) -> None:
    network = Network(genotype, replace(NASBENCH201, num_cells=3))
    out = network(torch.randn(4, 3, 8, 8))
    assert out.shape == (4, 10)
    out.sum().backward()
    assert network.body.classifier.bias.grad is not None
    if genotype is NOTHING:
        assert torch.equal(out, network.body.classifier.bias.expand(4, -1))


def test_a_node_without_inputs_is_zero() -> None:
    # Only the first node of the reduction cell reads anything: a pool and a skip that halve.
    free = from_darts_cc(
        "[[[0, 2], [7, 7, 7], [7, 7, 7, 7], [7, 7, 7, 7, 7]],"
        " [[3, 7], [7, 7, 1], [7, 5, 7, 2], [2, 2, 2, 2, 2]]]"
    )
    network = Network(free, replace(DARTS, space=SPACES["darts_free"], num_cells=3))
    seen: list[Tensor] = []
    network.body.layers[1].register_forward_hook(lambda m, i, out: seen.append(out))
    out = network(torch.randn(4, 3, 32, 32))
    assert seen[0].shape == (4, 4 * 4, 16, 16)
    assert seen[0][:, :4].any() and not seen[0][:, 4:].any()
    out.sum().backward()
    assert network.body.stem[0].weight.grad.any()


def test_a_genotype_of_another_space_gets_one_line() -> None:
    with pytest.raises(InputError) as error:
        Network(ONE_CONV, DARTS)
    message = "the genotype is of space 'nasbench201', the network of 'darts'"
    assert message in str(error.value) and "\n" not in str(error.value)


# Two thirds of 6 cells: layer 4 in DARTS; NAS-Bench-201 has two reduction blocks besides, so
# layer 5 of 8, the second block. Both stand at a quarter of the image's size.
@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize(("space", "layer"), [("darts", 4), ("nasbench201", 5)])
def test_auxiliary_head_reads_two_thirds_of_the_depth(size: int, space: str, layer: int) -> None:
    skeleton = Skeleton(SPACES[space], 3, 7, size, size, 2, 6)
    genotype = read_genotype("DARTS_V1") if space == "darts" else ONE_CONV
    network = Network(genotype, skeleton, auxiliary=True)
    seen: dict[str, Tensor] = {}
    network.body.layers[layer].register_forward_hook(lambda m, i, out: seen.update(cell=out))
    network.auxiliary.register_forward_pre_hook(lambda m, inputs: seen.update(head=inputs[0]))
    x = torch.randn(2, 3, size, size)
    logits, auxiliary = network.with_auxiliary(x)
    assert logits.shape == auxiliary.shape == (2, 7)
    assert seen["head"] is seen["cell"]
    assert seen["cell"].shape[2:] == (size // 4, size // 4)
    auxiliary.sum().backward()
    assert network.body.stem[0].weight.grad.any()
    assert network.body.classifier.weight.grad is None

    network.eval()
    with torch.no_grad():
        assert torch.equal(network.with_auxiliary(x)[0], network(x))


@pytest.mark.parametrize(
    ("size", "stem_stride", "pool"),
    [
        (4, 1, nn.AdaptiveAvgPool2d),
        (28, 1, nn.AdaptiveAvgPool2d),
        (32, 1, nn.AvgPool2d),
        (32, 2, nn.AdaptiveAvgPool2d),
        (57, 2, nn.AvgPool2d),
    ],
)
def test_auxiliary_head_pools_what_is_there(size: int, stem_stride: int, pool: type) -> None:
    """The published pool needs 8 pixels a side at two thirds of the depth."""
    skeleton = replace(NASBENCH201, height=size, width=size, num_cells=3, stem_stride=stem_stride)
    network = Network(ONE_CONV, skeleton, auxiliary=True)
    assert any(type(module) is pool for module in list(network.auxiliary.features)[:2])
    assert network.with_auxiliary(torch.randn(2, 3, size, size))[1].shape == (2, 10)


def test_auxiliary_head_of_cifar_has_the_published_size() -> None:
    # quark0/darts, AuxiliaryHeadCIFAR: C·128 + 2·128 + 128·768·4 + 2·768 + 768·10 + 10.
    genotype = read_genotype("DARTS_V2")
    skeleton = replace(DARTS, channels=36, num_cells=20)
    with torch.device("meta"):
        auxiliary = Network(genotype, skeleton, auxiliary=True).auxiliary
    width = 4 * 4 * 36  # four nodes, doubled twice
    assert num_parameters(auxiliary) == width * 128 + 256 + 393_216 + 1536 + 7690


def cell_output(network: Network, x: Tensor, drop_path: float) -> Tensor:
    """Output of the single cell, with the batch's own statistics."""
    network.drop_path = drop_path
    layer: list[Tensor] = []
    hook = network.body.layers[0].register_forward_hook(lambda m, i, out: layer.append(out))
    network(x)
    hook.remove()
    return layer[0]


def test_drop_path_drops_examples_and_keeps_the_expectation() -> None:
    network = Network(ONE_CONV, NASBENCH201)
    x = torch.randn(4000, 3, 8, 8)
    with torch.no_grad():
        whole, dropped = (cell_output(network, x, p) for p in (0.0, 0.3))
    kept = dropped.flatten(1).any(1)
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.7)  # 0.7 · whole/0.7 + 0.3 · 0
    assert not dropped[~kept].any()
    # 4000 Bernoulli(0.7) draws: standard deviation 0.0072 of their mean.
    assert kept.double().mean().item() == pytest.approx(0.7, abs=4 * 0.0072)


def test_drop_path_never_drops_the_identity() -> None:
    network = Network(ONE_SKIP, NASBENCH201)
    x = torch.randn(16, 3, 8, 8)
    assert torch.equal(cell_output(network, x, 0.9), cell_output(network, x, 0.0))


def test_drop_path_is_off_in_evaluation() -> None:
    network = Network(read_genotype("DARTS_V2"), replace(DARTS, height=8, width=8)).eval()
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        expected = network(x)
        network.drop_path = 0.9
        assert torch.equal(network(x), expected)
        assert not torch.equal(network.train()(x), network(x))


def test_inherited_normalisation_starts_neutral() -> None:
    network = Network(ONE_CONV, replace(NASBENCH201, num_cells=3))
    inherit(network, Supernet(network.skeleton))
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert (norm.weight == 1).all() and (norm.bias == 0).all()
        assert (norm.running_mean == 0).all() and (norm.running_var == 1).all()


@pytest.mark.parametrize("change", [{"channels": 8}, {"num_cells": 2}, {"num_classes": 3}])
def test_inheriting_from_another_size_gets_one_line(change: dict[str, int]) -> None:
    network = Network(ONE_CONV, NASBENCH201)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(InputError, match="the supernet has other sizes") as error:
        inherit(network, Supernet(replace(NASBENCH201, **change)))
    assert "\n" not in str(error.value)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
