"""Distribution -> architecture: against brute force, and against DARTS' rule in plain loops."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cells.errors import InputError
from cells.genotype import Genotype
from cells.space import SPACES, SearchSpace, find_space
from nas.architecture.discretise import RULES, discretise


def small_space(inputs_per_node: int | None, kinds: tuple[str, ...] = ("cell",)) -> SearchSpace:
    """Two inputs, two nodes, five edges, three operations; `none` is not the first of them."""
    return SearchSpace(
        name="small",
        ops=("a", "none", "b"),
        kinds=kinds,
        num_inputs=2,
        num_nodes=2,
        inputs_per_node=inputs_per_node,
        concat=True,
        stem_multiplier=1,
    )


def valid(space: SearchSpace, choices: tuple[int, ...]) -> bool:
    """Whether every node of every cell has as many inputs as the space asks for."""
    kept: dict[tuple[int, int], int] = {}
    for row, choice in enumerate(choices):
        kind, edge = divmod(row, len(space.cell_edges))
        target = space.cell_edges[edge][1]
        kept[kind, target] = kept.get((kind, target), 0) + (choice != space.none)
    return space.inputs_per_node is None or set(kept.values()) == {space.inputs_per_node}


def random_logits(space: SearchSpace, seed: int, *batch: int) -> Tensor:
    shape = (*batch, space.num_edges, len(space.ops))
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("inputs_per_node", [1, 2, None])
def test_most_probable_is_the_best_of_all_valid_architectures(inputs_per_node) -> None:
    space = small_space(inputs_per_node)
    every = itertools.product(range(3), repeat=space.num_edges)
    allowed = torch.tensor([choices for choices in every if valid(space, choices)])
    assert len(allowed) == {1: 4 * 6, 2: 4 * 12, None: 3**5}[inputs_per_node]
    for seed in range(50):
        logits = random_logits(space, seed)
        log_probs = logits.log_softmax(dim=-1)
        scores = log_probs[torch.arange(space.num_edges), allowed].sum(dim=1)
        assert discretise(space, logits).tolist() == allowed[scores.argmax()].tolist()


def strongest_by_loops(space: SearchSpace, logits: list[list[float]]) -> list[int]:
    """DARTS, section 2.4: the top k of a node's edges by their likeliest operation but `none`."""
    chosen = [space.none] * space.num_edges
    for kind in space.kinds:
        for node in range(space.num_nodes):
            candidates = []
            for edge, (_, target) in enumerate(space.cell_edges):
                if target == space.num_inputs + node:
                    row = space.first_edge(kind) + edge
                    whole = sum(math.exp(logit) for logit in logits[row])
                    strength, op = max(
                        (math.exp(logit) / whole, op)
                        for op, logit in enumerate(logits[row])
                        if op != space.none
                    )
                    candidates.append((strength, row, op))
            for _, row, op in sorted(candidates, reverse=True)[: space.inputs_per_node]:
                chosen[row] = op
    return chosen


@pytest.mark.parametrize(
    "space", [small_space(1, ("x", "y")), find_space("darts")], ids=["small", "darts"]
)
def test_strongest_inputs_is_the_rule_of_darts(space) -> None:
    for seed in range(30):
        logits = random_logits(space, seed)
        expected = strongest_by_loops(space, logits.tolist())
        log_probs = logits.log_softmax(dim=-1)
        assert discretise(space, log_probs, "strongest_inputs").tolist() == expected


def test_the_rules_differ_where_none_is_likely() -> None:
    """Into node 2 of a cell with one input per node: the likelier edge, or the surer one.

    Edge 0 has log-odds of `a` against `none` of 1, edge 1 of 2, but on edge 1 `b` is likely as
    well, so that no operation there reaches the probability that `a` has on edge 0.
    """
    space = small_space(1)
    logits = torch.full((5, 3), 0.0, dtype=torch.float64)
    logits[0] = torch.tensor([1.0, 0.0, -9.0])  # P(a) = 0.73
    logits[1] = torch.tensor([2.0, 0.0, 1.9])  # P(a) = 0.49
    logits = logits.log_softmax(dim=-1)
    assert discretise(space, logits, "most_probable")[:2].tolist() == [1, 0]
    assert discretise(space, logits, "strongest_inputs")[:2].tolist() == [0, 1]


