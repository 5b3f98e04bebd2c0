"""The mixed network against the discrete one with copied weights, in float64."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cells.cell import Body, Cell, Skeleton, State
from cells.conv import DepthwiseConv2d
from cells.genotype import Genotype
from cells.network import Network, inherit
from cells.sampling import random_cell
from cells.space import SPACES, SearchSpace
from cells.supernet import MixedEdge, Supernet

EACH_SPACE = pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def random_genotype(space: SearchSpace, seed: int) -> Genotype:
    return Genotype.from_choices(space, random_cell(space, random.Random(seed), connected=False))


def one_hot(space: SearchSpace, choices: Sequence[int]) -> Tensor:
    return torch.eye(len(space.ops), dtype=torch.float64)[list(choices)]


def weighted(module: nn.Module | None) -> list[nn.Module]:
    """Layers with weights that network and supernet share, in order."""
    if module is None:
        return []
    return [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def twins(discrete: Body, mixed: Body, choices: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs each convolution's and linear layer's parameters with the supernet's, by position."""
    pairs = [(discrete.stem, mixed.stem), (discrete.classifier, mixed.classifier)]
    for layer, twin in zip(discrete.layers, mixed.layers, strict=True):
        if not isinstance(layer, Cell):
            pairs.append((layer, twin))
            continue
        pairs.append((layer.inputs, twin.inputs))
        pairs += [
            (edge, twin.edges[i].ops[choices[layer.first_row + int(i)]])
            for i, edge in layer.edges.items()
        ]
    for one, other in pairs:
        for a, b in zip(weighted(one), weighted(other), strict=True):
            yield from zip(a.parameters(), b.parameters(), strict=True)


# Images of odd size, every depth with two, one and no reductions, each kind of mixture with two.
CASES = [
    (1, 13, 9, 4, "active"),
    (3, 13, 9, 3, "all"),
    (3, 7, 10, 2, "active"),
    (1, 5, 5, 1, "all"),
]


@EACH_SPACE
@pytest.mark.parametrize(("in_channels", "height", "width", "num_cells", "mixture"), CASES)
def test_one_hot_is_the_discrete_network(
    space: SearchSpace, in_channels: int, height: int, width: int, num_cells: int, mixture: str
) -> None:
    """Outputs, and gradients of the input and of every weight, in training mode."""
    skeleton = Skeleton(space, in_channels, 5, height, width, 4, num_cells)
    supernet = Supernet(skeleton).double()
    target = torch.tensor([0, 4, 2])
    for seed in range(3):
        genotype = random_genotype(space, seed)
        choices = genotype.choices()
        network = Network(genotype, skeleton).double()
        inherit(network, supernet)
        x = torch.randn(3, in_channels, height, width, dtype=torch.float64, requires_grad=True)
        y = x.detach().clone().requires_grad_()
        supernet.zero_grad()

        out = network(x)
        mixed = supernet(y, one_hot(space, choices), choices if mixture == "active" else None)
        torch.testing.assert_close(mixed, out, rtol=1e-12, atol=1e-12)
        for logits in (out, mixed):
            nn.functional.cross_entropy(logits, target).backward()

        assert x.grad is not None and x.grad.any()
        torch.testing.assert_close(y.grad, x.grad, rtol=1e-9, atol=1e-12)
        copied = set()
        for a, b in twins(network.body, supernet.body, choices):
            assert torch.equal(a, b)
            zeros = torch.zeros_like(a)
            torch.testing.assert_close(
                zeros if b.grad is None else b.grad,
                zeros if a.grad is None else a.grad,
                rtol=1e-9,
                atol=1e-12,
            )
            copied |= {id(a), id(b)}
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        own = {id(p) for m in norms for p in m.parameters()}
        assert {id(p) for p in network.parameters()} <= copied | own
        for parameter in supernet.parameters():  # candidates that were not chosen learn nothing
            if id(parameter) not in copied:
                assert parameter.grad is None or not parameter.grad.any()


@EACH_SPACE
def test_discrete_is_the_one_hot_mixture(space: SearchSpace) -> None:
    supernet = Supernet(Skeleton(space, 3, 5, 7, 6, 2, 3)).double()
    x = torch.randn(3, 3, 7, 6, dtype=torch.float64)
    for seed in range(3):
        choices = random_genotype(space, seed).choices()
        expected = supernet(x, one_hot(space, choices))
        torch.testing.assert_close(supernet.discrete(x, choices), expected, rtol=0, atol=1e-12)


@EACH_SPACE
def test_sampled_edges_pass_the_same_gradient_to_the_chosen_weights(space: SearchSpace) -> None:
    """Straight-through relaxations use it: d loss / d weight of the operation that was computed."""
    supernet = Supernet(Skeleton(space, 3, 5, 7, 6, 2, 3)).double()
    x = torch.randn(3, 3, 7, 6, dtype=torch.float64)
    choices = random_genotype(space, 1).choices()
    grads = []
    for active in (None, choices):
        weights = one_hot(space, choices).requires_grad_()
        supernet(x, weights, active).logsumexp(1).sum().backward()
        grads.append(weights.grad[range(len(choices)), list(choices)])
    assert grads[0].any()
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-9, atol=1e-12)


