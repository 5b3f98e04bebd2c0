"""Methods beside random cells, on digits: equal costs, one recipe, goes on where it stopped."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cells.errors import InputError
from cells.space import find_space
from experiments import records
from experiments.chance import Chance
from experiments.methods import bench as methods
from experiments.methods.__main__ import PAGE, main
from experiments.methods.bench import BOUNDED, DIAL, ORDER, Bench, clocked, collapse, run, settings
from experiments.methods.table import BEGIN, END, place, spread, table
from experiments.small_protocol import protocol
from nas.architecture.budgets import parse_bound
from nas.cell_search.fronts import load_front
from nas.cell_search.presets import METHODS, RESTING
from nas.cell_search.searcher import Searcher
from nas.reports.diagnostics import diagnose
from nas.retraining.config import read_retraining

CHOSEN = ("darts", "gibbs", "fairdarts")
TEXT = f"above\n{BEGIN}old\n{END}\nbelow\n"


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Networks and epochs that take a second."""
    sizes = {"channels": 4, "num_cells": 1, "stem_stride": 2, "batch_size": 256, "threads": 1}
    few = {"crop_padding": 1, "epochs": 2, "device": "cpu", "flip": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "SEARCH", replace(methods.SEARCH, **sizes, **few, val_fraction=0.5))
        patch.setattr(methods, "RETRAIN", replace(methods.RETRAIN, **sizes, **few | {"epochs": 1}))
        patch.setattr(methods, "RANDOM", {"darts": 4, "darts_free": 2})
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, "digits", Path("data"))


@pytest.fixture(scope="module")
def done(small: None, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """`CHOSEN` beside random cells."""
    bench, told = Bench(tmp_path_factory.mktemp("methods"), "digits", Path("data")), []
    run(bench, CHOSEN, [0], lambda found: told.append(len(found)))
    assert told == [2, 3, 4]
    return bench


def test_cells_and_random_cells_are_retrained_alike(done: Bench) -> None:
    found = {record["method"]: record for record in done.records()}
    assert [len(found[name]["cells"]) for name in ("random", *CHOSEN)] == [6, 1, 3, 1]
    assert [found[name]["space"] for name in CHOSEN] == ["darts", "darts", "darts_free"]
    assert all(found[name]["minutes"] > 0 for name in CHOSEN)
    assert all(0 <= cell["accuracy"] <= 1 for r in found.values() for cell in r["cells"])
    lams = [cell["lam"] for cell in found["gibbs"]["cells"]]
    assert lams == pytest.approx([1e-3, 1e-1, 10.0])
    assert found["darts"]["hessian"] is not None and found["gibbs"]["hessian"] is None
    recipes = set()
    for folder in (done.out / "retrained").iterdir():
        if folder.is_dir():
            recipes.add(replace(read_retraining(folder), genotype=""))
    assert len(recipes) == 1 and next(iter(recipes)).seeds == (0,)
    lines = table(done.records()).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:7]] == [
        "darts", "gibbs, λ = 0.001", "gibbs, λ = 0.1", "gibbs, λ = 10", "fairdarts",
    ]  # fmt: skip
    assert {line.count("|") for line in lines[:7]} == {11}
    accuracies = [line.split("|")[4] for line in lines[2:7]]
    assert not any("±" in text for text in accuracies)  # a single seed has no spread


