"""Before its first step a run does, on little, what it does after the last one."""

import csv
import errno
import random
from pathlib import Path
from typing import Any

import pygraphviz
import pytest
import torch
from torch.utils._pytree import tree_leaves

import nas.cell_search.run as cell_run
import nas.weight_search.run as weight_run
from cells.errors import InputError
from nas.cell_search.config import SearchConfig
from nas.cell_search.searcher import Searcher
from nas.retraining import job
from nas.retraining import run as retraining
from nas.retraining.config import RetrainConfig
from nas.retraining.trainer import Trainer
from nas.run import AnyConfig, kind_of, search
from nas.runtime.processes import start_processes
from nas.weight_search.config import WeightConfig
from nas.weight_search.searcher import WeightSearcher

CELLS = SearchConfig(channels=2, num_cells=1, epochs=9, device="cpu", threads=1, finalists=9)
WEIGHTS = WeightConfig(data="digits", layers=("4",), epochs=9, grid=5, device="cpu", threads=1)
TUNED = WeightConfig(
    data="digits", layers=("4",), epochs=9, val_fraction=0.2, tune="local", device="cpu", threads=1
)


def full(*args: Any, **kwargs: Any) -> None:
    """Fails as it does where there is no space."""
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """No training comes to its first step."""
    for kind in (Searcher, WeightSearcher, Trainer):
        monkeypatch.setattr(kind, "advance", lambda _: pytest.fail("the first step was taken"))


@pytest.mark.parametrize("config", [CELLS, WEIGHTS, TUNED], ids=["cells", "weights", "tuned"])
def test_a_rehearsal_leaves_the_search_as_it_was(config: AnyConfig, tmp_path: Path) -> None:
    ends = []
    for rehearsed in (False, True):
        torch.manual_seed(3)
        random.seed(3)
        searcher = kind_of(config).begin(config, start_processes("cpu"), None)
        if rehearsed:
            kind_of(config).rehearse(searcher, tmp_path)
        searcher.advance()
        searcher.look()
        state = {name: part for name, part in searcher.state().items() if name != "tables"}
        ends.append([*tree_leaves(state), torch.get_rng_state(), *random.getstate()[1]])
    assert len(ends[0]) == len(ends[1])
    for one, other in zip(*ends, strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    with open(tmp_path / "front.csv", newline="") as file:
        assert len(list(csv.reader(file))) >= 2
    assert (tmp_path / "metrics.jsonl").read_text().startswith('{"step": 0')


@pytest.mark.parametrize(
    ("config", "owner", "name"),
    [
        (CELLS, cell_run, "write_report"),
        (CELLS, cell_run, "draw_letter"),
        (CELLS, cell_run, "write_search_page"),
        (CELLS, pygraphviz.AGraph, "draw"),
        (WEIGHTS, weight_run, "weight_rows"),
        (TUNED, weight_run, "tuned_rows"),
        (WEIGHTS, weight_run, "write_weights_page"),
    ],
)
@pytest.mark.usefixtures("first_step")
def test_what_fails_in_the_end_fails_before_the_first_step(
    config: AnyConfig, owner: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, full)
    with pytest.raises(OSError, match="No space left"):
        search(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("first_step")
def test_a_setting_that_no_genotype_notes_is_refused_before_the_first_step(tmp_path: Path) -> None:
    config = SearchConfig(channels=2, num_cells=1, eval_images=10**20, device="cpu", threads=1)
    with pytest.raises(InputError, match=f"must not hold '{10**20}': .* to 20 digits"):
        search(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("first_step")
def test_a_network_that_cannot_be_saved_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
    config = RetrainConfig(genotype=cell, data="digits", channels=2, num_cells=1, device="cpu")
    monkeypatch.setattr(job, "save_network", full)
    with pytest.raises(OSError, match="No space left"):
        retraining.retrain(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
