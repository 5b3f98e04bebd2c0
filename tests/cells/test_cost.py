"""Cost tables against the networks they price, and against published counts."""

import csv
import gzip
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode

from cells import cost
from cells.cell import Skeleton
from cells.cost import CostTable, cost_table, fitted_table, show_cost
from cells.dialects import from_darts_cc
from cells.errors import InputError
from cells.genotype import Genotype
from cells.network import Network
from cells.notation import from_nasbench201, read_genotype
from cells.sampling import random_cell
from cells.space import SPACES, SearchSpace

EACH_SPACE = pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)


def build(genotype: Genotype, skeleton: Skeleton) -> Network:
    with torch.device("meta"):
        return Network(genotype, skeleton)


def num_parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def multiply_adds(network: Network) -> float:
    """Of the whole network for one image, half of what torch counts."""
    s = network.skeleton
    with FlopCounterMode(display=False) as counter:
        network.eval()(torch.empty(1, s.in_channels, s.height, s.width, device="meta"))
    return counter.get_total_flops() / 2


skeletons = st.builds(
    Skeleton,
    space=st.sampled_from(list(SPACES.values())),
    in_channels=st.integers(1, 4),
    num_classes=st.integers(1, 20),
    height=st.integers(1, 33),
    width=st.integers(1, 33),
    channels=st.integers(1, 9),
    num_cells=st.integers(1, 7),
    stem_stride=st.integers(1, 3),
)


# A single pixel: halved and unhalved edges are of one size.
@example(Skeleton(SPACES["darts"], 1, 2, 1, 1, 2, 3), random.Random(0))
@given(skeletons, st.randoms(use_true_random=False))
@settings(max_examples=12)
def test_total_is_what_the_built_network_has(skeleton: Skeleton, draw: random.Random) -> None:
    """The whole network, stem and head included; a one-hot distribution expects the same."""
    params, flops = (cost_table(name, skeleton) for name in ("params", "flops"))
    cell = random_cell(skeleton.space, draw, connected=False)
    genotype = Genotype.from_choices(skeleton.space, cell)
    network = build(genotype, skeleton)
    one_hot = torch.eye(len(skeleton.space.ops))[list(genotype.choices())]
    for table, count in ((params, num_parameters(network)), (flops, multiply_adds(network))):
        assert table.total(genotype.choices()) == count
        assert table.expected(one_hot).item() == count


def small(space: SearchSpace) -> Skeleton:
    return Skeleton(space, 3, 10, 8, 8, 4, 5)


@EACH_SPACE
@pytest.mark.parametrize("name", ["params", "flops"])
def test_totals_and_expected_are_vectorised(space: SearchSpace, name: str) -> None:
    table = cost_table(name, small(space))
    choices = torch.randint(len(space.ops), (50, space.num_edges))
    each = [table.total(row.tolist()) for row in choices]
    assert table.totals(choices).tolist() == each
    one_hot = nn.functional.one_hot(choices, len(space.ops)).float()
    assert table.expected(one_hot).tolist() == each
    assert table.expected(one_hot.view(5, 10, *one_hot.shape[1:])).flatten().tolist() == each


def test_expected_is_the_mean_over_architectures() -> None:
    """By enumeration of the 27 architectures of 3 edges with 3 operations."""
    torch.manual_seed(0)
    table = CostTable("params", 7.0, torch.rand(3, 3, dtype=torch.float64))
    probs = torch.randn(3, 3, dtype=torch.float64).softmax(1)
    mean = sum(
        table.total(c) * probs[range(3), list(c)].prod().item()
        for c in itertools.product(range(3), repeat=3)
    )
    assert table.expected(probs).item() == pytest.approx(mean, rel=1e-12)


@EACH_SPACE
@pytest.mark.parametrize("name", ["params", "flops"])
def test_unit_scale_runs_from_the_least_to_the_most_expensive(
    space: SearchSpace, name: str
) -> None:
    table = cost_table(name, small(space))
    unit_table, base = table.unit()
    assert base + unit_table.min(1).values.sum().item() == pytest.approx(0, abs=1e-12)
    assert base + unit_table.max(1).values.sum().item() == pytest.approx(1, rel=1e-12)
    unit = CostTable(name, base, unit_table)
    choices = torch.randint(len(space.ops), (20, space.num_edges))
    expected = (table.totals(choices) - table.low) / (table.high - table.low)
    torch.testing.assert_close(unit.totals(choices), expected)


