"""Rewritten depthwise convolutions against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells.conv import DepthwiseConv2d, Subsample
from cells.ops import build_op

SIZES = [(8, 8), (7, 10), (5, 5), (3, 4), (1, 1), (2, 1)]
EACH_KERNEL = pytest.mark.parametrize("kernel", [3, 5, 7])


def plain(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)


def layer_and_input(
    kernel: int, stride: int, dilation: int, size: tuple[int, int]
) -> tuple[DepthwiseConv2d, Tensor]:
    torch.manual_seed(0)
    conv = DepthwiseConv2d(6, kernel, stride, dilation).double()
    return conv, torch.randn(3, 6, *size, dtype=torch.float64, requires_grad=True)


@EACH_KERNEL
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_are_those_of_the_plain_convolution(
    kernel: int, stride: int, dilation: int, size: tuple[int, int], memory: torch.memory_format
) -> None:
    conv, x = layer_and_input(kernel, stride, dilation, size)
    y, expected = conv(x.contiguous(memory_format=memory)), plain(conv, x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), expected, rtol=0, atol=1e-12)
    grad = torch.randn_like(expected)
    inputs = (x, conv.weight)
    for a, b in zip(
        torch.autograd.grad(y, inputs, grad), torch.autograd.grad(expected, inputs, grad),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@EACH_KERNEL
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_it_can_be_differentiated_twice(kernel: int, stride: int, dilation: int) -> None:
    conv, x = layer_and_input(kernel, stride, dilation, (7, 6))
    found = []
    for y in (conv(x), plain(conv, x)):
        to_x, to_weight = torch.autograd.grad(
            y.sigmoid().sum(), (x, conv.weight), create_graph=True
        )
        found.append(
            torch.autograd.grad(to_x.square().sum() + to_weight.exp().sum(), (x, conv.weight))
        )
    for a, b in zip(*found, strict=True):
        assert a.any()
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


@EACH_KERNEL
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (1, 2), (2, 1), (2, 2)])
@pytest.mark.parametrize("size", [(8, 8), (3, 2)])
def test_bfloat16_is_near_float32(
    kernel: int, stride: int, dilation: int, size: tuple[int, int]
) -> None:
    conv, x = layer_and_input(kernel, stride, dilation, size)
    conv.float()
    x = x.detach().float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    expected = plain(conv, x)
    pairs = [(y.float(), expected)]
    for a, b in zip(
        torch.autograd.grad(y.float().square().sum(), (x, conv.weight)),
        torch.autograd.grad(expected.square().sum(), (x, conv.weight)),
        strict=True,
    ):
        assert a.dtype == torch.float32
        pairs.append((a, b))
    for a, b in pairs:
        assert (a - b).norm() <= 0.02 * b.norm()


def test_slow_cases_never_reach_the_backend() -> None:
    """Dilated convolutions, weight gradients more than three columns wide, images too small."""
    seen: list[tuple[int, int]] = []
    small: list[bool] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func is torch.ops.aten.convolution_backward.default:
                seen.append((args[6][0], args[2].shape[3] if args[10][1] else 0))
                small.append(max(args[1].shape[2:]) < args[2].shape[2])
            return func(*args, **(kwargs or {}))

    for stride in (1, 2):
        for name in ("dil_conv_3x3", "dil_conv_5x5", "sep_conv_3x3"):
            for size in (12, 7, 4):
                with Watch():
                    op = build_op(name, 4, stride)
                    op(torch.randn(2, 4, size, size, requires_grad=True)).sum().backward()
    assert seen and all(dilation == 1 and columns <= 3 for dilation, columns in seen)
    assert not any(small)


def test_small_images_can_be_compiled() -> None:
    conv, x = layer_and_input(5, 1, 1, (3, 3))
    compiled = torch.compile(conv, backend="eager")
    torch.testing.assert_close(compiled(x), plain(conv, x), rtol=0, atol=1e-12)
    compiled(x).sum().backward()
    torch.testing.assert_close(
        x.grad, torch.autograd.grad(plain(conv, x).sum(), x)[0], rtol=0, atol=1e-12
    )


def test_subsample_keeps_channels_last_memory_both_ways() -> None:
    x = torch.randn(2, 3, 7, 5, requires_grad=True)
    y = Subsample(2, start=1)(x)
    assert torch.equal(y, x[:, :, 1::2, 1::2])
    (grad,) = torch.autograd.grad(y.sum(), x)
    for each in (y, grad):
        assert each.is_contiguous(memory_format=torch.channels_last)
    assert grad.sum() == y.numel() and grad[:, :, 1::2, 1::2].all()


@EACH_KERNEL
@pytest.mark.parametrize("size", SIZES)
def test_a_dilation_equal_to_the_stride_is_none_on_fewer_pixels(
    kernel: int, size: tuple[int, int]
) -> None:
    conv, x = layer_and_input(kernel, 1, 1, size)
    expected = F.conv2d(x, conv.weight, None, 2, 2 * (kernel // 2), 2, 6)
    torch.testing.assert_close(conv(Subsample(2)(x)), expected, rtol=0, atol=1e-12)


@EACH_KERNEL
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (3, 3)])
def test_transforms_of_functions_go_through(
    kernel: int, dilation: int, size: tuple[int, int]
) -> None:
    """Gradients of single examples, as differential privacy takes them."""
    conv, x = layer_and_input(kernel, 1, dilation, size)
    x = x.detach()
    weights = dict(conv.named_parameters())

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(conv, weights, (x[None],)).square().sum()

    found = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, x)["weight"]
    for one, image in zip(found, x, strict=True):
        (expected,) = torch.autograd.grad(plain(conv, image[None]).square().sum(), conv.weight)
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-10)


@EACH_KERNEL
@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.filterwarnings(
    "ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning"
)
def test_a_trace_is_of_torchs_own_operations(kernel: int, gradients: bool) -> None:
    conv, x = layer_and_input(kernel, 1, 2, (8, 8))
    with torch.set_grad_enabled(gradients):
        traced = torch.jit.trace(conv, x.detach())
    assert "aten::_convolution" in str(traced.inlined_graph)
    assert "permute" not in str(traced.inlined_graph)
    torch.testing.assert_close(traced(x[:2]), plain(conv, x[:2]))
