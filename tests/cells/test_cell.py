"""Wiring: where a network is halved and widened, how a node adds up, what bad sizes get."""

import inspect
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cells.cell import COMMON, Body, Cell, ReductionBlock, Skeleton, State
from cells.errors import InputError
from cells.ops import OPS, Zero, build_op
from cells.space import SPACES, SearchSpace

EACH_SPACE = pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)


def pools(row: int, channels: int, stride: int) -> nn.Module:
    """An average pool on every edge: of both spaces the least expensive that depends on x."""
    return build_op("avg_pool_3x3", channels, stride)


def call(edge: nn.Module, row: int, state: State) -> Tensor:
    return state.run(edge)


def absent(edge: nn.Module, row: int, state: State) -> None:
    return None


@EACH_SPACE
@pytest.mark.parametrize("num_cells", range(1, 8))
def test_every_depth_builds_and_halves_twice_where_it_can(
    space: SearchSpace, num_cells: int
) -> None:
    skeleton = Skeleton(space, 3, 5, 13, 9, 4, num_cells)
    body = Body(skeleton, nn.BatchNorm2d, pools)
    features = body.features(torch.randn(2, 3, 13, 9), call)
    num_reductions = min(2, num_cells - 1)
    assert len(skeleton.reductions) == num_reductions
    assert [f.shape[1] for f in features] == body.widths
    assert features[-1].shape[2:] == [(13, 9), (7, 5), (4, 3)][num_reductions]
    assert features[-1].shape[1] == 4 * 2**num_reductions * (4 if space.concat else 1)
    assert body.head(features[-1]).shape == (2, 5)


@pytest.mark.parametrize(
    ("num_cells", "reductions"),
    [(1, set()), (2, {1}), (3, {1, 2}), (8, {2, 5}), (15, {5, 10}), (20, {6, 13})],
)
def test_reductions_stand_at_one_and_two_thirds(num_cells: int, reductions: set[int]) -> None:
    skeleton = Skeleton(SPACES["darts"], 3, 10, 32, 32, 4, num_cells)
    assert skeleton.reductions == reductions


def test_darts_layers() -> None:
    body = Body(Skeleton(SPACES["darts"], 1, 10, 8, 8, 3, 6), nn.BatchNorm2d, pools)
    assert body.stem[0].out_channels == 9
    assert body.widths == [12, 12, 24, 24, 48, 48]
    assert [layer.first_row for layer in body.layers] == [0, 0, 14, 0, 14, 0]
    features = body.features(torch.randn(2, 1, 8, 8), call)
    assert [f.shape[2] for f in features] == [8, 8, 4, 4, 2, 2]


def test_nasbench201_layers() -> None:
    body = Body(Skeleton(SPACES["nasbench201"], 1, 10, 8, 8, 3, 6), nn.BatchNorm2d, pools)
    assert body.stem[0].out_channels == 3
    kinds = [type(layer) for layer in body.layers]
    assert kinds == [Cell, Cell, ReductionBlock, Cell, Cell, ReductionBlock, Cell, Cell]
    assert body.widths == [3, 3, 6, 6, 6, 12, 12, 12]
    features = body.features(torch.randn(2, 1, 8, 8), call)
    assert [f.shape[2] for f in features] == [8, 8, 4, 4, 4, 2, 2, 2]


@EACH_SPACE
@pytest.mark.parametrize(("stride", "size"), [(2, (7, 5)), (3, (5, 3)), (4, (4, 3))])
def test_the_stem_divides_the_image_and_rounds_up(
    space: SearchSpace, stride: int, size: tuple[int, int]
) -> None:
    skeleton = Skeleton(space, 3, 5, 13, 9, 4, 1, stem_stride=stride)
    body = Body(skeleton, nn.BatchNorm2d, pools)
    assert body.features(torch.randn(2, 3, 13, 9), call)[0].shape[2:] == size