def test_raw_costs_are_pieces_and_microseconds() -> None:
    for name, scale in (("params", 1), ("flops", 1), ("latency", 1000)):
        table = CostTable(name, 7.0, torch.rand(3, 3, dtype=torch.float64))
        pieces, base = table.priced("raw")
        assert torch.equal(pieces, scale * table.table) and base == scale * 7.0
        assert torch.equal(table.priced("range")[0], table.unit()[0])


def test_unit_scale_of_nasbench201_by_hand() -> None:
    """Cheapest: any cell without convolutions. Dearest: six 3×3 convolutions."""
    params = cost_table("params", small(SPACES["nasbench201"]))
    assert params.low == params.base == params.total([1] * 6)
    # Cells of 4, 8, 8, 16, 16 channels.
    assert params.high - params.low == 6 * sum(9 * c * c + 2 * c for c in (4, 8, 8, 16, 16))


def test_a_cost_that_all_cells_share_is_refused() -> None:
    table = CostTable("latency", 3.0, torch.ones(6, 5, dtype=torch.float64))
    with pytest.raises(InputError) as error:
        table.unit()
    assert str(error.value) == "every cell costs the same latency: choose another cost"


# Dong, Yang 2020: 15 cells, 16 channels, CIFAR-10. The published FLOPs count the classifier's bias.
BENCHMARK = Skeleton(SPACES["nasbench201"], 3, 10, 32, 32, 16, 15)
BIAS = 10


@pytest.mark.parametrize(
    ("cell", "params", "flops"),
    [
        ("|nor_conv_1x1~0|+|none~0|none~1|+|skip_connect~0|skip_connect~1|none~2|", 101_306, None),
        (
            "|none~0|+|nor_conv_3x3~0|nor_conv_3x3~1|"
            "+|nor_conv_3x3~0|nor_conv_1x1~1|skip_connect~2|",
            830_426,
            117_883_530,
        ),
    ],
)
def test_published_costs_of_two_cells(cell: str, params: int, flops: int | None) -> None:
    genotype = from_nasbench201(cell)
    network = build(genotype, BENCHMARK)
    assert num_parameters(network) == params
    assert cost_table("params", BENCHMARK).total(genotype.choices()) == params
    if flops is not None:
        assert multiply_adds(network) == flops - BIAS
        assert cost_table("flops", BENCHMARK).total(genotype.choices()) == flops - BIAS


