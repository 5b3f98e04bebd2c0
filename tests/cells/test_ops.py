"""Candidate operations: sizes, parameters, receptive fields."""

import pytest
import torch
from torch import Tensor, nn

from cells.errors import InputError
from cells.ops import OPS, FactorizedReduce, build_op
from cells.space import SPACES

EACH_OP = pytest.mark.parametrize("op", OPS)


def no_norm(channels: int, affine: bool = True) -> nn.Module:
    return nn.Identity()


@EACH_OP
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (13, 9), (5, 6), (1, 1)])
def test_output_size_is_input_size_over_stride_rounded_up(
    op: str, stride: int, size: tuple[int, int]
) -> None:
    height, width = (-(-pixels // stride) for pixels in size)
    assert build_op(op, 4, stride)(torch.randn(2, 4, *size)).shape == (2, 4, height, width)


@EACH_OP
@pytest.mark.parametrize("stride", [1, 2])
def test_gradient_reaches_the_input_and_every_parameter(op: str, stride: int) -> None:
    torch.manual_seed(0)
    module = build_op(op, 6, stride)
    x = torch.randn(3, 6, 7, 9, requires_grad=True)
    (module(x) ** 3).sum().backward()  # the sum of a normalised output would be constant
    assert x.grad is not None
    reached = x.grad.abs().sum((0, 2, 3)) > 0
    assert not reached.any() if op == "none" else reached.all()
    assert all(p.grad is not None and p.grad.any() for p in module.parameters())


CHANNELS = 6


def depthwise(kernel: int) -> int:
    """k·k per channel, a pointwise convolution, a scale and a shift per channel."""
    return kernel**2 * CHANNELS + CHANNELS**2 + 2 * CHANNELS


PARAMETERS = {
    ("none", 1): 0,
    ("none", 2): 0,
    ("skip_connect", 1): 0,
    ("skip_connect", 2): CHANNELS**2 + 2 * CHANNELS,  # two halves of a pointwise convolution
    ("max_pool_3x3", 1): 0,
    ("avg_pool_3x3", 1): 0,
    ("sep_conv_3x3", 1): 2 * depthwise(3),
    ("sep_conv_5x5", 1): 2 * depthwise(5),
    ("sep_conv_5x5", 2): 2 * depthwise(5),
    ("dil_conv_3x3", 1): depthwise(3),
    ("dil_conv_5x5", 2): depthwise(5),
    ("nor_conv_1x1", 1): CHANNELS**2 + 2 * CHANNELS,
    ("nor_conv_3x3", 1): 9 * CHANNELS**2 + 2 * CHANNELS,
}


@pytest.mark.parametrize(("op", "stride"), PARAMETERS)
def test_parameters_by_closed_form(op: str, stride: int) -> None:
    module = build_op(op, CHANNELS, stride)
    assert sum(p.numel() for p in module.parameters()) == PARAMETERS[op, stride]


def impulse_response(op: str) -> Tensor:
    """Where a single bright pixel is felt, (21, 21): all weights 1, nothing normalised."""
    module = build_op(op, 1, 1, no_norm)
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    x = torch.zeros(1, 1, 21, 21)
    x[0, 0, 10, 10] = 1
    return module(x)[0, 0] != 0


@pytest.mark.parametrize(
    ("op", "extent", "pixels"),
    [
        ("none", 0, 0),
        ("skip_connect", 1, 1),
        ("nor_conv_1x1", 1, 1),
        ("nor_conv_3x3", 3, 9),
        ("max_pool_3x3", 3, 9),
        ("avg_pool_3x3", 3, 9),
        ("sep_conv_3x3", 5, 25),  # two convolutions of 3 in a row
        ("sep_conv_5x5", 9, 81),
        ("dil_conv_3x3", 5, 9),  # every other pixel
        ("dil_conv_5x5", 9, 25),
    ],
)
def test_receptive_field(op: str, extent: int, pixels: int) -> None:
    felt = impulse_response(op)
    rows, columns = felt.nonzero().T
    assert len(rows) == pixels
    for axis in (rows, columns):
        if extent:
            assert axis.max() - axis.min() + 1 == extent
            assert axis.max() + axis.min() == 20  # centred


@pytest.mark.parametrize("op", ["max_pool_3x3", "avg_pool_3x3"])
def test_pools_leave_padding_out(op: str) -> None:
    x = torch.full((1, 2, 5, 5), -3.0)
    assert torch.equal(build_op(op, 2, 1, no_norm)(x), x)


def test_factorized_reduce_reads_both_diagonals_and_pads_odd_sizes() -> None:
    module = FactorizedReduce(1, 3, no_norm)
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    x = 1 + torch.arange(35.0).view(1, 1, 5, 7)
    even, odd, same = module(x)[0]
    assert torch.equal(even, x[0, 0, ::2, ::2])
    assert torch.equal(odd[:2, :3], x[0, 0, 1::2, 1::2]) and torch.equal(odd, same)
    assert not odd[2].any() and not odd[:, 3].any()


def test_zero_is_zero() -> None:
    assert not build_op("none", 2, 1)(torch.randn(2, 2, 3, 3)).any()


def test_unknown_operation_gets_one_line() -> None:
    with pytest.raises(InputError) as error:
        build_op("sep_conv_3x4", 4, 1)
    assert str(error.value) == "unknown operation 'sep_conv_3x4': did you mean 'sep_conv_3x3'?"


@pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
def test_every_candidate_of_a_space_is_registered(space) -> None:
    assert set(space.ops) <= set(OPS)
