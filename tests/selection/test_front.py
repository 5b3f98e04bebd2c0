"""Asking a finished search: by λ, by budget, and from the command line."""

import dataclasses
import math
import random
import shutil
import sys
from pathlib import Path

import pytest
import torch

import nas
from cells.cost import CostTable
from cells.errors import InputError
from cells.genotype import Genotype
from cells.notation import read_genotype
from cells.space import find_space
from nas.__main__ import main
from nas.architecture.budgets import parse_bound
from nas.cell_search.config import SearchConfig
from nas.cell_search.fronts import load_front, make_front, make_hypernet
from nas.hypernets.forms import HYPERNETS
from nas.reports.chance import beside_chance, read_chance
from nas.reports.report import read_rows
from nas.runtime import checkpoint
from nas.selection.front import BUDGET_GRID, Front


def settings(space: str = "darts", costs: tuple[str, ...] = ("params",)) -> SearchConfig:
    return SearchConfig(
        space=space, costs=costs, lam_low=(1e-3,), lam_high=(10.0,), arch_kl=0.02, seed=3
    )


def random_front(space: str = "darts", costs: tuple[str, ...] = ("params",)) -> Front:
    """A front nobody searched: random scores and costs under the Gibbs form."""
    config = settings(space, costs)
    generator = torch.Generator().manual_seed(5)
    shape = (find_space(space).num_edges, len(find_space(space).ops))
    tables = {
        name: CostTable(
            name, 1000.0, 500 * torch.rand(shape, generator=generator, dtype=torch.float64)
        )
        for name in ("params", "flops")
    }
    hypernet = make_hypernet(config, tables)
    hypernet.scores.data = 2 * torch.randn(shape, generator=generator)
    return make_front(config, hypernet, tables)


@pytest.fixture(scope="module")
def loaded(run_folder: Path) -> Front:
    return load_front(run_folder)


def test_a_loaded_front_gives_the_cells_that_the_search_wrote(loaded, run_folder) -> None:
    rows = read_rows(run_folder)
    assert len(rows) >= 3
    for row in rows:
        for lam in (row["lam_params"], row["lam_last_params"]):
            assert loaded.at(lam).id == row["genotype"]
        genotype = loaded.at(row["lam_params"])
        assert genotype.lam == {"params": row["lam_params"]}
        assert genotype == read_genotype(run_folder / row["file"])
        search = loaded.search
        assert genotype.search == {k: search[k] for k in search if k not in ("device", "data_root")}
        assert genotype.seed == loaded.seed


@pytest.mark.parametrize("lam", [9.9e-4, 10.1, -1.0, 0.0, float("nan"), float("inf")])
def test_a_lam_that_was_not_searched_is_refused(loaded, lam) -> None:
    with pytest.raises(InputError, match=r"outside the searched range 0\.001 … 10\.0:"):
        loaded.at(lam)


def test_a_lam_for_every_cost_is_wanted(loaded) -> None:
    with pytest.raises(InputError, match="1 costs with a λ each, got 2"):
        loaded.at(0.1, 0.2)


def test_within_is_the_first_cell_of_the_grid_that_fits() -> None:
    """For 20 bounds: it holds, and the cell of the next smaller λ on the grid breaks it."""
    found = random_front()
    lams = found.lam_range.grid(BUDGET_GRID)[:, 0].tolist()
    low, high = (found.at(lam).costs["params"] for lam in (lams[-1], lams[0]))
    assert high > 1.2 * low
    draw = random.Random(0)
    chosen = set()
    for _ in range(20):
        bound = draw.uniform(low, high)
        genotype = found.within(params=bound)
        assert genotype.costs["params"] <= bound
        index = lams.index(genotype.lam["params"])
        assert found.at(lams[index - 1]).costs["params"] > bound
        assert found.at(lams[index]).id == genotype.id
        chosen.add(genotype.id)
    assert len(chosen) > 5
    assert found.within(params=high).lam == {"params": lams[0]}
    assert found.within(params=low).costs["params"] == low


