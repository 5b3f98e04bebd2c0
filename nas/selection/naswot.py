"""NASWOT: what a cell is worth before any training.

Mellor, Turner, Storkey, Crowley: Neural Architecture Search without Training (2021). An image
leaves a pattern in a network with random weights: which units of its rectifiers are active. The
more the patterns of different images differ, the better the trained network as a rule. Neither
labels nor trained weights take part, so that the score errs elsewhere than a supernet does.
"""

import torch
from torch import Tensor, nn

from cells.cell import Skeleton
from cells.genotype import Genotype
from cells.network import Network

IMAGES = 64
"""Images whose patterns are compared."""


@torch.no_grad()
def scores(skeleton: Skeleton, choices: Tensor, x: Tensor, seed: int) -> Tensor:
    """Scores cells by the patterns that images leave in their networks.

    The score of Mellor et al. (section 3), log |K| with K = N − d, for each image: N is the number
    of rectified units, d the Hamming distance of two images' patterns. 1 is added on the diagonal,
    so that two equal images leave something to tell. Dead edges are left out.

    Args:
        skeleton: everything else about the networks.
        choices: (n, edges) int64, one operation on each edge.
        x: (images, channels, height, width), the same for all cells.
        seed: of the random weights, drawn alike for each cell.

    Returns:
        (n,) float64, on the CPU; the more, the better.
    """
    agreeing = torch.zeros(len(x), len(x), device=x.device)
    """Units whose activity two images agree about."""

    def count(_: nn.Module, __: tuple[Tensor, ...], rectified: Tensor) -> None:
        active = (rectified > 0).flatten(1).to(x)
        both, each = active @ active.T, active.sum(dim=1)
        agreeing.add_(active.shape[1] - (each[:, None] + each - 2 * both))

    found = torch.zeros(len(choices), dtype=torch.float64)
    for number, cell in enumerate(choices.tolist()):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            genotype = Genotype.from_choices(skeleton.space, skeleton.space.live(cell))
            network = Network(genotype, skeleton)
        for module in network.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_hook(count)
        agreeing.zero_()
        network.to(x.device)(x)  # in training mode: normalised by the statistics of these images
        kernel = agreeing.cpu().double() + torch.eye(len(x), dtype=torch.float64)
        found[number] = torch.linalg.slogdet(kernel).logabsdet / len(x)
    return found