def test_what_is_finished_is_only_read(done: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = done.measured("gibbs", 0)
    done.record("gibbs", 0).unlink()
    monkeypatch.setattr(records, "search", None)
    monkeypatch.setattr(protocol, "retrain", None)
    again = done.measured("gibbs", 0)
    assert again["cells"] == first["cells"]
    monkeypatch.setattr(methods, "finished", None)
    assert done.measured("gibbs", 0) == again


def test_an_interrupted_search_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the cells of one that was not; both parts count as its time."""
    config = bench.config("gdas", 0)
    whole = load_front(records.finished(config, bench.out / "whole"))
    advance = Searcher.advance

    def killed(searcher: Searcher) -> None:
        if searcher.step == 3:
            raise KeyboardInterrupt
        advance(searcher)

    with monkeypatch.context() as patch:
        patch.setattr(Searcher, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.measured("gdas", 0)
    clock = bench.out / "clock-gdas-seed0.json"
    before = methods.json.loads(clock.read_text())["seconds"]
    assert before > 0 and not bench.record("gdas", 0).exists()
    assert bench.measured("gdas", 0)["minutes"] > before / 60
    front = load_front(bench.out / "searches" / "gdas-seed0")
    lams = front.lam_range.grid(3)
    assert front.choices(lams).tolist() == whole.choices(lams).tolist()


def test_a_clock_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([10.0, 13.0, 20.0, 24.5])
    monkeypatch.setattr(methods.time, "process_time", lambda: next(ticks))
    path = tmp_path / "clock.json"
    with clocked(path):
        pass
    with pytest.raises(SystemExit), clocked(path):
        raise SystemExit(143)
    assert methods.json.loads(path.read_text()) == {"seconds": 7.5}


def test_every_method_has_a_search_of_as_many_steps(bench: Bench) -> None:
    assert sorted(ORDER) == sorted(METHODS)
    configs = {name: bench.config(name, 3) for name in ORDER}
    assert len({(c.epochs, c.batch_size, c.val_fraction, c.seed) for c in configs.values()}) == 1
    for name, config in configs.items():
        single = config.lam_range().low == config.lam_range().high
        assert single == (name not in DIAL)
        assert (config.warmup_epochs == config.epochs) == (name in RESTING)
        assert bool(config.bounds) == (name in BOUNDED)
        assert all(getattr(config, key) == value for key, value in settings(name).items())
    assert configs["fbnet"].lam == (0.6,)  # β of FBNet, section 4.1


def test_the_bound_is_in_the_middle(bench: Bench) -> None:
    """Between a cell without parameters and 5×5 separable convolutions on all edges."""
    space = find_space("darts")
    name, bound = parse_bound(bench.config("rc-darts", 0).bounds[0])
    params = bench.params(space)
    largest = [space.ops.index("sep_conv_5x5")] * space.num_edges
    for rows in space.incoming:
        for row in rows[2:]:
            largest[row] = space.none
    assert name == "params"
    assert bound == round((params.base + params.total(largest)) / 2)


def test_collapse_is_that_of_the_diagnostics(done: Bench) -> None:
    front = load_front(done.out / "searches" / "gibbs-seed0")
    lams = front.lam_range.grid(5)
    choices, params = front.choices(lams), done.params(front.space)
    found = [collapse(front.space, params, row) for row in choices.tolist()]
    assert found == pytest.approx(diagnose(front, lams).parameter_free.tolist())
    assert collapse(front.space, params, [front.space.none] * front.space.num_edges) == 1.0


def test_random_cells_are_of_all_sizes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """One in each part of the range of log cost; others with another seed."""
    # One cell alone has too few sizes.
    monkeypatch.setattr(methods, "SEARCH", replace(methods.SEARCH, num_cells=2))
    space = find_space("darts")
    params = bench.params(space)
    (low, high), found = bench.ends(space), []
    for seed in (0, 1):
        costs = [params.total(cell.choices()) for cell in bench.rivals(space, 8, seed)]
        for part, cost in enumerate(costs):
            bounds = [low * (high / low) ** ((part + side) / 8) for side in (0, 1)]
            assert 0.95 * bounds[0] <= cost <= 1.05 * bounds[1]
        found.append(costs)
    assert found[0] != found[1]
    assert bench.rivals(space, 8, 0) == bench.rivals(space, 8, 0)


def _record(seed: int, accuracy: float) -> dict[str, Any]:
    cell = {"lam": None, "params": 20_000.0 + 1000 * seed, "collapse": 0.25, "accuracy": accuracy}
    return {
        "method": "gdas", "seed": seed, "space": "darts", "minutes": 3.0, "hessian": None,
        "cells": [cell], "machine": MACHINE,
    }  # fmt: skip


MACHINE = {"device": "a processor", "torch": "2", "threads": 1}
RIVALS = [(6e3, 0.80), (1e4, 0.84), (2e4, 0.86), (3e4, 0.87), (5e4, 0.88)]


def test_the_table_by_hand() -> None:
    cells = [{"space": "darts", "params": p, "accuracy": a} for p, a in RIVALS]
    rivals = {"method": "random", "seed": 0, "cells": cells, "machine": MACHINE}
    rows = [_record(0, 0.88), _record(1, 0.89), _record(2, 0.90)]
    chance = Chance([(size, 100 * accuracy) for size, accuracy in RIVALS])
    sizes = [20_000, 21_000, 22_000]
    expected = sum(map(chance.accuracy, sizes)) / 3
    text = table([rivals, *rows]).splitlines()
    assert text[2] == (
        f"| gdas | 3 | 21,000 ± 1,000 | 89.00 ± 1.00 | {expected:.2f} | {89 - expected:+.2f} ± "
        f"{chance.error(sizes):.2f} | yes | 25 ± 0 |  | 3.0 ± 0.0 |"
    )
    assert text[-2:] == [
        f"Random cells of darts: {chance.accuracy(6e3):.2f} % at 6,000, {chance.accuracy(5e4):.2f}"
        f" % at 50,000 parameters, ± {chance.deviation:.2f} points each, 5 cells.",
        "Machine: a processor, torch 2, threads: 1.",
    ]
    assert table(rows[:1]).splitlines()[2] == (
        "| gdas | 1 | 20,000 | 88.00 |  |  |  | 25 |  | 3.0 |"
    )
    assert spread([2.0, 4.0], 3) == "3.000 ± 1.414"


def test_the_page_keeps_all_but_its_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(TEXT)
    for text in ("a table", "another"):
        place(page, text)
    lines = [line for line in page.read_text().splitlines() if line]
    assert lines == ["above", "<!-- methods -->", "another", "<!-- end methods -->", "below"]
    page.write_text("no marks")
    with pytest.raises(InputError, match=r"no place for the table: add <!-- methods -->"):
        place(page, "a table")
    with pytest.raises(InputError, match="cannot read the page"):
        place(tmp_path / "absent.md", "a table")
    place_of_ours = PAGE.read_text(encoding="utf-8")
    assert BEGIN in place_of_ours and END in place_of_ours


def test_the_page_has_the_table_of_its_records() -> None:
    bench = Bench(PAGE.with_suffix(""), "fashion", Path("data"))
    assert f"\n{table(bench.records())}\n" in PAGE.read_text(encoding="utf-8")


def test_the_command_writes_the_page(
    done: Bench,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page, text = tmp_path / "page.md", table(done.records())

    def typed(out: Path, *words: str) -> None:
        page.write_text(TEXT)
        command = ["methods", "--out", str(out), "--data", "digits", "--page", str(page), *words]
        monkeypatch.setattr(sys, "argv", command)
        main()

    with pytest.raises(SystemExit):
        typed(tmp_path / "empty", "--table")
    assert "error: nothing is on record" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        typed(done.out, "--share", "0")
    assert "error: --share must be above 0" in capsys.readouterr().err
    typed(done.out, "--methods", *CHOSEN, "--seeds", "0")
    assert text in page.read_text() and capsys.readouterr().out.strip() == text
    typed(done.out, "--table")
    assert text in page.read_text() and capsys.readouterr().out.strip() == text