def test_the_threshold_keeps_what_is_above_it_and_two_inputs_at_most() -> None:
    """Edges into node 2: rows 0 and 1; into node 3: rows 2 to 4."""
    space = small_space(None)
    probs = torch.full((5, 3), 0.3, dtype=torch.float64)
    probs[0, 0], probs[1, 2] = 0.9, 0.84
    probs[2, 0], probs[3, 2], probs[4, 0] = 0.86, 0.99, 0.95
    probs[:, space.none] = 0.97  # the absent edge does not compete
    assert discretise(space, probs.log(), "threshold").tolist() == [0, 1, 1, 2, 0]


def test_a_cell_below_the_threshold_gets_its_likeliest_edge_to_the_last_node() -> None:
    space = small_space(None, ("x", "y"))
    probs = torch.full((10, 3), 0.3, dtype=torch.float64)
    probs[0, 0], probs[3, 2], probs[2, 0], probs[4, 0] = 0.8, 0.7, 0.6, 0.8
    probs[5, 0] = 0.9
    expected = [1, 1, 1, 2, 1, 0, 1, 1, 1, 1]
    assert discretise(space, probs.log(), "threshold").tolist() == expected


PAIRS = [
    (name, rule)
    for name, space in SPACES.items()
    for rule in RULES
    if rule != "threshold" or space.inputs_per_node is None
]


@pytest.mark.parametrize(("name", "rule"), PAIRS)
def test_choices_are_genotypes_and_a_batch_is_each_alone(name, rule) -> None:
    space = find_space(name)
    logits = random_logits(space, 3, 4, 5)
    choices = discretise(space, logits, rule)
    assert choices.shape == (4, 5, space.num_edges) and choices.dtype == torch.int64
    for i, j in itertools.product(range(4), range(5)):
        alone = discretise(space, logits[i, j], rule).tolist()
        assert alone == choices[i, j].tolist()
        assert Genotype.from_choices(space, alone).choices() == tuple(alone)


@given(name=st.sampled_from(sorted(SPACES)), seed=st.integers(0, 2**32), scale=st.floats(0, 3))
@settings(max_examples=60)
def test_gibbs_cells_never_get_more_expensive_as_beta_rises(name, seed, scale) -> None:
    """The cost of the most probable cell at logits a − βc falls with β, whatever a and c."""
    space = find_space(name)
    scores = scale * random_logits(space, seed)
    costs = random_logits(space, seed + 1).exp()
    betas = torch.linspace(0, 5, 101, dtype=torch.float64)
    choices = discretise(space, scores - betas[:, None, None] * costs)
    totals = costs.expand(len(betas), -1, -1).gather(2, choices[..., None]).sum(dim=(1, 2))
    assert (totals.diff() <= 1e-9).all()
    # At large β nothing but the cost counts: the least expensive cell there is.
    least = discretise(space, -costs)
    last = discretise(space, scores - 1e9 * costs)
    assert last.tolist() == least.tolist()


@pytest.mark.parametrize(
    ("name", "rule"),
    [("darts", "strongest_inputs"), ("darts_free", "threshold"), ("nasbench201", "threshold")],
)
def test_other_rules_may_give_more_expensive_cells_as_beta_rises(name, rule) -> None:
    """What the documentation owns up to."""
    space = find_space(name)
    betas = torch.linspace(0, 5, 101, dtype=torch.float64)
    risen = 0
    for seed in range(20):
        costs = random_logits(space, seed + 1).exp()
        costs[:, space.none] = 0
        logits = random_logits(space, seed) - betas[:, None, None] * costs
        choices = discretise(space, logits.log_softmax(dim=-1), rule)
        totals = costs.expand(len(betas), -1, -1).gather(2, choices[..., None]).sum(dim=(1, 2))
        risen += bool((totals.diff() > 1e-9).any())
    assert risen >= 3


def test_an_unknown_rule_is_refused() -> None:
    space = small_space(1)
    with pytest.raises(InputError, match="unknown discretisation rule 'most_probably': did you"):
        discretise(space, random_logits(space, 0), "most_probably")