def test_within_holds_several_bounds_at_once() -> None:
    found = random_front()
    ends = [found.at(lam).costs for lam in (10.0, 1e-3)]
    params, flops = ((a + b) / 2 for a, b in zip(*(e.values() for e in ends), strict=True))
    both = found.within(params=params, flops=flops)
    assert both.costs["params"] <= params and both.costs["flops"] <= flops
    ones = [found.within(params=params), found.within(flops=flops)]
    assert both.lam["params"] == max(one.lam["params"] for one in ones)


@pytest.mark.parametrize("cost", ["params", "flops"])
def test_within_weighs_two_lams(cost) -> None:
    """With two costs: of the cells that fit, the one with the least sum of positions of log λ."""
    found = random_front("nasbench201", ("params", "flops"))
    bound = (found.at(1e-3, 1e-3).costs[cost] + found.at(10.0, 10.0).costs[cost]) / 2
    lams = found.lam_range.grid(BUDGET_GRID).tolist()
    assert len(lams) == 45**2
    fits = [
        sum(math.log(lam / 1e-3) / math.log(10 / 1e-3) for lam in pair)
        for pair, choices in zip(lams, found.choices(torch.tensor(lams).double()), strict=True)
        if 1000 + sum(found.tables[cost].table[range(6), choices].tolist()) <= bound
    ]
    assert 0 < len(fits) < len(lams)
    genotype = found.within(**{cost: bound})
    assert genotype.costs[cost] <= bound
    pressure = sum(math.log(lam / 1e-3) / math.log(10 / 1e-3) for lam in genotype.lam.values())
    assert pressure == pytest.approx(min(fits), abs=1e-9)


def test_a_budget_below_every_cell_names_the_least() -> None:
    found = random_front()
    least = found.at(10.0).costs["params"]
    message = rf"no cell of this search is within params 100: its least are params {least:,.6g};"
    with pytest.raises(InputError, match=message):
        found.within(params=100)


def test_a_budget_of_an_unknown_cost_is_refused(loaded) -> None:
    with pytest.raises(InputError, match="unknown cost 'parms': did you mean 'params'"):
        loaded.within(parms=100)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("params=100k", "params", 100_000),
        ("params=1.5M", "params", 1_500_000),
        ("flops=2G", "flops", 2e9),
        ("params=12345", "params", 12_345),
        ("flops=1e6", "flops", 1e6),
        ("latency=2ms", "latency", 2),
        ("latency=0.5s", "latency", 500),
        ("latency=250us", "latency", 0.25),
        ("latency=1.5e-3s", "latency", 1.5),
        ("latency=3", "latency", 3),
    ],
)
def test_budgets_are_read_in_milliseconds_and_thousands(text, name, value) -> None:
    assert parse_bound(text) == (name, pytest.approx(value, rel=1e-12))


@pytest.mark.parametrize(
    "text",
    [
        "", "params", "params=", "=3", "params=many", "params=-3", "params=0", "params=nan",
        "params=inf", "params=3x", "params=2ms", "latency=2k", "params=1_000", "params=1e",
        "params=1.2.3", "params=3 4", "params:3",
    ],
)  # fmt: skip
def test_what_is_no_budget_is_refused(text) -> None:
    with pytest.raises(InputError) as error:
        parse_bound(text)
    assert str(error.value).startswith(f"cannot read the budget {text!r}: write for example")


def test_the_front_of_a_search_for_one_lam_holds_it_alone() -> None:
    config = dataclasses.replace(settings(), lam=(0.3,))
    single = make_front(config, random_front().hypernet, random_front().tables)
    assert single.at(0.3).lam == single.within(params=1e9).lam == {"params": 0.3}
    with pytest.raises(InputError, match=r"outside the searched range 0\.3 … 0\.3:"):
        single.at(0.31)


