"""Generated kernels: formula, size, scale, derivatives of both orders, the way back to plain ones.

That such a search takes its steps in every order, goes on bitwise and leaves weights to inherit
is tested beside the other kinds of weights, in test_searcher, test_resume and test_retrainer.
"""

import copy
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from cells.cell import Skeleton
from cells.conv import DepthwiseConv2d
from cells.space import SPACES
from cells.supernet import Supernet
from nas.cell_search.config import SearchConfig
from nas.cell_search.searcher import Searcher
from nas.data.batches import Split
from nas.data.datasets import load_data
from nas.optim.bilevel import Loss, exact, finite_difference
from nas.reports.report import supernet_accuracy
from nas.runtime.processes import Processes
from nas.weights.kernels import (
    GENERATORS,
    GeneratedConv2d,
    to_generated,
    to_plain,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def generated(network: nn.Module, embedding: int = 3, block: int = 4) -> nn.Module:
    """The network in float64 with generated kernels, every parameter away from its start."""
    to_generated(network.double(), rng(), embedding, block)
    for parameter in network.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=rng(1)).to(parameter)
    return network


class Chain(nn.Module):
    """Layers in a row, with room for generators beside them."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def supernet(space: str = "darts", channels: int = 2, num_cells: int = 1) -> Supernet:
    torch.manual_seed(0)
    return Supernet(Skeleton(SPACES[space], 1, 3, 8, 8, channels, num_cells))


def num_params(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


LAYERS = {
    "one block": (lambda: nn.Conv2d(3, 2, 3), 1, 1),
    "tiles": (lambda: nn.Conv2d(6, 11, 3, stride=2, padding=1, bias=False), 3, 2),
    "pointwise": (lambda: nn.Conv2d(5, 8, 1), 2, 2),
    "dilation": (lambda: nn.Conv2d(4, 5, 2, dilation=2), 2, 1),
    "groups": (lambda: nn.Conv2d(10, 6, 3, groups=2), 2, 2),
    "depthwise": (lambda: DepthwiseConv2d(9, 5), 3, 1),
    "dilated depthwise": (lambda: DepthwiseConv2d(4, 3, dilation=2), 1, 1),
}
every_layer = pytest.mark.parametrize(("build", "rows", "columns"), LAYERS.values(), ids=LAYERS)


# ---------------------------------------------------------------- the formula


@every_layer
def test_kernels_are_those_of_the_paper(build, rows: int, columns: int) -> None:
    """a_i = W_i z + B_i and K_i = W_out a_i + B_out, block by block; what is too much is cut."""
    plain = build().double()
    network = generated(Chain(copy.deepcopy(plain)))
    (layer,) = network.layers
    assert layer.embedding.shape == (rows, columns, 3)
    outputs, inputs, size, _ = plain.weight.shape
    made = network.get_submodule(f"{GENERATORS}.{size}")
    height, width = min(4, outputs), min(4, inputs)
    block = (height, size, size)
    weight = made.weight.detach().numpy().reshape(width, 3, 3)
    bias = made.bias.detach().numpy().reshape(width, 3)
    out_weight = made.out_weight.detach().numpy().reshape(*block, 3)
    out_bias = made.out_bias.detach().numpy().reshape(block)
    expected = np.zeros((rows * height, columns * width, size, size))
    for row in range(rows):
        for column in range(columns):
            z = layer.embedding[row, column].detach().numpy()
            for i in range(width):
                slice_ = out_weight @ (weight[i] @ z + bias[i]) + out_bias
                expected[row * height : (row + 1) * height, column * width + i] = slice_
    kernel = torch.from_numpy(expected[:outputs, :inputs])
    torch.testing.assert_close(layer.kernel(), kernel)
    # The convolution itself is the ordinary one.
    x = torch.randn(2, plain.in_channels, 6, 7, generator=rng(2), dtype=torch.float64)
    values = {"weight": kernel} | ({} if plain.bias is None else {"bias": layer.bias})
    torch.testing.assert_close(network(x), functional_call(plain, values, (x,)))


def test_the_parameters_of_equal_layers_are_the_papers_count() -> None:
    """N_z D + d (N_z + 1) N_in + f² N_out (d + 1), with d = N_z; section 3.1."""
    network = Chain(*(nn.Conv2d(16, 16, 7, bias=False) for _ in range(3)))
    assert num_params(network) == 3 * 12_544
    to_generated(network, rng(), embedding=4, block=16)
    assert num_params(network) == 4 * 3 + 4 * (4 + 1) * 16 + 7 * 7 * 16 * (4 + 1) == 4_252


def test_larger_kernels_have_an_embedding_for_each_block() -> None:
    """32 channels to 64 are eight blocks of 16; section 4.1."""
    network = Chain(nn.Conv2d(16, 16, 3), nn.Conv2d(32, 64, 3))
    to_generated(network, rng(), embedding=64, block=16)
    assert [layer.embedding.shape[:2].numel() for layer in network.layers] == [1, 8]


@pytest.mark.parametrize("n", [64, 16])
def test_the_parameters_of_a_supernet(n: int) -> None:
    """Preset digits: 8 channels, a reduction to 16, one colour; three sizes of kernels."""
    network = Supernet(Skeleton(SPACES["darts"], 1, 10, 8, 8, 8, 2))
    to_generated(network, rng(), n, 16)
    generators = (n + 1) * (16 * n + 16)  # 1 × 1, 16 channels to 16
    generators += (n + 1) * (n + 9 * 16) + (n + 1) * (
        n + 25 * 16
    )  # one channel in: depthwise, stem
    blocks = 2  # the stem's 24 channels
    blocks += 2 * 2 + 2 * 2  # projections of 24 and 32 channels
    blocks += 2 * 14 * 12  # edges
    blocks += 8 * 2  # halving identities
    assert num_params(network) == generators + blocks * n + 650  # the classifier


# ---------------------------------------------------------------- where they start


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_kernels_start_with_the_scale_of_he(space: str) -> None:
    """Mean 0 and variance 2 / fan-in, at every width; each kernel by itself within a factor."""
    network = Supernet(Skeleton(SPACES[space], 3, 10, 8, 8, 16, 3))
    to_generated(network, rng(), 64, 16)
    units: dict[int, list[Tensor]] = {}
    for layer in network.modules():
        if isinstance(layer, GeneratedConv2d):
            kernel = layer.kernel().detach()
            fan_in = kernel[0].numel()
            unit = kernel.flatten() * math.sqrt(fan_in / 2)
            units.setdefault(fan_in, []).append(unit)
            assert 0.4 < unit.square().mean() < 2.5
    often = {fan_in: torch.cat(same) for fan_in, same in units.items() if len(same) >= 6}
    assert len(often) >= 5
    for unit in often.values():
        assert abs(unit.mean()) < 0.1
        assert unit.square().mean().item() == pytest.approx(1, abs=0.15)


# ---------------------------------------------------------------- derivatives


@every_layer
def test_gradients_are_those_of_finite_differences(build, rows: int, columns: int) -> None:
    plain = build()
    channels, network = plain.in_channels, generated(Chain(plain))
    names = [name for name, _ in network.named_parameters()]
    values = [p.detach().requires_grad_() for p in network.parameters()]
    x = torch.randn(1, channels, 5, 5, generator=rng(3), dtype=torch.float64, requires_grad=True)

    def output(x: Tensor, *values: Tensor) -> Tensor:
        named = dict(zip(names, values, strict=True))
        return functional_call(network, named, (x,), tie_weights=False)

    assert gradcheck(output, (x, *values), fast_mode=True)
    assert gradgradcheck(output, (x, *values), fast_mode=True)


def test_one_generator_serves_all_layers_and_is_swapped_for_all() -> None:
    network = generated(supernet())
    names = [name for name, _ in network.named_parameters()]
    assert [name for name in names if name.startswith(GENERATORS)] == [
        f"{GENERATORS}.{size}.{part}"
        for size in (1, 3, 5)
        for part in ("weight", "bias", "out_weight", "out_bias")
    ]
    x = torch.randn(4, 1, 8, 8, generator=rng(2), dtype=torch.float64)
    weights = torch.full((14, 8), 1 / 8, dtype=torch.float64)
    before = network(x, weights)
    kernels = [layer.kernel() for layer in network.modules() if isinstance(layer, GeneratedConv2d)]
    assert len(kernels) == 1 + 2 + 14 * 12
    # Without a generator all kernels are 0, and what is left of the logits is the bias.
    zeros = {n: torch.zeros_like(p) for n, p in network.named_parameters() if GENERATORS in n}
    found = functional_call(network, zeros, (x, weights), tie_weights=False)
    torch.testing.assert_close(found, network.body.classifier.bias.expand(4, 3))
    assert torch.equal(network(x, weights), before)


@pytest.mark.parametrize(
    ("form", "tolerance"), [(exact, 1e-5), (finite_difference, 1e-2)], ids=["exact", "differences"]
)
def test_second_order_hypergradient_is_the_slope_after_a_step(form, tolerance: float) -> None:
    """Against a central difference, in a random direction, of the loss after a step by hand."""
    network = generated(supernet())
    names = [name for name, _ in network.named_parameters()]
    weights = tuple(network.parameters())
    arch = torch.randn(14, 8, generator=rng(2), dtype=torch.float64)
    images = torch.randn(2, 6, 1, 8, 8, generator=rng(3), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 2, 1, 0])

    def loss(half: int) -> Loss:
        def value(w: tuple[Tensor, ...], a: tuple[Tensor, ...]) -> Tensor:
            values = dict(zip(names, w, strict=True))
            inputs = (images[half], a[0].softmax(dim=-1))
            logits = functional_call(network, values, inputs, tie_weights=False)
            return F.cross_entropy(logits, labels)

        return value

    lr, decay = 0.05, 0.01

    def after_a_step(a: Tensor) -> float:
        leaves = tuple(w.detach().requires_grad_() for w in weights)
        grads = torch.autograd.grad(loss(0)(leaves, (a,)), leaves)
        moved = [w - lr * (g + decay * w) for w, g in zip(leaves, grads, strict=True)]
        with torch.no_grad():
            return float(loss(1)(tuple(moved), (a,)))

    options = {"epsilon": 1e-4} if form is finite_difference else {}
    found = form(loss(0), loss(1), weights, (arch,), lr=lr, weight_decay=decay, **options)
    direction = torch.randn(arch.shape, generator=rng(4), dtype=torch.float64)
    step = 1e-6
    ahead, behind = (after_a_step(arch + sign * step * direction) for sign in (1, -1))
    slope = (ahead - behind) / (2 * step)
    assert float((found.grads[0] * direction).sum()) == pytest.approx(slope, rel=tolerance)
    first = torch.autograd.grad(loss(1)(weights, (arch.requires_grad_(),)), arch)[0]
    assert float((first * direction).sum()) != pytest.approx(slope, rel=10 * tolerance)


# ---------------------------------------------------------------- cost and precision


def test_a_forward_makes_the_kernels_of_the_layers_it_computes_once() -> None:
    network = generated(supernet())
    calls: Counter[str] = Counter()
    for size, generator in network.get_submodule(GENERATORS).named_children():
        generator.register_forward_hook(lambda *_, size=size: calls.update([size]))
    x = torch.randn(2, 1, 8, 8, generator=rng(2), dtype=torch.float64)
    network(x, torch.full((14, 8), 1 / 8, dtype=torch.float64))
    # Two projections; on 14 edges 6 pointwise kernels, 3 depthwise ones of each size; the stem.
    assert calls == {"1": 2 + 14 * 6, "3": 1 + 14 * 3, "5": 14 * 3}
    calls.clear()
    space = network.skeleton.space
    network.discrete(x, [space.ops.index("dil_conv_5x5")] + 13 * [space.ops.index("skip_connect")])
    assert calls == {"1": 2 + 1, "3": 1, "5": 1}


def test_kernels_are_made_in_full_precision() -> None:
    network = Chain(nn.Conv2d(4, 6, 3, bias=False))
    to_generated(network, rng(), 8, 4)
    kernel = network.layers[0].kernel()
    x = torch.randn(2, 4, 5, 5, generator=rng(2))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network.layers[0].kernel(), kernel)
        found = network(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), F.conv2d(x, kernel), atol=0.03, rtol=0.03)


def test_a_search_in_bfloat16_takes_a_step() -> None:
    config = SearchConfig(
        channels=4, num_cells=1, batch_size=32, weights="generated", kernel_embedding=8,
        device="cpu", threads=1,
    )  # fmt: skip
    alone = Processes(0, 1, torch.device("cpu"))
    data = load_data("digits", Path("."))
    losses = []
    for precision in ("bfloat16", "float32"):
        searcher = Searcher(replace(config, precision=precision), alone, data=data)
        before = [p.detach().clone() for p in searcher.supernet.parameters()]
        searcher.advance()
        moved = zip(before, searcher.supernet.parameters(), strict=True)
        assert any(not torch.equal(a, b) and b.isfinite().all() for a, b in moved)
        losses.append(searcher.averages["train_nll"].mean)
    assert losses[0] == pytest.approx(losses[1], abs=0.1) and losses[0] != losses[1]


# ---------------------------------------------------------------- there and back


def test_only_convolutions_are_generated() -> None:
    others = [nn.Linear(2, 2), nn.Conv1d(2, 2, 3), nn.ConvTranspose2d(2, 2, 3), nn.BatchNorm2d(2)]
    network = Chain(nn.Conv2d(2, 3, 3), DepthwiseConv2d(3, 3), *others)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    to_generated(network, rng(), 4, 16)
    assert [type(layer) for layer in network.layers] == [
        GeneratedConv2d, GeneratedConv2d, *(type(layer) for layer in others)
    ]  # fmt: skip
    after = dict(network.named_parameters())
    assert before.keys() - after.keys() == {"layers.0.weight", "layers.1.weight"}
    for name in before.keys() & after.keys():
        assert torch.equal(after[name], before[name]), name


@pytest.mark.parametrize("space", ["darts", "nasbench201"])
def test_plain_kernels_compute_the_same(space: str) -> None:
    ordinary = supernet(space, channels=6, num_cells=3)
    network = generated(copy.deepcopy(ordinary))
    plain = copy.deepcopy(network)
    to_plain(plain)
    assert [type(m) for m in plain.modules()] == [type(m) for m in ordinary.modules()]
    shapes = {name: p.shape for name, p in ordinary.named_parameters()}
    assert {name: p.shape for name, p in plain.named_parameters()} == shapes
    num_edges, num_ops = ordinary.skeleton.space.num_edges, len(ordinary.skeleton.space.ops)
    weights = torch.rand(num_edges, num_ops, generator=rng(2), dtype=torch.float64)
    x = torch.randn(8, 1, 8, 8, generator=rng(3), dtype=torch.float64)
    assert torch.equal(plain(x, weights), network(x, weights))
    # Cells are scored alike, too.
    images = torch.randint(0, 256, (100, 1, 8, 8), generator=rng(4), dtype=torch.uint8)
    split = Split(images, torch.randint(0, 3, (100,), generator=rng(5)))
    choices = torch.randint(0, num_ops, (num_edges,), generator=rng(6)).tolist()
    found = supernet_accuracy(network.float(), choices, split, (0.5,), (0.25,))
    assert found == supernet_accuracy(plain.float(), choices, split, (0.5,), (0.25,))
    before = [p.clone() for p in plain.parameters()]
    to_plain(plain)  # there is nothing left to do
    assert all(torch.equal(a, b) for a, b in zip(before, plain.parameters(), strict=True))
