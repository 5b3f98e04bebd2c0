"""The benchmarks' own arithmetic, and a worker that works."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import __main__ as bench_main
from bench import growth, methods, overheads, processes, retraining, searching, steps
from bench.worker import Worker, noise, our_step, take_turns
from nas.cell_search.presets import METHODS, PRESETS, settled
from nas.runtime.processes import Processes


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_a_power_law(power: float) -> None:
    values = [3.0, 8.0, 20.0]
    assert growth.exponent(values, [7 * v**power for v in values]) == pytest.approx(power)


def test_growth_changes_one_size_at_a_time() -> None:
    base = growth.case(2)
    for name, (values, _) in growth.SIZES.items():
        for value in values:
            case = growth.case(2, **{name: value})
            flat, other = (
                c["changes"] | {k: c[k] for k in c if k != "changes"} for c in (base, case)
            )
            assert sum(flat[key] != other[key] for key in flat) == (value != growth.BASE[name])


def test_a_table_takes_the_place_of_the_last_one() -> None:
    page = "a\n<!-- steps -->\n<!-- end steps -->\nb\n"
    for table in ("one\n", "two\\1\n"):
        page = bench_main.insert(page, "steps", table)
    assert page == "a\n<!-- steps -->\n\ntwo\\1\n\n<!-- end steps -->\nb\n"
    with pytest.raises(ValueError, match="no place for growth"):
        bench_main.insert(page, "growth", "")
    for part, path in bench_main.PAGES.items():
        assert bench_main.insert(path.read_text(), part, "new table")


def test_the_reference_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(SystemExit):
        bench_main.main()
    assert "steps needs --reference PATH" in capsys.readouterr().err


def test_ratios_are_to_the_first_case_round_by_round(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"base": [8.0, 9.0, 20.0], "theirs": [4.0, 9.0, 10.0], "ours": [2.0, 3.0, 4.0]}
    groups = []

    class Fake:
        def __init__(self, case: dict) -> None:
            self.name = case["name"]

        def close(self) -> dict:
            return {"gib": 2.0 if self.name == "base" else 1.0, "machine": {}, "gpu": False}

    def turns(workers: list, rounds: int, warm_up: int) -> list:
        groups.append([w.name for w in workers])
        return [seconds[w.name] for w in workers]

    monkeypatch.setattr(steps, "Worker", Fake)
    monkeypatch.setattr(steps, "take_turns", turns)
    cases = {
        "base": {"name": "base", "reference": ""},
        "theirs": {"name": "theirs", "reference": ""},
        "ours": {"name": "ours"},
    }
    rows = {row["case"]: row for row in steps.compare(cases, 3)}
    assert groups == [["base", "theirs"], ["base", "ours"]]
    assert (rows["theirs"]["faster"], rows["ours"]["faster"]) == (2.0, 4.0)
    assert (rows["ours"]["least"], rows["ours"]["most"]) == (3.0, 5.0)
    assert rows["ours"]["seconds"] == 3.0 and rows["ours"]["memory"] == 0.5
    listed = list(rows.values())
    assert "| ours | 4.00 (3.00–5.00) | 1.00 | 0.50 |" in steps.table(listed)
    listed[0]["gpu"] = True
    assert "| ours | 3.000 | 4.00 (3.00–5.00) | 1.00 | 0.50 |" in steps.table(listed)


def test_noise_has_every_class() -> None:
    data = noise(40, 9, 10)
    assert data.train.images.shape == (40, 3, 9, 9)
    assert data.train.labels.bincount().tolist() == [4] * 10


def test_a_worker_steps_and_tells_its_memory() -> None:
    changes = {"channels": 4, "batch_size": 10, "num_cells": 1, "device": "cpu"}
    case = {"preset": "digits", "threads": 1, "side": 8, "candidates": 4, "changes": changes}
    worker = Worker(case)
    (times,) = take_turns([worker], 2, warm_up=1)
    assert len(times) == 2 and min(times) > 0
    end = worker.close()
    assert 0 < end["gib"] < 4 and end["machine"]["threads"] == 1


def test_a_worker_that_fails_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho unknown relaxation >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    worker = Worker({"preset": "digits", "changes": {"relax": "no such thing"}})
    with pytest.raises(RuntimeError, match=r"no such thing.* ended: see its message above"):
        worker.step()
    assert "unknown relaxation" in capfd.readouterr().err


def test_tables_hold_what_was_measured() -> None:
    found = {"conditioned": 1.01, "five": 50.0, "one": 10.0, "thousand": 3.7}
    text = overheads.table(found | {"data": {"softmax": (1.5, 300.0)}})
    assert "1.010" in text and "5.00 (50 s over 10 s)" in text and "0.50 %" in text
    rows = [
        {"relax": "softmax", "processes": p, "threads": t, "seconds": s, "bytes": 63_000_000}
        for p, t, s in ((1, 1, 4.0), (2, 1, 2.0))
    ]
    text = processes.table(rows)
    assert "| softmax | 2 × 1 | 2.00 | 2.00 |" in text
    assert "PCIe 5 ×16 (63 GB/s): 1000 µs between 2 processes, 1750 µs between 8" in text


def test_the_cases_are_searches() -> None:
    for case in steps.cases(bench_main.SPEED, 2, {"num_cells": 3, "channels": 16}).values():
        assert "reference" in case or case["preset"] in PRESETS


def test_every_method_has_a_row_that_is_a_search() -> None:
    sizes = {"num_cells": 1, "channels": 4, "batch_size": 4}
    rows = methods.cases(1, sizes)
    assert next(iter(rows)) == methods.BASE and set(METHODS) < set(rows)
    for name, case in rows.items():
        config = replace(PRESETS[case["preset"]], **case["changes"])
        assert (config.num_cells, config.channels, config.batch_size) == (1, 4, 4)
        for key, value in METHODS.get(name, {}).items():
            assert getattr(config, key) == value
        assert settled(config, name).warmup_epochs == config.warmup_epochs
    assert rows["gibbs"]["changes"] == rows[methods.BASE]["changes"] | METHODS["gibbs"]


@pytest.mark.parametrize("name", ["drnas", "sdarts-adv", "rc-darts", "evolution"])
def test_a_method_makes_steps(name: str) -> None:
    sizes = {"num_cells": 1, "channels": 4, "batch_size": 5}
    case = json.loads(json.dumps(methods.cases(1, sizes)[name]))  # as a worker gets it
    case["changes"]["device"] = "cpu"
    step, _ = our_step(case | {"side": 8})
    searcher = step.__self__
    step()
    assert searcher.problem.schedule.stage(searcher.step) == 0
    perturbs = searcher.config.perturb != "none"
    assert (searcher.draw_train().perturbations is not None) == perturbs
    step()
    assert ("val_loss" in searcher.averages) == (name != "evolution")


def test_methods_take_turns_with_softmax_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = []

    def side_by_side(chosen: dict, rounds: int, warm_up: int) -> dict:
        groups.append(list(chosen))
        row = {"faster": 4.0, "least": 2.0, "most": 5.0, "memory": 0.5}
        return dict.fromkeys(chosen, row)

    monkeypatch.setattr(methods, "side_by_side", side_by_side)
    found = methods.measure(3, 1, cells=(8,), only=("darts", "gdas", "snas"))
    assert groups == [["softmax", "gdas"], ["softmax", "darts", "snas"]]
    lines = methods.table(found).splitlines()
    assert lines[2] == "| softmax | 1.00 (1.00–1.00) | 1.00 |"
    assert lines[3] == "| darts | 0.25 (0.20–0.50) | 0.50 |"


def test_networks_in_turns_take_as_many_steps_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = replace(retraining.CONFIG, channels=2, num_cells=1, batch_size=4)
    monkeypatch.setattr(retraining, "CONFIG", small)
    alone = Processes(0, 1, torch.device("cpu"))
    trainers = retraining.make(2, True, alone, noise(8, 32, 2))
    retraining.advance(trainers, 3)
    first = retraining.EAGER_STEPS + 1
    assert [trainer.step for trainer in trainers] == [first + 3] * 2
    assert trainers[0].network.genotype != trainers[1].network.genotype
    lines = retraining.table({"one": 24.0, "8 networks in turns": 2.5}).splitlines()
    assert lines[2:] == ["| one | 24.00 | 1.0 |", "| 8 networks in turns | 2.50 | 9.6 |"]
    if not torch.cuda.is_available():
        monkeypatch.setattr(sys, "argv", ["retraining"])
        with pytest.raises(SystemExit):
            retraining.main()
        assert "torch finds none here" in capsys.readouterr().err


def test_searches_are_timed_with_recordings_and_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(searching, "STEPS", 1)
    config, _ = searching.CASES["nasbench201, weights alone"]
    small = replace(config, channels=2, num_cells=1, batch_size=4, threads=1)
    alone = Processes(0, 1, torch.device("cpu"))
    times = searching.measure({"weights": (small, False), "both": (small, True)}, 1, alone)
    assert list(times) == ["weights", "both"]
    assert all(ms > 0 for pair in times.values() for ms in pair)
    assert searching.table({"both": (24.0, 16.0)}).splitlines()[2] == "| both | 24.0 | 16.0 | 1.5 |"
    if not torch.cuda.is_available():
        monkeypatch.setattr(sys, "argv", ["searching"])
        with pytest.raises(SystemExit):
            searching.main()
        assert "torch finds none here" in capsys.readouterr().err
