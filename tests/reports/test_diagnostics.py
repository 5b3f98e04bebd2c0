"""What λ does along its grid: rising costs, unused range, collapse, entropy."""

import math

import pytest
import torch

from cells.cost import CostTable
from cells.space import find_space
from nas.cell_search.config import SearchConfig, unkept_promise
from nas.cell_search.fronts import make_front
from nas.hypernets.forms import Hypernet
from nas.reports.diagnostics import advise, diagnose


class Rows(Hypernet):
    """Makes the likeliest cell of each unit position that of a list, in turn."""

    certain = 3.0

    def __init__(self, cells: list[str], num_costs: int = 1) -> None:
        torch.nn.Module.__init__(self)
        self.num_costs = num_costs
        self.cells = torch.tensor([["nsc3a".index(op) for op in cell] for cell in cells])
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def logits(self, unit_lams: torch.Tensor) -> torch.Tensor:
        assert len(unit_lams) == len(self.cells)
        return self.certain * torch.nn.functional.one_hot(self.cells, 5).float()


def diagnosed(cells: list[str], costs: tuple[str, ...] = ("params",)):
    """Prices 1×1 convolutions 1 and 3×3 ones 9 in `params`, pools alone 1 in `flops`."""
    config = SearchConfig(costs=costs, grid=len(cells))
    params = torch.tensor([0.0, 0.0, 1.0, 9.0, 0.0], dtype=torch.float64).repeat(6, 1)
    flops = torch.tensor([0.0, 0.0, 0.0, 0.0, 1.0], dtype=torch.float64).repeat(6, 1)
    tables = {"params": CostTable("params", 5.0, params), "flops": CostTable("flops", 0.0, flops)}
    front = make_front(config, Rows(cells, len(costs)), tables)
    return diagnose(front, config.lam_range().grid(len(cells)))


def advised(cells: list[str], costs: tuple[str, ...] = ("params",), certain: float = 9.0):
    """What is said of cells that the hypernetwork is more or less certain of."""
    config = SearchConfig(costs=costs, grid=len(cells))
    params = torch.tensor([0.0, 0.0, 1.0, 9.0, 0.0], dtype=torch.float64).repeat(6, 1)
    tables = {name: CostTable(name, 5.0, params) for name in ("params", "flops")}
    rows = Rows(cells, len(costs))
    rows.certain = certain
    front, lams = make_front(config, rows, tables), config.lam_range().grid(len(cells))
    return advise(front, lams, diagnose(front, lams))


def test_costs_that_rise_with_lam_are_counted() -> None:
    found = diagnosed(["333333", "33nnnn", "33cnnn", "33cnnn", "cccccc", "nnnnnn"])
    assert found.rises["params"].tolist() == [False, False, True, False, False, False]
    assert found.distinct == 5
    assert "params: rises at 1 of them" in found.text()


def test_the_floor_and_the_ceiling_are_those_of_the_space() -> None:
    found = diagnosed(["333333", "33333c", "snnnns", "nannnn"])
    assert found.ceiling["params"].tolist() == [True, False, False, False]
    assert found.floor["params"].tolist() == [False, False, True, True]
    assert "at the floor for 50% of the range, at the ceiling for 25%" in found.text()


def test_parameter_free_operations_and_entropy_are_shares_of_edges() -> None:
    found = diagnosed(["333333", "33cnsa", "snnnns"])
    assert found.parameter_free.tolist() == [0.0, 0.5, 1.0]
    p = math.exp(3) / (math.exp(3) + 4)
    exact = -p * math.log(p) - (1 - p) * math.log((1 - p) / 4)
    assert found.entropy.tolist() == pytest.approx([exact] * 3, rel=1e-5)


def test_with_two_costs_each_is_compared_along_its_own_lam() -> None:
    # λ_params rises from row to row, λ_flops within a row.
    found = diagnosed(["3nnnnn", "3annnn", "cnnnnn", "33nnnn"], ("params", "flops"))
    assert found.rises["params"].tolist() == [False, False, False, True]
    assert found.rises["flops"].tolist() == [False, True, False, False]


