"""Layers in a row: what is read, and many networks at a time against one by one."""

import pytest
import torch
from torch import nn

from cells.chain import Affine, Chain, affine
from cells.errors import InputError

CHAINS = {
    "mlp": (("7", "5"), (6,)),
    "mlp on images": (("7",), (2, 4, 4)),
    "convolutions": (("conv3", "pool", "conv4", "8"), (2, 6, 5)),
    "pool first, convolution last": (("pool", "conv3"), (1, 4, 4)),
}


def tables_of(module: nn.Sequential) -> list[torch.Tensor]:
    layers = [layer for layer in module if isinstance(layer, nn.Linear | nn.Conv2d)]
    return [
        torch.cat([layer.weight.flatten(1), layer.bias[:, None]], dim=1).detach()
        for layer in layers
    ]


def test_layers_are_read() -> None:
    chain = Chain.parse(("conv16", "pool", "100"), (3, 9, 8), 10)
    assert chain.steps == (
        Affine(True, 3, 16), None, Affine(False, 16 * 4 * 4, 100), Affine(False, 100, 10)
    )  # fmt: skip
    assert chain.num_params == 16 * 28 + 100 * 257 + 10 * 101
    assert chain.output_shapes == [(16, 9, 8), (100,), (10,)]
    paper = Chain.parse(("100",), (1, 28, 28), 10)
    assert paper.num_params == 79_510


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        (("dense",), (4,), "layer 'dense' is unknown: write conv32"),
        (("0",), (4,), "layer '0' is unknown"),
        (("conv",), (1, 4, 4), "layer 'conv' is unknown"),
        (("conv4",), (4,), "layer 'conv4' needs an image"),
        (("8", "pool"), (1, 4, 4), "layer 'pool' needs an image"),
        (("pool",) * 3, (1, 4, 4), "layer 'pool' leaves nothing"),
    ],
)
def test_layers_that_do_not_fit_get_one_line(
    layers: tuple[str, ...], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Chain.parse(layers, shape, 3)


@pytest.mark.parametrize("name", CHAINS)
def test_many_networks_equal_modules_one_by_one(name: str) -> None:
    """With inputs of their own, and with one batch for several."""
    layers, shape = CHAINS[name]
    chain = Chain.parse(layers, shape, 3)
    torch.manual_seed(0)
    modules = [[chain.module().double() for _ in range(3)] for _ in range(2)]
    tables = [
        torch.stack([torch.stack([tables_of(m)[n] for m in line]) for line in modules])
        for n in range(len(chain.layers))
    ]
    x = torch.randn(2, 1, 4, *shape, dtype=torch.float64)
    found = chain.propagate(x, lambda n, layer, x: affine(layer, x, tables[n]))
    assert found.shape == (2, 3, 4, 3)
    for i, line in enumerate(modules):
        for j, module in enumerate(line):
            torch.testing.assert_close(found[i, j], module(x[i, 0]).detach())
    assert sum(p.numel() for p in modules[0][0].parameters()) == chain.num_params