@EACH_SPACE
def test_weights_per_example_equal_each_example_alone(space: SearchSpace) -> None:
    supernet = Supernet(Skeleton(space, 3, 5, 9, 7, 2, 3)).double()
    # Through batch normalisation examples would see each other.
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = True
            module.running_mean = torch.zeros(module.num_features, dtype=torch.float64)
            module.running_var = torch.ones(module.num_features, dtype=torch.float64)
    supernet.eval()
    x = torch.randn(4, 3, 9, 7, dtype=torch.float64)
    weights = torch.randn(4, space.num_edges, len(space.ops), dtype=torch.float64).softmax(-1)
    together = supernet(x, weights)
    assert together.std(0).min() > 1e-6  # the examples differ
    for i in range(4):
        torch.testing.assert_close(supernet(x[i : i + 1], weights[i])[0], together[i])
    same = weights[:1].expand(4, -1, -1)
    torch.testing.assert_close(supernet(x, same), supernet(x, weights[0]))


def test_a_mixed_edge_is_the_weighted_sum_of_its_candidates() -> None:
    space = SPACES["nasbench201"]
    edge = MixedEdge(space.ops, space.none, 4, 1).double()
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64)
    weights = torch.tensor([0.4, 0.3, 0.05, 0.05, 0.2], dtype=torch.float64)
    expected = sum(w * op(x) for w, op in zip(weights, edge.ops, strict=True))
    torch.testing.assert_close(edge(State(x), weights, range(len(space.ops))), expected)
    torch.testing.assert_close(edge(State(x), weights, (2,)), weights[2] * edge.ops[2](x))
    assert edge(State(x), weights, (space.none,)) is None


@EACH_SPACE
@pytest.mark.parametrize("training", [True, False])
def test_passes_move_no_state(space: SearchSpace, training: bool) -> None:
    """The ±ε passes of a hypergradient must leave no trace."""
    skeleton = Skeleton(space, 3, 5, 8, 8, 2, 3)
    supernet = Supernet(skeleton).train(training)
    assert not list(supernet.buffers())
    assert not any("running" in name for name in supernet.state_dict())
    before = {k: v.clone() for k, v in supernet.state_dict().items()}
    choices = random_genotype(space, 0).choices()
    supernet(torch.randn(4, 3, 8, 8), one_hot(space, choices).float())
    assert all(torch.equal(v, before[k]) for k, v in supernet.state_dict().items())


@EACH_SPACE
def test_training_and_evaluation_agree(space: SearchSpace) -> None:
    """Without running statistics, the batch at hand normalises in both modes."""
    supernet = Supernet(Skeleton(space, 3, 5, 8, 8, 2, 3))
    x = torch.randn(4, 3, 8, 8)
    choices = random_genotype(space, 0).choices()
    assert torch.equal(supernet.discrete(x, choices), supernet.eval().discrete(x, choices))


@EACH_SPACE
def test_candidates_are_every_operation_of_every_cell(space: SearchSpace) -> None:
    supernet = Supernet(Skeleton(space, 3, 5, 8, 8, 2, 5))
    found = list(supernet.candidates())
    # 5 cells; the DARTS space makes 2 of them reduction cells with an architecture of their own.
    per_row = [3] * 14 + [2] * 14 if space.concat else [5] * 6
    for row, count in enumerate(per_row):
        for column in range(len(space.ops)):
            assert sum((r, c) == (row, column) for r, c, _ in found) == count
    assert len({id(module) for _, _, module in found}) == len(found)
    mixed = {id(p) for _, _, module in found for p in module.parameters()}
    edges = [m for m in supernet.modules() if isinstance(m, MixedEdge)]
    assert mixed == {id(p) for edge in edges for p in edge.parameters()}


def plain_supernet(supernet: Supernet, x: Tensor, weights: Tensor) -> Tensor:
    """The definition: every operation of every edge by itself, then the weighted sum."""

    def run_edge(edge: nn.Module, row: int, state: State) -> Tensor:
        assert isinstance(edge, MixedEdge)
        terms = zip(weights[row], edge.ops, strict=True)
        return sum((w * op(state.x) for w, op in terms), torch.zeros(()))

    return supernet.body(x, run_edge)


def gradients(logits: Tensor, supernet: Supernet, weights: Tensor) -> Tensor:
    """Of a loss with respect to all that is trained, as one vector."""
    loss = nn.functional.cross_entropy(logits, torch.arange(len(logits)) % logits.shape[1])
    inputs = [weights, *supernet.parameters()]
    return torch.cat([grad.flatten() for grad in torch.autograd.grad(loss, inputs)])