def test_a_raw_search_starts_where_one_with_lam_times_the_range_does() -> None:
    some = random_front(costs=("params", "flops"))
    spans = [some.tables[cost].high - some.tables[cost].low for cost in some.costs]
    config = settings(costs=some.costs)
    raw = dataclasses.replace(
        config,
        lam_unit="raw",
        lam_low=tuple(1e-3 / span for span in spans),
        lam_high=tuple(10.0 / span for span in spans),
    )
    fronts = [
        make_front(each, make_hypernet(each, some.tables), some.tables) for each in (config, raw)
    ]
    log_probs = [front.log_probs(front.lam_range.grid(49)).float() for front in fronts]
    torch.testing.assert_close(log_probs[0], log_probs[1], rtol=1e-4, atol=1e-4)
    # β·ĉ = λ·c / κ: at the largest λs the most expensive operation lies this far below the least.
    table = sum(10.0 * some.tables[cost].unit()[0] for cost in some.costs) / 0.02
    spread = (table.amax(dim=1) - table.amin(dim=1)).float()
    found = log_probs[1][-1].amax(dim=1) - log_probs[1][-1].amin(dim=1)
    torch.testing.assert_close(found, spread, rtol=1e-3, atol=0.02)


@pytest.mark.parametrize("hypernet", HYPERNETS)
def test_log_probs_need_no_gradient(hypernet: str) -> None:
    """A view of a parameter, as a constant table gives, would need one even under no_grad."""
    some = random_front()
    config = dataclasses.replace(settings(), hypernet=hypernet)
    front = make_front(config, make_hypernet(config, some.tables), some.tables)
    assert not front.log_probs(front.lam_range.grid(3)).requires_grad


# -------------------------------------------------------------------- command line


def ask(monkeypatch: pytest.MonkeyPatch, *args: object) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", "front", *map(str, args)])
    main()


def test_a_lam_prints_a_genotype(monkeypatch, capsys, run_folder, loaded) -> None:
    ask(monkeypatch, run_folder, "--lam", "0.3", "--json")
    assert Genotype.from_json(capsys.readouterr().out) == loaded.at(0.3)


def test_a_lam_tells_what_is_known_of_its_cell(monkeypatch, capsys, run_folder, loaded) -> None:
    rows = read_rows(run_folder)
    ask(monkeypatch, run_folder, "--lam", rows[0]["lam_params"])
    assert capsys.readouterr().out.startswith(
        f"{run_folder / rows[0]['file']}: {rows[0]['params']:,.6g} parameters, "
    )