@EACH_SPACE
@pytest.mark.parametrize("stride", [1, 2])
def test_a_node_without_edges_is_zero(space: SearchSpace, stride: int) -> None:
    width = 3 * (space.num_nodes if space.concat else 1)
    inputs = [State(torch.randn(2, 3, 7, 5))] * space.num_inputs

    def build(make_edge) -> Cell:
        kind = space.kinds[-1]
        flags = (False,) * space.num_inputs
        sizes = (3,) * space.num_inputs
        return Cell(space, kind, sizes, flags, 3, stride, nn.BatchNorm2d, make_edge)

    shape = (2, width, -(-7 // stride), -(-5 // stride))
    for cell, run_edge in (
        (build(lambda row, channels, stride: None), call),
        (build(lambda row, channels, stride: Zero(stride)), absent),
    ):
        assert torch.equal(cell(inputs, run_edge), torch.zeros(shape))


def test_a_node_is_the_sum_of_its_edges() -> None:
    """The edge of row r multiplies by r + 2, so that every path has a weight of its own."""
    space = SPACES["nasbench201"]
    cell = Cell(
        space, "cell", (1,), (False,), 1, 1, nn.BatchNorm2d, lambda r, c, s: nn.Identity()
    ).double()

    def scale(edge: nn.Module, row: int, state: State) -> Tensor:
        return state.x * (row + 2)

    # Rows (0→1), (0→2), (1→2), (0→3), (1→3), (2→3) have the factors 2 … 7.
    first = 2
    second = 3 + 4 * first
    third = 5 + 6 * first + 7 * second
    out = cell([State(torch.ones(1, 1, 2, 2, dtype=torch.float64))], scale)
    assert torch.equal(out, torch.full_like(out, third))


def test_a_darts_cell_concatenates_its_nodes_and_numbers_rows_by_kind() -> None:
    space = SPACES["darts"]
    cell = Cell(
        space, "reduce", (2, 2), (False, False), 1, 1, nn.BatchNorm2d, lambda r, c, s: nn.Identity()
    )
    cell.inputs = nn.ModuleList([nn.Identity(), nn.Identity()])

    def only(edge: nn.Module, row: int, state: State) -> Tensor | None:
        x = state.x
        # Of the reduction cell's rows, which begin at 14: 0→2, 1→3, 2→4 and 4→5.
        return {14: 2 * x, 17: 3 * x, 21: 5 * x, 27: 7 * x}.get(row)

    a, b = torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 2, 2), 100.0)
    out = cell([State(a), State(b)], only)
    assert out[0, :, 0, 0].tolist() == [2, 300, 10, 70]


@pytest.mark.parametrize("size", [(8, 8), (13, 9), (1, 1)])
def test_reduction_block_halves_and_rounds_up(size: tuple[int, int]) -> None:
    block = ReductionBlock(3, 6, nn.BatchNorm2d)
    half = tuple(-(-pixels // 2) for pixels in size)
    assert block(torch.randn(2, 3, *size)).shape == (2, 6, *half)


@pytest.mark.parametrize(
    "name",
    ["in_channels", "num_classes", "height", "width", "channels", "num_cells", "stem_stride"],
)
def test_sizes_below_1_get_one_line(name: str) -> None:
    skeleton = Skeleton(SPACES["darts"], 3, 10, 32, 32, 16, 8)
    for value in (0, -3):
        with pytest.raises(InputError) as error:
            replace(skeleton, **{name: value})
        assert str(error.value) == f"{name} must be at least 1, got {value}"


def test_gradients_reach_the_edges_in_channels_last_memory() -> None:
    """Batch normalisation is several times slower on the slices of a concatenation's gradient."""
    space = SPACES["darts"]
    cell = Cell(space, "normal", (4, 4), (False, False), 4, 1, nn.BatchNorm2d, lambda *_: Zero(1))
    layouts = []

    def run_edge(edge: nn.Module, row: int, state: State) -> Tensor:
        y = state.x * 2
        y.register_hook(
            lambda grad: layouts.append(grad.is_contiguous(memory_format=torch.channels_last))
        )
        return y

    x = torch.randn(2, 4, 6, 6).contiguous(memory_format=torch.channels_last)
    cell([State(x), State(x)], run_edge).square().sum().backward()
    assert layouts == [True] * 14


def test_a_common_layer_is_told_apart_by_all_that_it_is_made_with() -> None:
    for kind, names in COMMON.items():
        made_with = set(inspect.signature(kind).parameters) - {"device", "dtype", "bias"}
        assert set(names) == made_with, kind


def test_a_state_runs_common_layers_once() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 6)
    ops = [build_op(name, 4, 1) for name in OPS if name != "none"]
    calls = []
    for op in ops:
        for layer in op.modules():
            if not list(layer.children()):
                layer.register_forward_hook(lambda m, args, out: calls.append(repr(m)))
    expected = [op(x) for op in ops]
    state = State(x)
    calls.clear()
    for op, out in zip(ops, expected, strict=True):
        torch.testing.assert_close(state.run(op), out)
    # The second rectifier of each separable convolution works in place.
    assert calls.count("ReLU()") == 1
    assert calls.count("ReLU(inplace=True)") == 2
    assert sum("Pool" in call for call in calls) == 2


def test_layers_that_their_text_does_not_tell_apart_are_not_taken_for_one_another() -> None:
    class Scale(nn.Module):
        def __init__(self, factor: int) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            return self.factor * x

    state = State(torch.ones(1, 1, 1, 1))
    assert [state.run(nn.Sequential(Scale(f), nn.ReLU())).item() for f in (2, 3)] == [2, 3]
    norms = [nn.BatchNorm2d(1), nn.BatchNorm2d(1)]
    norms[1].running_mean += 1
    assert [state.run(norm.eval()).item() for norm in norms] == pytest.approx([1, 0], abs=1e-4)
