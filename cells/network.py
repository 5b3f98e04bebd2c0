"""One genotype as an ordinary network."""

import torch
from torch import Tensor, nn

from cells.cell import Body, Skeleton, State
from cells.errors import InputError
from cells.genotype import Genotype
from cells.ops import build_op
from cells.supernet import Supernet


class AuxiliaryHead(nn.Module):
    """Second classifier at two thirds of the depth (Liu, Simonyan, Yang 2019, appendix A.1.1)."""

    def __init__(self, channels: int, num_classes: int, size: int) -> None:
        super().__init__()
        pool = nn.AvgPool2d(5, 3) if size >= 8 else nn.AdaptiveAvgPool2d(2)
        self.features = nn.Sequential(
            nn.ReLU(),
            pool,
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class Network(nn.Module):
    """The discrete network of a genotype.

    Attributes:
        genotype: its cells.
        skeleton: everything else about it.
        drop_path: probability in [0, 1) with which an edge is dropped for an example while
            training; edges that are the identity are kept (Larsson et al. 2017).
    """

    def __init__(self, genotype: Genotype, skeleton: Skeleton, *, auxiliary: bool = False) -> None:
        """
        Raises:
            InputError: if the genotype is of another space than the skeleton.
        """
        super().__init__()
        space = skeleton.space
        if genotype.space != space.name:
            raise InputError(
                f"the genotype is of space {genotype.space!r}, the network of {space.name!r}: "
                "give them the same space"
            )
        self.genotype = genotype
        self.skeleton = skeleton
        self.drop_path = 0.0
        choices = genotype.choices()

        def make_edge(row: int, channels: int, stride: int) -> nn.Module | None:
            if choices[row] == space.none:
                return None
            return build_op(space.ops[choices[row]], channels, stride)

        self.body = Body(skeleton, nn.BatchNorm2d, make_edge)
        self.auxiliary: AuxiliaryHead | None = None
        if auxiliary:
            self._auxiliary_layer = 2 * len(self.body.layers) // 3
            size = -(-min(skeleton.height, skeleton.width) // (4 * skeleton.stem_stride))
            width = self.body.widths[self._auxiliary_layer]
            self.auxiliary = AuxiliaryHead(width, skeleton.num_classes, size)

    def _run_edge(self, edge: nn.Module, row: int, state: State) -> Tensor:
        out = state.run(edge)
        if self.training and self.drop_path > 0 and not isinstance(edge, nn.Identity):
            keep = 1 - self.drop_path
            mask = torch.rand(len(out), 1, 1, 1, device=out.device) < keep
            out = out * mask / keep
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Maps images (batch, in_channels, height, width) to logits (batch, num_classes)."""
        return self.body(x, self._run_edge)

    def __prepare_scriptable__(self) -> "Network":
        """Refuses `torch.jit.script`, whose language lacks what cells are written in.

        Raises:
            InputError: always; `torch.jit.trace` takes every network.
        """
        raise InputError(
            "torch.jit.script knows too little of Python to compile a network: use "
            "torch.jit.trace, or python -m nas export --to torchscript"
        )

    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the logits of both heads, (batch, num_classes) each."""
        assert self.auxiliary is not None
        features = self.body.features(x, self._run_edge)
        return self.body.head(features[-1]), self.auxiliary(features[self._auxiliary_layer])


def inherit(network: Network, supernet: Supernet) -> None:
    """Copies the supernet's weights into the network, operation by operation.

    The scales and shifts of the network's normalisation layers, which the supernet lacks, stay at
    1 and 0; its running statistics are left to be estimated.

    Raises:
        InputError: if the two differ in anything but the edges' operations.
    """
    if network.skeleton != supernet.skeleton:
        raise InputError("the supernet has other sizes than the network: build both from one run")
    weights = {k: v for k, v in supernet.state_dict().items() if "log_sigma" not in k}
    choices = network.genotype.choices()
    for name, parameter in network.named_parameters():
        source = name
        parts = name.split(".")  # body.layers.<layer>.edges.<edge>.<rest of the operation's name>
        if "edges" in parts:
            edge = parts.index("edges") + 1
            cell = network.body.layers[int(parts[2])]
            column = choices[cell.first_row + int(parts[edge])]  # type: ignore[operator]
            source = ".".join([*parts[: edge + 1], "ops", str(column), *parts[edge + 1 :]])
        if source in weights:
            with torch.no_grad():
                parameter.copy_(weights[source])