@EACH_SPACE
def test_shared_work_leaves_outputs_and_gradients_as_they_are(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32 to 1e-5 of the plain implementation, dilated convolutions by torch and all."""
    supernet = Supernet(Skeleton(space, 3, 5, 16, 16, 4, 3)).to(memory_format=torch.channels_last)
    x = torch.randn(8, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    weights = torch.randn(space.num_edges, len(space.ops)).softmax(-1).requires_grad_()
    out = supernet(x, weights)
    grads = gradients(out, supernet, weights)
    monkeypatch.setattr(DepthwiseConv2d, "_conv_forward", nn.Conv2d._conv_forward)
    expected = plain_supernet(supernet, x, weights)
    expected_grads = gradients(expected, supernet, weights)
    assert (out - expected).norm() <= 1e-5 * expected.norm()
    assert (grads - expected_grads).norm() <= 1e-5 * expected_grads.norm()


def test_common_work_is_done_once_per_state() -> None:
    """Of the 14 edges of a cell, those that leave one state share pools and rectifiers."""
    space = SPACES["darts"]
    supernet = Supernet(Skeleton(space, 3, 5, 8, 8, 4, 1))
    calls = []
    for module in supernet.modules():
        if isinstance(module, nn.MaxPool2d | nn.ReLU):
            module.register_forward_hook(lambda m, x, y: calls.append(type(m)))
    weights = torch.full((space.num_edges, len(space.ops)), 1 / len(space.ops))
    supernet(torch.randn(2, 3, 8, 8), weights)
    states = 5  # two inputs, three nodes; nothing leaves the last node
    assert calls.count(nn.MaxPool2d) == states
    separable = 2 * 14  # the second half of each has a rectifier of its own
    assert calls.count(nn.ReLU) == 1 + states + separable  # both inputs are the stem


def saved_bytes(supernet: Supernet, x: Tensor, **options: Any) -> int:
    """Bytes that the forward pass keeps for the backward pass, parameters left out."""
    own = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    space = supernet.skeleton.space
    weights = torch.full((space.num_edges, len(space.ops)), 0.1, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = supernet(x, weights, **options).sum()
    assert loss.requires_grad  # the graph, and all that it keeps, is still there
    return sum(kept.values())


def test_a_quarter_of_the_channels_needs_less_than_0_4_of_the_memory() -> None:
    skeleton = Skeleton(SPACES["darts"], 3, 10, 16, 16, 16, 3)
    x = torch.randn(8, 3, 16, 16)
    whole, quarter = (saved_bytes(Supernet(skeleton, partial), x) for partial in (1, 4))
    assert quarter < 0.4 * whole


def test_one_operation_per_edge_needs_a_fraction_of_the_memory() -> None:
    skeleton = Skeleton(SPACES["darts"], 3, 10, 16, 16, 16, 3)
    x, supernet = torch.randn(8, 3, 16, 16), Supernet(skeleton)
    whole = saved_bytes(supernet, x)
    one = saved_bytes(supernet, x, active=[4] * skeleton.space.num_edges)
    assert one < 0.35 * whole


@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels_are_those_of_pc_darts(stride: int) -> None:
    """Operations see the first quarter, the rest passes by, then channels are shuffled."""
    space = SPACES["darts"]
    edge = MixedEdge(space.ops, space.none, 8, stride, 4).double()
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    weights = torch.rand(8, dtype=torch.float64)
    share = torch.tensor(0.3, dtype=torch.float64)
    found = edge(State(x), weights, range(8), share)
    mixed = sum(w * op(x[:, :2]) for w, op in zip(weights, edge.ops, strict=True))
    rest = x[:, 2:] if stride == 1 else nn.functional.max_pool2d(x[:, 2:], 2)
    whole = torch.cat([mixed, rest], dim=1)
    order = [0, 2, 4, 6, 1, 3, 5, 7]  # the first of every group of two, then the second
    torch.testing.assert_close(found, 0.3 * whole[:, order])


def test_an_absent_edge_is_absent_with_partial_channels_too() -> None:
    space = SPACES["darts"]
    edge = MixedEdge(space.ops, space.none, 8, 1, 4)
    assert edge(State(torch.randn(1, 8, 4, 4)), torch.ones(8), (space.none,)) is None


def test_the_share_of_an_edge_weighs_all_of_it() -> None:
    space = SPACES["nasbench201"]
    supernet = Supernet(Skeleton(space, 3, 5, 8, 8, 4, 1)).double()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    weights = torch.rand(space.num_edges, len(space.ops), dtype=torch.float64)
    shares = torch.rand(space.num_edges, dtype=torch.float64)
    expected = supernet(x, weights * shares[:, None])
    torch.testing.assert_close(supernet(x, weights, shares=shares), expected)