def test_cells_of_the_darts_space_are_judged_by_the_edges_they_keep() -> None:
    space = find_space("darts")
    config = SearchConfig(space="darts", grid=1, lam=(1.0,))
    convolution, skip = space.ops.index("sep_conv_3x3"), space.ops.index("skip_connect")
    params = torch.zeros(space.num_edges, len(space.ops), dtype=torch.float64)
    params[:, 4:] = 2.0
    table = CostTable("params", 1.0, params)

    class Half(Rows):
        def logits(self, unit_lams: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(1, space.num_edges, len(space.ops))
            logits[:, : space.num_edges // 2, convolution] = 9.0
            logits[:, space.num_edges // 2 :, skip] = 9.0
            return logits

    found = diagnose(make_front(config, Half(["n"]), {"params": table}), config.lam_range().grid(1))
    assert found.parameter_free.tolist() == [0.5]
    assert not found.floor["params"].any() and not found.ceiling["params"].any()
    assert "rises at 0 of them" in found.text()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"space": "darts"}, None),
        ({"space": "darts", "relax": "softmax"}, None),
        ({"space": "darts", "discretise": "strongest_inputs"}, "discretise 'strongest_inputs'"),
        ({"discretise": "strongest_inputs"}, None),  # every edge chooses by itself
        ({"discretise": "threshold"}, "discretise 'threshold'"),
        ({"space": "darts", "relax": "sigmoid"}, "relax 'sigmoid'"),
        ({"relax": "sigmoid"}, None),
        ({"space": "darts", "relax": "dirichlet"}, "relax 'dirichlet'"),
        ({"space": "darts", "relax": "dirichlet", "finalists": 9}, None),  # chosen by budget
        ({"hypernet": "mlp", "space": "darts", "discretise": "strongest_inputs"}, None),
    ],
)
def test_what_the_gibbs_form_does_not_promise_is_said(settings, named) -> None:
    said = unkept_promise(SearchConfig(**settings))
    assert said is None if named is None else said is not None and said.startswith(named)


def test_what_is_as_it_should_be_is_not_spoken_of() -> None:
    assert advised(["333333", "33333c", "3333cc", "333ccc", "33cccc", "3ccccc"]) == []


def test_ends_of_the_range_where_nothing_changes_are_named() -> None:
    # λs from 0.001 to 10 in four steps of a factor of ten.
    assert advised(["333333", "33333c", "nnnnnn", "nnnnnn", "nnnnnn"]) == [
        "λ above 0.1 all give the cheapest cell: lower --lam-high."
    ]
    assert advised(["333333", "333333", "33333c", "3333cc", "333ccc"]) == [
        "λ below 0.01 all give the most expensive cell: raise --lam-low."
    ]
    assert advised(["33333c", "33333c", "3333cc", "333ccc", "333ccc"]) == [
        "λ above 1 all give the same cell: lower --lam-high.",
        "λ below 0.01 all give the same cell: raise --lam-low.",
    ]


def test_of_two_costs_the_one_that_changes_nothing_is_named() -> None:
    # The first λ is the same in each triple; from its second value on nothing changes with it.
    rows = ["333333", "33333c", "3333cc"] + 2 * ["3ccccc", "cccccc", "cccccn"]
    assert advised(rows, ("params", "flops")) == [
        "λ of params above 0.1 all give the same cell: lower its --lam-high."
    ]


def test_collapse_rises_doubt_and_sameness_are_spoken_of() -> None:
    assert advised(["cccccc"] * 5) == [
        "Every λ gives the same cell: search longer, or over a wider range of λ, --lam-low and "
        "--lam-high."
    ]
    (collapse,) = advised(["ssssss", "sssssa", "ssssaa", "sssaaa"])
    assert collapse.startswith("Even at the lowest λ 100% of the operations have no parameters")
    (rise,) = advised(["3ccccc", "cccccc", "3ccccc", "33cccc"])
    assert rise.startswith("The cell's params rise with λ at 2 of 4 λs")
    (doubt,) = advised(["333333", "33333c", "3333cc", "333ccc"], certain=0.5)
    assert doubt.startswith("Edges are hardly decided, 1.5")