def test_published_costs_of_all_cells(data_file) -> None:
    with gzip.open(data_file("nasbench201_cifar10.csv.gz"), "rt") as file:
        rows = list(csv.DictReader(file))
    genotypes = [from_nasbench201(row["arch_str"]) for row in rows]
    assert len({genotype.id for genotype in genotypes}) == 15625
    choices = torch.tensor([genotype.choices() for genotype in genotypes])
    for name, column, extra in (("params", "params_M", 0), ("flops", "flops_M", BIAS)):
        published = [round(1e6 * float(row[column])) - extra for row in rows]
        assert cost_table(name, BENCHMARK).totals(choices).tolist() == published
    for i in range(0, len(rows), len(rows) // 4):
        network = build(genotypes[i], BENCHMARK)
        assert num_parameters(network) == round(1e6 * float(rows[i]["params_M"]))
        assert multiply_adds(network) == round(1e6 * float(rows[i]["flops_M"])) - BIAS


def test_darts_as_published() -> None:
    # Liu, Simonyan, Yang 2019, table 1: 3.3 million for both; these are what quark0/darts builds.
    table = cost_table("params", Skeleton(SPACES["darts"], 3, 10, 32, 32, 36, 20))
    for name, params in (("DARTS_V1", 3_169_414), ("DARTS_V2", 3_349_342)):
        assert table.total(read_genotype(name).choices()) == params


DARTS_CC = {
    "mini_cifar": Skeleton(SPACES["darts_free"], 3, 10, 32, 32, 16, 3),
    "mini_fmnist": Skeleton(SPACES["darts_free"], 1, 10, 28, 28, 16, 3),
    "cifar": Skeleton(SPACES["darts_free"], 3, 10, 32, 32, 36, 20),
}
NORMS = {
    **{"sep_conv_3x3": 2, "sep_conv_5x5": 2, "dil_conv_3x3": 1, "dil_conv_5x5": 1},
    "skip_connect": 1,  # where it halves; elsewhere it is the identity
}
"""Normalisations of an operation that in our networks have a scale and a shift."""


def scales_and_shifts(genotype: Genotype, skeleton: Skeleton) -> int:
    """Of the normalisations in cells, one of each for a channel."""
    total, channels = 0, skeleton.channels
    for cell in range(skeleton.num_cells):
        reduces = cell in skeleton.reductions
        channels *= 2 if reduces else 1
        norms = skeleton.space.num_inputs  # behind each input's projection
        for node in genotype.cells["reduce" if reduces else "normal"]:
            for op, source in node:
                if op != "skip_connect" or (reduces and source < 2):
                    norms += NORMS.get(op, 0)
        total += 2 * channels * norms
    return total


def check_darts_cc(rows: list[dict[str, Any]]) -> None:
    """DARTS-CC's count, to the unit: its cells normalise without scale and shift, ours with."""
    tables = {net: cost_table("params", skeleton) for net, skeleton in DARTS_CC.items()}
    for row in rows:
        skeleton = DARTS_CC[row["net"]]
        genotype = from_darts_cc(json.dumps([row["reduce"], row["normal"]]))
        more = scales_and_shifts(genotype, skeleton)
        assert tables[row["net"]].total(genotype.choices()) == row["params"] + more, row["name"]
        network = build(genotype, skeleton)
        norms = [m for m in network.body.layers.modules() if isinstance(m, nn.BatchNorm2d)]
        assert sum(num_parameters(norm) for norm in norms) == more
        assert num_parameters(network) == row["params"] + more


def test_cells_of_darts_cc_as_published() -> None:
    path = Path(__file__).parents[1] / "golden" / "darts_cc.json"
    check_darts_cc(json.loads(path.read_text())["cells"])


def test_all_cells_of_darts_cc_as_published(data_file: Callable[[str], Path]) -> None:
    rows = json.loads(data_file("darts_cc/genotypes.json").read_text())
    assert len(rows) == 59
    check_darts_cc(rows)


@EACH_SPACE
def test_sites_have_the_sizes_of_the_running_network(space: SearchSpace) -> None:
    skeleton = Skeleton(space, 1, 3, 13, 9, 2, 4)
    found = {(s.channels, s.stride, s.height, s.width) for s in cost.sites(skeleton)}
    plain = {(2, 1, 13, 9), (4, 1, 7, 5), (8, 1, 4, 3)}  # reductions at the cells 1 and 2
    # A reduction cell's first edges are as wide as its nodes, and leave from the larger size.
    assert found == plain | ({(4, 2, 13, 9), (8, 2, 7, 5)} if space.concat else set())
    assert len(cost.sites(skeleton)) == 4 * len(space.cell_edges)


@EACH_SPACE
def test_latency_is_measured_once_per_distinct_size(
    space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[int, ...]] = []

    def pretend(module: nn.Module, x: Tensor) -> float:
        measured.append(tuple(x.shape))
        return float(x.shape[1] * x.shape[2])

    monkeypatch.setattr(cost, "_milliseconds", pretend)
    table = cost_table("latency", Skeleton(space, 1, 3, 13, 9, 2, 7), latency_batch=6)
    assert measured[0] == (6, 1, 13, 9)  # the network without any operation
    distinct = 5 if space.concat else 3  # as above
    assert len(measured) == 1 + distinct * (len(space.ops) - 1)
    assert all(shape[0] == 6 for shape in measured)
    assert table.base == 13
    # Of seven cells two, one and two stand before, between and behind the reduction cells, and
    # three, two, two where the reductions are blocks of their own, hence cells 0–1, 2–3 and 4–6.
    plain = (2, 1, 2) if space.concat else (2, 2, 3)
    per_op = plain[0] * 2 * 13 + plain[1] * 4 * 7 + plain[2] * 8 * 4
    assert table.table[0].tolist() == [0.0] + [per_op] * (len(space.ops) - 1)
    if space.concat:
        row = space.first_edge("reduce")
        assert table.table[row, 1:].tolist() == [4 * 13 + 8 * 7] * 7


@EACH_SPACE
def test_measured_latency(space: SearchSpace) -> None:
    table = cost_table("latency", Skeleton(space, 3, 10, 8, 8, 2, 3), latency_batch=2)
    assert table.name == "latency" and table.table.shape == (space.num_edges, len(space.ops))
    assert table.base > 0 and (table.table >= 0).all()
    assert not table.table[:, space.none].any()
    free = table.table[:, space.ops.index("skip_connect")] == 0
    if space.concat:  # the identity costs nothing, the stride-2 stand-in does
        from_input = [source < 2 for source, _ in space.cell_edges]
        assert free.tolist() == [True] * 14 + [not f for f in from_input]
    else:
        assert free.all()
    work = [i for i, op in enumerate(space.ops) if op not in ("none", "skip_connect")]
    assert (table.table[:, work] > 0).all()


def test_latency_is_that_of_the_layout_in_which_networks_run() -> None:
    seen = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d) and module.in_channels > 1 and not inputs[0].is_meta:
            seen.append((inputs[0].stride(1), module.weight.stride(1)))

    hook = register_module_forward_pre_hook(look)
    try:
        cost_table("latency", Skeleton(SPACES["nasbench201"], 3, 10, 8, 9, 4, 1))
    finally:
        hook.remove()
    assert set(seen) == {(1, 1)}  # channels are neighbours in memory


