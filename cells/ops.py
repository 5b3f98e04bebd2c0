"""Candidate operations: one decorated builder each.

A builder takes the number of channels (the same in and out), the stride and the normalisation
layer, and returns a module that maps (batch, channels, height, width) to
(batch, channels, ceil(height / stride), ceil(width / stride)).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells.conv import DepthwiseConv2d, Subsample
from cells.errors import unknown

Norm = Callable[..., nn.Module]
"""`norm(channels)` or `norm(channels, affine=False)`, as `nn.BatchNorm2d`."""
Builder = Callable[[int, int, Norm], nn.Module]

OPS: dict[str, Builder] = {}


def operation(name: str) -> Callable[[Builder], Builder]:
    """Registers a builder under the name that genotypes use."""

    def register(builder: Builder) -> Builder:
        assert name not in OPS, name
        OPS[name] = builder
        return builder

    return register


def build_op(name: str, channels: int, stride: int, norm: Norm = nn.BatchNorm2d) -> nn.Module:
    """Builds one operation.

    Raises:
        InputError: if no operation has this name.
    """
    if name not in OPS:
        raise unknown("operation", name, OPS)
    return OPS[name](channels, stride, norm)


class Zero(nn.Module):
    """The absent edge: zeros of the size that the operation would have."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0


class Halving(nn.Module):
    """Two pointwise convolutions, each with a stride of 2, on interleaved pixels.

    Odd sizes are padded by one row or column of zeros.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.first, self.second = Subsample(2), Subsample(2, start=1)
        self.even = nn.Conv2d(in_channels, half, 1, bias=False)
        self.odd = nn.Conv2d(in_channels, out_channels - half, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2] % 2 or x.shape[3] % 2:
            x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        return torch.cat([self.even(self.first(x)), self.odd(self.second(x))], dim=1)


class FactorizedReduce(nn.Sequential):
    """ReLU, halving of height and width, normalisation.

    The stride-2 stand-in for the identity in DARTS.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: Norm) -> None:
        super().__init__(nn.ReLU(), Halving(in_channels, out_channels), norm(out_channels))


def relu_conv_norm(
    in_channels: int, out_channels: int, kernel: int, stride: int, norm: Norm
) -> nn.Sequential:
    """Builds a ReLU, a convolution without bias, a normalisation."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
        norm(out_channels),
    )


def _depthwise(
    channels: int, kernel: int, stride: int, dilation: int, norm: Norm, *, inplace: bool = False
) -> nn.Sequential:
    """ReLU, depthwise convolution, pointwise convolution, normalisation."""
    layers: list[nn.Module] = [nn.ReLU(inplace)]
    if stride == dilation > 1:  # then all that the convolution sees are pixels (stride·i, stride·j)
        layers.append(Subsample(stride))
        stride = dilation = 1
    return nn.Sequential(
        *layers,
        DepthwiseConv2d(channels, kernel, stride, dilation),
        nn.Conv2d(channels, channels, 1, bias=False),
        norm(channels),
    )


def _separable(channels: int, kernel: int, stride: int, norm: Norm) -> nn.Sequential:
    """Two depthwise separable convolutions; the first carries the stride."""
    first = _depthwise(channels, kernel, stride, 1, norm)
    # Nothing else sees what the first one's normalisation returns.
    return nn.Sequential(*first, *_depthwise(channels, kernel, 1, 1, norm, inplace=True))


@operation("none")
def _none(channels: int, stride: int, norm: Norm) -> nn.Module:
    return Zero(stride)


@operation("skip_connect")
def _skip_connect(channels: int, stride: int, norm: Norm) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, norm)


# A pool is followed by a normalisation without parameters: its output is then of the scale of the
# convolutions beside it in a mixture, and a discrete cell computes what the mixture did.
@operation("max_pool_3x3")
def _max_pool_3x3(channels: int, stride: int, norm: Norm) -> nn.Module:
    return nn.Sequential(nn.MaxPool2d(3, stride, 1), norm(channels, affine=False))


@operation("avg_pool_3x3")
def _avg_pool_3x3(channels: int, stride: int, norm: Norm) -> nn.Module:
    pool = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    return nn.Sequential(pool, norm(channels, affine=False))


@operation("sep_conv_3x3")
def _sep_conv_3x3(channels: int, stride: int, norm: Norm) -> nn.Module:
    return _separable(channels, 3, stride, norm)


@operation("sep_conv_5x5")
def _sep_conv_5x5(channels: int, stride: int, norm: Norm) -> nn.Module:
    return _separable(channels, 5, stride, norm)


@operation("dil_conv_3x3")
def _dil_conv_3x3(channels: int, stride: int, norm: Norm) -> nn.Module:
    return _depthwise(channels, 3, stride, 2, norm)


@operation("dil_conv_5x5")
def _dil_conv_5x5(channels: int, stride: int, norm: Norm) -> nn.Module:
    return _depthwise(channels, 5, stride, 2, norm)


@operation("nor_conv_1x1")
def _nor_conv_1x1(channels: int, stride: int, norm: Norm) -> nn.Module:
    return relu_conv_norm(channels, channels, 1, stride, norm)


@operation("nor_conv_3x3")
def _nor_conv_3x3(channels: int, stride: int, norm: Norm) -> nn.Module:
    return relu_conv_norm(channels, channels, 3, stride, norm)
