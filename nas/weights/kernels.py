"""Convolution kernels generated from embeddings, by a generator that all layers share.

The static hypernetwork of Ha, Dai, Le: HyperNetworks (2016), sections 3.1 and 4.1. What is learned
is the generator and, for every block of a kernel, an embedding; `to_generated` turns a network's
convolutions into such ones, `to_plain` writes their kernels out again.
"""

import math
from collections import defaultdict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GENERATORS = "kernel_generators"
"""Name under which a network keeps its generators, one for each kernel size."""


class KernelGenerator(nn.Module):
    """Maps embeddings z to blocks of kernels, by two linear layers.

        a_i = W_i z + B_i,    K_i = W_out a_i + B_out

    for every input channel i of a block: W_i and B_i are its own, W_out and B_out serve all of
    them. a_i is as long as z, so that n numbers in an embedding and blocks of kernels k × k from
    I channels to O make n (n + 1) I + k² O (n + 1) parameters.
    """

    def __init__(
        self, size: int, inputs: int, outputs: int, embedding: int, rng: torch.Generator
    ) -> None:
        """
        Args:
            size: side k of a kernel, in pixels.
            inputs: channels I into a block.
            outputs: channels O out of a block.
            embedding: length n of an embedding.
            rng: source of the initial weights, on the CPU.
        """
        super().__init__()
        self.size, self.inputs, self.outputs = size, inputs, outputs
        # A block has the variance of the numbers in its embedding.
        std = 1 / math.sqrt(embedding)
        self.weight = nn.Parameter(std * torch.randn(inputs * embedding, embedding, generator=rng))
        self.bias = nn.Parameter(torch.zeros(inputs * embedding))
        rows = outputs * size**2
        self.out_weight = nn.Parameter(std * torch.randn(rows, embedding, generator=rng))
        self.out_bias = nn.Parameter(torch.zeros(rows))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Generates blocks and puts them together.

        Args:
            embeddings: (rows, columns, n), one for each block.

        Returns:
            The kernel (rows · O, columns · I, k, k).
        """
        rows, columns, length = embeddings.shape
        hidden = F.linear(embeddings, self.weight, self.bias).view(-1, length)
        blocks = F.linear(hidden, self.out_weight, self.out_bias)
        blocks = blocks.view(rows, columns * self.inputs, self.outputs, self.size, self.size)
        kernel = blocks.transpose(1, 2)  # (rows, O, columns · I, k, k)
        return kernel.reshape(-1, columns * self.inputs, self.size, self.size)


class GeneratedConv2d(nn.Module):
    """A convolution whose kernel is generated.

    Attributes:
        embedding: (rows, columns, n), of each block of the kernel.
    """

    def __init__(self, plain: nn.Conv2d, generator: KernelGenerator, embedding: Tensor) -> None:
        """
        Args:
            plain: says how to convolve; its bias stays, its kernel goes.
            generator: makes the kernel, the blocks of which may reach beyond it and are cut.
            embedding: (rows, columns, n).
        """
        super().__init__()
        self._shape = plain.weight.shape[:2]
        del plain.weight
        self._parts = (plain, generator)  # in a tuple, since their parameters are not its own
        self.bias = plain.bias
        self.embedding = nn.Parameter(embedding)
        self.train(plain.training)

    def kernel(self) -> Tensor:
        """Generates the kernel (out, in, k, k), in full precision."""
        outputs, inputs = self._shape
        with torch.autocast(self.embedding.device.type, enabled=False):
            kernel: Tensor = self._parts[1](self.embedding)
        return kernel[:outputs, :inputs]

    def forward(self, x: Tensor) -> Tensor:
        return self._parts[0]._conv_forward(x, self.kernel(), self.bias)

    def plain(self) -> nn.Conv2d:
        """Returns the convolution with the present kernel as its weight."""
        plain, _ = self._parts
        plain.weight = nn.Parameter(self.kernel().contiguous())
        return plain


def to_generated(network: nn.Module, rng: torch.Generator, embedding: int, block: int = 16) -> None:
    """Puts a `GeneratedConv2d` in the place of every convolution of a network, in place.

    Kernels of one size share a generator, whose blocks are as large as any of them needs, at most
    `block` channels in and out. Larger kernels are tiled from blocks with an embedding each. All
    kernels begin with the variance 2 / fan-in of He et al. (2015), about a mean of 0; it is in the
    embeddings, since layers of every width share the generator.

    Args:
        network: keeps the generators from then on, as `GENERATORS`; no `nn.Sequential`, which
            would run them.
        rng: source of the initial weights, on the CPU.
        embedding: length of an embedding, at least 1.
        block: channels in and out of a block, at least 1.
    """
    by_size: dict[int, list[tuple[str, nn.Conv2d]]] = defaultdict(list)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            height, width = layer.kernel_size
            assert height == width, layer
            by_size[height].append((name, layer))
    generators = nn.ModuleDict()
    for size, layers in sorted(by_size.items()):
        shapes = [layer.weight.shape for _, layer in layers]
        outputs, inputs = (min(block, max(shape[d] for shape in shapes)) for d in (0, 1))
        generator = KernelGenerator(size, inputs, outputs, embedding, rng)
        generators[str(size)] = generator.to(layers[0][1].weight)
        for name, layer in layers:
            rows, columns = -(-len(layer.weight) // outputs), -(-layer.weight.shape[1] // inputs)
            std = math.sqrt(2 / layer.weight[0].numel())
            embeddings = std * torch.randn(rows, columns, embedding, generator=rng)
            made = GeneratedConv2d(layer, generator, embeddings.to(layer.weight))
            network.set_submodule(name, made)
    network.add_module(GENERATORS, generators)


@torch.no_grad()
def to_plain(network: nn.Module) -> None:
    """Undoes `to_generated`: writes the present kernels out as weights, in place."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, GeneratedConv2d):
            network.set_submodule(name, layer.plain())
    if hasattr(network, GENERATORS):
        delattr(network, GENERATORS)
