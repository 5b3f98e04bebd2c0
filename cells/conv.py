"""Depthwise convolutions that are quick on CPUs, forwards and backwards.

On a CPU torch hands convolutions to oneDNN. Its quick depthwise kernels leave three cases of
DARTS' candidates to reference code, five times slower and more: gradients of dilated ones,
weight gradients of undilated ones wider than three pixels, and gradients on images smaller than the
kernel. All are rewritten here as cases that are quick, exactly: only the order of summation
differs. On other devices, and where no gradient is asked for, the layer is a plain `nn.Conv2d`.
"""

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv2d(nn.Conv2d):
    """One square kernel of odd size for each channel, without bias.

    Maps (batch, channels, height, width) to
    (batch, channels, ceil(height / stride), ceil(width / stride)).
    """

    def __init__(self, channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            channels,
            channels,
            kernel,
            stride,
            dilation * (kernel // 2),
            dilation,
            groups=channels,
            bias=False,
        )

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        stride, dilation = self.stride[0], self.dilation[0]
        # Forwards alone torch is quick, and what is traced is to be of torch's own operations.
        quick = input.device.type == "cpu" and torch.is_grad_enabled()
        if quick and not torch.jit.is_tracing():  # type: ignore
            if dilation == 1:
                return _convolve(input, weight, stride)
            if stride == 1:
                phases = _split_phases(input, dilation)
                return _join_phases(_convolve(phases, weight, 1), dilation, input.shape)
        return super()._conv_forward(input, weight, bias)


class Subsample(nn.Module):
    """Pixels `start`, `start + stride`, … of both axes."""

    def __init__(self, stride: int, start: int = 0) -> None:
        super().__init__()
        self.stride, self.start = stride, start

    def extra_repr(self) -> str:
        return f"{self.stride}, start={self.start}"

    def forward(self, x: Tensor) -> Tensor:
        # The gradient of a slice is laid out as the sliced axes are: as channels-last memory here.
        pixels = slice(self.start, None, self.stride)
        return x.permute(0, 2, 3, 1)[:, pixels, pixels].contiguous().permute(0, 3, 1, 2)


def _split_phases(x: Tensor, period: int) -> Tensor:
    """Images of pixels `period` apart: (batch, channels, h, w) -> (period²·batch, channels, …).

    A convolution of that dilation is an undilated one on each of them. Sizes that are no multiple
    of the period are padded with zeros, as the convolution would pad them.
    """
    batch, channels, height, width = x.shape
    if height % period or width % period:
        x = F.pad(x, (0, -width % period, 0, -height % period))
    rows, columns = x.shape[2] // period, x.shape[3] // period
    x = x.permute(0, 2, 3, 1).reshape(batch, rows, period, columns, period, channels)
    x = x.permute(2, 4, 0, 1, 3, 5).reshape(-1, rows, columns, channels)
    return x.permute(0, 3, 1, 2)


def _join_phases(x: Tensor, period: int, shape: torch.Size) -> Tensor:
    """Undoes `_split_phases` for images of the given shape."""
    batch, channels, height, width = shape
    rows, columns = x.shape[2:]
    x = x.permute(0, 2, 3, 1).reshape(period, period, batch, rows, columns, channels)
    x = x.permute(2, 3, 0, 4, 1, 5).reshape(batch, rows * period, columns * period, channels)
    x = x.permute(0, 3, 1, 2)
    return x if x.shape == shape else x[:, :, :height, :width]


def _convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The undilated convolution."""
    kernel = weight.shape[3]
    if max(x.shape[2:]) < kernel and not torch.compiler.is_compiling():  # which traces no cache
        return _multiply(x, weight, stride)
    if torch.is_autocast_enabled("cpu"):
        # oneDNN has quick bfloat16 kernels for a stride of 1 and images larger than the kernel.
        quick = stride == 1 and x.shape[2] > kernel
        dtype = torch.get_autocast_dtype("cpu") if quick else torch.float32
        x, weight = x.to(dtype), weight.to(dtype)
    with torch.autocast("cpu", enabled=False):
        if kernel <= 3 or stride > 1:
            return F.conv2d(x, weight, None, stride, kernel // 2, 1, len(weight))
        wide: Tensor = _WideDepthwise.apply(x, weight)
        return wide


def _multiply(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """The convolution of images smaller than the kernel, as one matrix a channel."""
    batch, channels, height, width = x.shape
    rows, columns = -(-height // stride), -(-width // stride)
    with torch.autocast("cpu", enabled=False):
        x, weight = x.float() if x.dtype == torch.bfloat16 else x, weight.flatten(1)
        places = _places(weight.shape[1], height, width, stride).to(weight.dtype)
        matrices = (weight @ places).view(channels, height * width, rows * columns)
        pixels = x.permute(1, 0, 2, 3).reshape(channels, batch, height * width)
        y = (pixels @ matrices).view(channels, batch, rows, columns)
        return y.permute(1, 2, 3, 0).contiguous().permute(0, 3, 1, 2)


@cache
def _places(kernel_area: int, height: int, width: int, stride: int) -> Tensor:
    """Which weight of a square kernel joins which pixels, 0 or 1.

    Returns:
        (kernel_area, height · width · rows · columns), pixels of the image before those of the
        output.
    """
    kernel = math.isqrt(kernel_area)

    def axis(size: int) -> Tensor:  # (kernel, size, outputs)
        shift, pixel, output = torch.meshgrid(
            torch.arange(kernel) - kernel // 2,
            torch.arange(size),
            torch.arange(-(-size // stride)),
            indexing="ij",
        )
        return (pixel == stride * output + shift).float()

    joined = torch.einsum("iha,jwb->ijhwab", axis(height), axis(width))
    return joined.reshape(kernel_area, -1)


class _WideDepthwise(torch.autograd.Function):
    """A depthwise convolution of stride 1 with a kernel 5 pixels wide or more."""

    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, None, 1, weight.shape[3] // 2, 1, len(weight))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        to_x = _gradient(grad, x, weight, input=True) if ctx.needs_input_grad[0] else None
        to_weight = _weight_gradient(grad, x, weight) if ctx.needs_input_grad[1] else None
        return to_x, to_weight


def _weight_gradient(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """The weight gradient in strips: the three middle columns, then one column at a time."""
    radius, width = weight.shape[3] // 2, x.shape[3]
    strips = []
    for shift in range(-radius, radius + 1):  # a column's weights pair x[w + shift] with grad[w]
        column = weight[..., radius + shift : radius + shift + 1]
        if shift == 0:
            middle = weight[..., radius - 1 : radius + 2]
            strips.append(_gradient(grad, x, middle, input=False))
        elif abs(shift) == 1:
            continue  # in the middle strip
        elif abs(shift) >= width:
            strips.append(torch.zeros_like(column))
        elif shift > 0:
            strips.append(_gradient(grad[..., :-shift], x[..., shift:], column, input=False))
        else:
            strips.append(_gradient(grad[..., -shift:], x[..., :shift], column, input=False))
    return torch.cat(strips, dim=3)


def _gradient(grad: Tensor, x: Tensor, weight: Tensor, *, input: bool) -> Tensor:
    """One of the two gradients of a depthwise convolution that keeps the size, by torch's own.

    Called on tensors with a graph, it can be differentiated again.
    """
    padding = [size // 2 for size in weight.shape[2:]]
    gradients = torch.ops.aten.convolution_backward(
        grad, x, weight, None, [1, 1], padding, [1, 1], False, [0, 0], len(weight),
        [input, not input, False],
    )  # fmt: skip
    return gradients[0] if input else gradients[1]