def test_a_budget_is_answered_by_the_best_of_the_table(
    monkeypatch, capsys, run_folder, loaded
) -> None:
    rows = read_rows(run_folder)
    bound = sorted(row["params"] for row in rows)[len(rows) // 2]
    best = max((r for r in rows if r["params"] <= bound), key=lambda row: row["val_accuracy"])
    ask(monkeypatch, run_folder, "--at-most", f"params={bound / 1000}k", "latency=10s")
    first, down, up = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{run_folder / best['file']}: {best['params']:,.6g} parameters, ")
    assert first.endswith(f"{100 * best['val_accuracy']:.2f} % validation accuracy, shared weights")
    assert down.startswith("next step down: ") and up.startswith("next step up: ")
    ask(monkeypatch, run_folder, "--at-most", "params=1G")
    told = capsys.readouterr().out.splitlines()
    most = max(row["params"] for row in rows)
    assert told[3].startswith(f"no cell of this search has more params than {most:,.0f}: ")
    ask(monkeypatch, run_folder, "--at-most", f"params={bound / 1000}k", "--json")
    assert Genotype.from_json(capsys.readouterr().out).id == best["genotype"]
    assert nas.within(run_folder, params=bound).id == best["genotype"]
    with pytest.raises(
        InputError, match=r"no cell of .* is within the budget: the least are params"
    ):
        nas.within(run_folder, params=1)


def test_a_cell_that_is_in_no_table_is_told_to_be_unknown(
    monkeypatch, capsys, run_folder, tmp_path
) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    rows = read_rows(run)
    for path in ("front.csv", "SHA256SUMS"):
        (run / path).unlink()
    ask(monkeypatch, run, "--at-most", f"params={rows[0]['params']}")
    first, last = capsys.readouterr().out.splitlines()
    assert "its accuracy is not known" in first
    assert last == f"the search is unfinished: nothing is known of its cells; --resume {run}"


def test_without_a_question_the_front_is_listed(monkeypatch, capsys, run_folder) -> None:
    ask(monkeypatch, run_folder)
    lines = capsys.readouterr().out.splitlines()
    rows = read_rows(run_folder)
    assert lines[0].split()[0] == "lam_params" and "val_accuracy" in lines[0].split()
    below = lines[1 + len(rows) :]
    assert below[0] == "val_accuracy: in [0, 1] on validation images, with shared weights"
    assert below[1:] == beside_chance(rows, read_chance(run_folder)) != []
    for line, row in zip(lines[1 : 1 + len(rows)], rows, strict=True):
        cells = dict(zip(lines[0].split(), line.split(), strict=True))
        assert cells["genotype"] == row["genotype"] and cells["file"] == row["file"]
        assert float(cells["params"]) == pytest.approx(row["params"], rel=1e-3)
        assert cells["pareto"] == str(row["pareto"])


def test_out_writes_a_new_file_and_never_over_an_old_one(
    monkeypatch, capsys, run_folder, loaded, tmp_path
) -> None:
    path = tmp_path / "cell.json"
    ask(monkeypatch, run_folder, "--lam", "1", "--out", path)
    assert read_genotype(path) == loaded.at(1.0)
    assert capsys.readouterr().out.endswith(f"genotype in {path}\n")
    before = path.read_bytes()
    assert "exists: choose another --out" in refusal(
        monkeypatch, capsys, run_folder, "--lam", "0.1", "--out", path
    )
    assert path.read_bytes() == before


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: object, *args: object) -> str:
    """The one line on stderr with which a question is refused."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as leave:
        ask(monkeypatch, *args)
    out, err = capsys.readouterr()
    assert leave.value.code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
    return err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "the following arguments are required: run; see nas ask --help"),
        (["RUN", "--lam", "x"], "argument --lam: invalid float value: 'x'"),
        (["RUN", "--lam"], "argument --lam: expected at least one argument"),
        (["RUN", "--bogus"], "unrecognized arguments: --bogus"),
        (["RUN", "--lam", "-0.5"], "λ = -0.5 is outside the searched range"),
        (["RUN", "--lam", "1", "--at-most", "params=1"], "give either --lam or --at-most"),
        (["RUN", "--out", "cell.json"], "--out is for one cell: say which with --lam or"),
        (["RUN", "--json"], "--json is for one cell: say which with --lam or"),
        (["RUN", "--at-most", "self=3"], "unknown cost 'self'"),
        (["RUN", "--at-most", "parms=1"], "unknown cost 'parms': did you mean 'params'?"),
        (["RUN", "--at-most", "params=1"], "no cell of this search is within params 1"),
        (["RUN", "--at-most", "params=few"], "cannot read the budget 'params=few'"),
        (["nowhere"], "no folder nowhere: name that of a search"),
        (["nowhere", "--lam", "1"], "no folder nowhere: name that of a search"),
        (["RUN", "--lam", "1", "--out", "nowhere/a.json"], "No such file or directory"),
    ],
)
def test_bad_questions_get_one_line(monkeypatch, capsys, run_folder, args, message) -> None:
    args = [run_folder if arg == "RUN" else arg for arg in args]
    assert message in refusal(monkeypatch, capsys, *args)


def test_an_unfinished_run_says_how_to_finish_it(monkeypatch, capsys, run_folder, tmp_path) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    (run / "front.csv").unlink()
    assert f"finish the search with --resume {run}" in refusal(monkeypatch, capsys, run)
    ask(monkeypatch, run, "--lam", "0.3", "--json")  # the last checkpoint answers already
    assert Genotype.from_json(capsys.readouterr().out)


def test_a_checkpoint_of_something_else_is_refused(monkeypatch, capsys, tmp_path) -> None:
    checkpoint.save(tmp_path / "checkpoint.pt", {"step": 3, "model": {}})
    message = refusal(monkeypatch, capsys, tmp_path, "--lam", "0.3")
    assert "is not the checkpoint of a search" in message


def test_a_hypernetwork_of_another_configuration_is_refused(
    monkeypatch, capsys, run_folder, tmp_path
) -> None:
    state = checkpoint.load(run_folder / "checkpoint.pt")
    for hypernet in ({}, {name: tensor[..., :1] for name, tensor in state["hypernet"].items()}):
        checkpoint.save(tmp_path / "checkpoint.pt", state | {"hypernet": hypernet})
        message = refusal(monkeypatch, capsys, tmp_path, "--lam", "0.3")
        assert "does not fit its own configuration" in message
