"""The NASWOT score: patterns of active units in networks with random weights."""

import pytest
import torch
from torch import Tensor, nn

from cells.cell import Skeleton
from cells.genotype import Genotype
from cells.network import Network
from cells.space import find_space
from nas.selection import naswot

SKELETON = Skeleton(find_space("nasbench201"), 3, 10, 8, 8, 4, 3)
X = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def scores(cells: list[list[int]], skeleton: Skeleton = SKELETON, x: Tensor = X) -> Tensor:
    return naswot.scores(skeleton, torch.tensor(cells), x, 0)


def test_the_score_is_what_its_definition_says() -> None:
    """Pair by pair and unit by unit, over the rectifiers that a network has been watched at."""
    cell = [3, 1, 2, 0, 3, 1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(Genotype.from_choices(SKELETON.space, cell), SKELETON)
    patterns: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(lambda _, __, out: patterns.append(out.flatten(1) > 0))
    network(X)
    bits = torch.cat(patterns, dim=1)
    units = bits.shape[1]
    kernel = torch.eye(6, dtype=torch.float64)
    for i in range(6):
        for j in range(6):
            kernel[i, j] += units - int((bits[i] != bits[j]).sum())
    wanted = kernel.det().log() / 6
    torch.testing.assert_close(scores([cell])[0], wanted)


def test_what_does_not_reach_the_output_does_not_count() -> None:
    # The first edge leads to a node without a way on, the fifth comes from one nothing reaches.
    live, unused, unfed = [0, 3, 0, 1, 0, 1], [3, 3, 0, 1, 0, 1], [0, 3, 0, 1, 3, 1]
    alone, *same = scores([live, unused, unfed]).tolist()
    assert same == [alone, alone]
    assert alone != pytest.approx(scores([[3, 3, 3, 1, 0, 1]]).item(), rel=1e-3)


def test_cells_that_tell_images_apart_score_more() -> None:
    large, small, skips, pools = scores([[3] * 6, [2] * 6, [1] * 6, [4] * 6]).tolist()
    assert min(large, small) > max(skips, pools) + 0.5


def test_equal_images_leave_a_finite_score() -> None:
    twice = torch.cat([X, X])
    assert bool(scores([[3] * 6], x=twice).isfinite().all())
    assert scores([[3] * 6], x=twice) < scores([[3] * 6])


def test_scores_do_not_depend_on_company_or_leave_traces() -> None:
    cells = [[3, 1, 2, 0, 3, 1], [1, 1, 0, 2, 1, 4]]
    before = torch.random.get_rng_state()
    together = scores(cells)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(together, torch.cat([scores([cell]) for cell in cells]))
    assert not torch.equal(together, naswot.scores(SKELETON, torch.tensor(cells), X, 1))


@pytest.mark.parametrize("name", ["darts", "darts_free"])
def test_other_spaces(name: str) -> None:
    space = find_space(name)
    cells = []
    for op in ("sep_conv_3x3", "skip_connect"):
        cell = [space.none] * space.num_edges
        for rows in space.incoming:
            for row in rows[:2]:
                cell[row] = space.ops.index(op)
        cells.append(cell)
    skeleton = Skeleton(space, 3, 10, 8, 8, 4, 3)
    convolutions, skips = scores(cells, skeleton).tolist()
    assert convolutions > skips