# ---------------------------------------------------------------- fitted to measurements


def test_a_fitted_cost_predicts_networks_that_were_not_measured() -> None:
    space = SPACES["nasbench201"]
    draw = torch.Generator().manual_seed(0)
    prices = torch.tensor([0.0, 0.5, 2.0, 12.0, 3.0], dtype=torch.float64)
    truth = prices * (1 + 0.2 * torch.rand(6, 5, generator=draw, dtype=torch.float64))
    choices = torch.randint(5, (400, 6), generator=draw)
    measured = 7.0 + CostTable("latency", 0.0, truth).totals(choices)
    noise = 1 + 0.02 * torch.randn(100, generator=draw, dtype=torch.float64)
    table = fitted_table("latency", space, choices[:100], measured[:100] * noise)
    assert table.name == "latency" and table.base == pytest.approx(7.0, abs=1.0)
    assert (table.table >= 0).all() and not table.table[:, space.none].any()
    error = (table.totals(choices[100:]) / measured[100:] - 1).abs()
    assert float(error.mean()) < 0.03


def test_an_operation_on_an_edge_that_was_not_measured_costs_what_it_does_elsewhere() -> None:
    space = SPACES["nasbench201"]
    choices = torch.tensor([[3, 0, 0, 0, 0, 0], [3, 3, 0, 0, 0, 0], [0, 3, 3, 0, 0, 0], [0] * 6])
    table = fitted_table("latency", space, choices, torch.tensor([5.0, 9.0, 9.0, 1.0]), ridge=1e-6)
    assert table.table[5, 3] == pytest.approx(4.0, abs=0.2)


def test_one_network_is_not_enough_to_fit_a_cost() -> None:
    with pytest.raises(InputError, match="two networks or more, got 1"):
        fitted_table("latency", SPACES["nasbench201"], torch.zeros(1, 6).long(), torch.ones(1))


@pytest.mark.parametrize(
    ("cost", "text"), [(15_510_016.0, "15,510,016"), (7.789350000003, "7.78935"), (0, "0")]
)
def test_costs_are_written_for_people(cost: float, text: str) -> None:
    assert show_cost(cost) == text
