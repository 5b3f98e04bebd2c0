"""The evidence lower bound: its terms by hand, its costs as counted in networks, its gradient."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.func import functional_call

from cells.cell import Skeleton
from cells.cost import CostTable, cost_table
from cells.genotype import Genotype
from cells.network import Network
from cells.space import find_space
from cells.supernet import Supernet
from nas.architecture.distribution import ArchitectureDistribution, entropy
from nas.architecture.relaxations import RELAXATIONS
from nas.hypernets.forms import build_hypernet
from nas.objective.costs import kl_costs
from nas.objective.elbo import NegativeElbo
from nas.objective.terms import StepInputs
from nas.weights.gaussian import kl, to_gaussian

SKELETON = Skeleton(find_space("nasbench201"), 1, 3, 4, 4, 2, 1)
PRICE, NUM_TRAIN, PRIOR_VARIANCE = 0.7, 50, 0.2


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(
    *,
    costs: tuple[str, ...] = ("params", "flops"),
    relax: str = "softmax",
    hypernet: str = "linear",
    gaussian: bool = False,
    skeleton: Skeleton = SKELETON,
    seed: int = 0,
) -> NegativeElbo:
    """A bound in float64 with random parameters; `kl` among its costs makes weights Gaussian."""
    torch.manual_seed(seed)
    space = skeleton.space
    supernet = Supernet(skeleton)
    noise = None
    if gaussian or "kl" in costs:
        noise = rng()
        to_gaussian(supernet, noise, sigma=0.05)
    tables = {name: cost_table(name, skeleton) for name in costs if name != "kl"}
    empty = CostTable("kl", 0.0, torch.zeros(space.num_edges, len(space.ops)).double())
    units = [tables[name].unit() if name in tables else (empty.table, 0.0) for name in costs]
    unit_tables = torch.stack([table for table, _ in units])
    net = build_hypernet(
        hypernet, space.num_edges, len(space.ops), len(costs), costs=unit_tables, generator=rng(1)
    )
    for parameter in net.parameters():  # away from the start, where all logits are nearly 0
        parameter.data += torch.randn(parameter.shape, generator=rng(2))
    return NegativeElbo(
        supernet,
        net,
        ArchitectureDistribution(RELAXATIONS[relax](), len(skeleton.space.ops)),
        unit_tables,
        torch.tensor([offset for _, offset in units], dtype=torch.float64),
        kl_column=costs.index("kl") if "kl" in costs else None,
        kl_scale=1 / NUM_TRAIN,
        prior_variance=PRIOR_VARIANCE,
        weight_noise=noise,
    ).double()


def draw(bound: NegativeElbo, num_lams: int = 1, *, prior: bool = False) -> StepInputs:
    """A batch of six images, random λs and the noise that goes with them."""
    skeleton, relaxation = bound.supernet.skeleton, bound.relaxation
    size = (6, skeleton.in_channels, skeleton.height, skeleton.width)
    shape = (num_lams, len(bound.offsets))
    ops = len(skeleton.space.ops)
    return StepInputs(
        x=torch.randn(size, generator=rng(3), dtype=torch.float64),
        y=torch.tensor([0, 1, 2, 2, 1, 0]),
        lams=4 * torch.rand(shape, generator=rng(4), dtype=torch.float64),
        unit_lams=torch.rand(shape, generator=rng(5), dtype=torch.float64),
        relax_noise=[
            relaxation.noise(skeleton.space.num_edges, ops, 6, rng(6 + i)) for i in range(num_lams)
        ],
        weight_seed=11,
        temperature=0.6,
        arch_kl_price=PRICE,
        prior=prior,
    )


def constant(bound: NegativeElbo, logits: Tensor) -> NegativeElbo:
    """Makes the hypernetwork say the same logits at every λ."""
    with torch.no_grad():
        bound.hypernet.slopes.zero_()
        bound.hypernet.table.copy_(logits)
    return bound


def one_hot(choices: tuple[int, ...], num_ops: int) -> Tensor:
    """Logits of a distribution that is certain."""
    return -1e4 * (1 - torch.eye(num_ops, dtype=torch.float64)[list(choices)])


def test_the_total_is_the_sum_by_hand() -> None:
    """One λ per cost, operations mixed with softmax weights at temperature 0.6, all in numpy."""
    bound = build()
    sample = draw(bound)
    with torch.no_grad():
        terms = bound(sample)
        logits = bound.hypernet(sample.unit_lams)[0].numpy()
        mixed = bound.supernet(sample.x, torch.tensor(softmax(logits / 0.6, axis=1))).numpy()
    nll = -log_softmax(mixed, axis=1)[range(6), sample.y.tolist()].mean()
    probs = softmax(logits, axis=1)
    costs = np.array([(table * probs).sum() for table in bound.tables.numpy()])
    costs += bound.offsets.numpy()
    arch_kl = (probs * np.log(probs * probs.shape[1])).sum()
    total = nll + (sample.lams[0].numpy() * costs).sum() + PRICE * arch_kl
    assert float(terms.nll) == pytest.approx(nll, rel=1e-12)
    assert terms.costs.tolist() == pytest.approx(costs.tolist(), rel=1e-9)
    assert float(terms.arch_kl) == pytest.approx(arch_kl, rel=1e-12)
    assert float(terms.total) == pytest.approx(total, rel=1e-9)
    assert float(terms.accuracy) == (mixed.argmax(axis=1) == sample.y.numpy()).mean()


@pytest.mark.parametrize("relax", ["gumbel", "gumbel_example", "straight_through"])
@torch.no_grad()
def test_several_lams_are_averaged(relax) -> None:
    bound = build(relax=relax)
    sample = draw(bound, 3)
    alone = [
        bound(
            sample._replace(
                lams=sample.lams[i : i + 1],
                unit_lams=sample.unit_lams[i : i + 1],
                relax_noise=sample.relax_noise[i : i + 1],
            )
        )
        for i in range(3)
    ]
    assert len({float(terms.total) for terms in alone}) == 3
    for name, value in bound(sample)._asdict().items():
        expected = torch.stack([getattr(terms, name) for terms in alone]).mean(dim=0)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)


@torch.no_grad()
def test_even_divides_by_one_and_the_lams() -> None:
    bound = build()
    sample = draw(bound)
    plain, balanced = bound(sample), bound(sample, balance_lams=True)
    weight = 1 + float(sample.lams.sum())
    assert float(balanced.objective) == pytest.approx(float(plain.total) / weight, rel=1e-12)
    assert torch.equal(balanced.total, plain.total) and torch.equal(plain.objective, plain.total)
    assert torch.equal(balanced.nll, plain.nll) and torch.equal(balanced.costs, plain.costs)


@torch.no_grad()
def test_arch_kl_and_entropy_are_those_of_torch_distributions() -> None:
    bound = build()
    sample = draw(bound)
    logits = bound.hypernet(sample.unit_lams)
    categorical = Categorical(logits=logits[0])
    uniform = Categorical(logits=torch.zeros_like(logits[0]))
    expected = kl_divergence(categorical, uniform).sum()
    torch.testing.assert_close(bound(sample).arch_kl, expected, rtol=1e-12, atol=0)
    expected = Categorical(logits=logits).entropy().mean(dim=1)
    torch.testing.assert_close(entropy(logits), expected, rtol=1e-12, atol=0)


@torch.no_grad()
def test_the_prior_ignores_the_hypernetwork() -> None:
    first, second = build(hypernet="linear"), build(hypernet="mlp")
    assert torch.equal(first.tables, second.tables)
    terms = first(draw(first, prior=True))
    for value, other in zip(terms, second(draw(second, prior=True)), strict=True):
        assert torch.equal(value, other)
    assert float(terms.total) != float(first(draw(first)).total)
    assert float(terms.arch_kl) == pytest.approx(0, abs=1e-12)
    mean = first.tables.mean(dim=2).sum(dim=1) + first.offsets
    torch.testing.assert_close(terms.costs, mean, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "choices", [(0,) * 6, (3,) * 6, (1, 0, 2, 4, 3, 3)], ids=["least", "most", "other"]
)
@torch.no_grad()
def test_costs_of_a_certain_cell_are_those_of_its_network(choices) -> None:
    """Parameters counted in whole networks: 0 at the least expensive, 1 at the most expensive."""
    skeleton = dataclasses.replace(SKELETON, num_cells=3, height=8, width=8)
    space = skeleton.space

    def params(choices: tuple[int, ...]) -> int:
        network = Network(Genotype.from_choices(space, choices), skeleton)
        return sum(p.numel() for p in network.parameters())

    low, high = (
        params((0,) * 6),
        params((3,) * 6),
    )  # 3×3 convolutions are the most expensive candidates
    bound = constant(build(skeleton=skeleton), one_hot(choices, len(space.ops)))
    terms = bound(draw(bound))
    expected = (params(choices) - low) / (high - low)
    assert float(terms.costs[0]) == pytest.approx(expected, abs=1e-12)
    assert 0 <= float(terms.costs[1]) <= 1
    assert float(terms.arch_kl) == pytest.approx(6 * math.log(5), rel=1e-12)


@pytest.mark.parametrize(("name", "num_cells"), [("nasbench201", 3), ("darts", 3)])
def test_the_kl_table_sums_to_the_kl_of_the_whole_supernet(name, num_cells) -> None:
    space = find_space(name)
    torch.manual_seed(0)
    supernet = Supernet(Skeleton(space, 1, 3, 8, 8, 2, num_cells)).double()
    to_gaussian(supernet, rng(), sigma=0.05)
    table, rest = kl_costs(supernet, PRIOR_VARIANCE)
    assert table.shape == (space.num_edges, len(space.ops))
    whole = kl(supernet, PRIOR_VARIANCE)
    torch.testing.assert_close(table.sum() + rest, whole, rtol=1e-12, atol=0)
    # What stands on no edge, and one operation, found by their names.
    edges = [m for n, m in supernet.named_modules() if n.endswith(".edges")]
    assert len(edges) == num_cells
    on_edges = sum(kl(m, PRIOR_VARIANCE) for m in edges)
    torch.testing.assert_close(rest, whole - on_edges, rtol=1e-9, atol=0)
    free = [i for i, op in enumerate(space.ops) if "pool" in op or op == "none"]
    assert (table[:, free] == 0).all()
    column = next(i for i, op in enumerate(space.ops) if op.endswith("conv_3x3"))
    last = len(space.cell_edges) - 1
    modules = [
        layer.edges[str(last)].ops[column]
        for layer in supernet.body.layers
        if getattr(layer, "first_row", None) == 0
    ]
    expected = sum(kl(module, PRIOR_VARIANCE) for module in modules)
    torch.testing.assert_close(table[last, column], expected, rtol=1e-12, atol=0)


@torch.no_grad()
def test_a_certain_cell_with_lam_one_has_the_ordinary_evidence_bound() -> None:
    """nll + KL(q(w) ‖ p(w)) / N, the KL that of the layers that take part."""
    choices = (3, 0, 2, 4, 1, 3)
    ops = SKELETON.space.ops
    bound = constant(build(costs=("kl",)), one_hot(choices, len(ops)))
    sample = draw(bound)._replace(lams=torch.ones(1, 1, dtype=torch.float64))
    terms = bound(sample)
    edges = bound.supernet.body.layers[0].edges
    off = [
        op for row, edge in enumerate(edges.values()) for i, op in enumerate(edge.ops)
        if i != choices[row]
    ]  # fmt: skip
    used = kl(bound.supernet, PRIOR_VARIANCE) - sum(kl(op, PRIOR_VARIANCE) for op in off)
    assert float(terms.costs) == pytest.approx(float(used) / NUM_TRAIN, rel=1e-12)
    expected = terms.nll + used / NUM_TRAIN + PRICE * terms.arch_kl
    torch.testing.assert_close(terms.total, expected, rtol=1e-12, atol=0)


@torch.no_grad()
def test_gaussian_weights_whose_kl_has_no_lam_pay_for_it_in_full() -> None:
    bound = build(costs=("params",), gaussian=True)
    space = SKELETON.space
    choices = tuple(i % len(space.ops) for i in range(space.num_edges))
    terms = constant(bound, one_hot(choices, len(space.ops)))(draw(bound))
    used = [op for row, column, op in bound.supernet.candidates() if choices[row] == column]
    others = [op for row, column, op in bound.supernet.candidates() if choices[row] != column]
    whole = kl(bound.supernet, PRIOR_VARIANCE)
    expected = whole - torch.stack([kl(op, PRIOR_VARIANCE) for op in others]).sum()
    assert len(used) == space.num_edges
    torch.testing.assert_close(terms.weight_kl, expected / NUM_TRAIN)
    assert float(build(costs=("params",))(draw(bound)).weight_kl) == 0
    assert float(build(costs=("kl",))(draw(build(costs=("kl",)))).weight_kl) == 0


@torch.no_grad()
def test_a_sample_seen_again_has_the_same_value() -> None:
    bound = build(costs=("kl", "params"), relax="gumbel")
    sample = draw(bound, 2)
    first = bound(sample)
    bound(draw(bound)._replace(weight_seed=99))  # moves the generator on
    for value, again in zip(first, bound(sample), strict=True):
        assert torch.equal(value, again)
    other = bound(sample._replace(weight_seed=12))
    assert not torch.equal(first.nll, other.nll)
    assert torch.equal(first.costs, other.costs)


@pytest.mark.parametrize("hypernet", ["linear", "gibbs", "piecewise"])
@pytest.mark.parametrize("balance_lams", [False, True])
def test_gradient_of_the_hypernetwork_is_that_of_finite_differences(hypernet, balance_lams) -> None:
    bound = build(hypernet=hypernet)
    sample = draw(bound, 2)
    parameters = dict(bound.hypernet.named_parameters())
    names = [f"hypernet.{name}" for name in parameters]

    def total(*values: Tensor) -> Tensor:
        arch = dict(zip(names, values, strict=True))
        return functional_call(bound, arch, (sample,), {"balance_lams": balance_lams}).objective

    values = [p.detach().clone() for p in parameters.values()]
    tracked = [v.clone().requires_grad_() for v in values]
    grads = torch.autograd.grad(total(*tracked), tracked)
    for seed in range(5):
        way = [torch.randn(v.shape, generator=rng(seed), dtype=torch.float64) for v in values]
        step = 1e-5
        with torch.no_grad():
            ahead = total(*(v + step * d for v, d in zip(values, way, strict=True)))
            behind = total(*(v - step * d for v, d in zip(values, way, strict=True)))
        slope = sum(float((g * d).sum()) for g, d in zip(grads, way, strict=True))
        assert slope == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-6, abs=1e-8)
