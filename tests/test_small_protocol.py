"""The small protocol, on digits: every cell retrained alike, goes on where it stopped."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cells.genotype import Genotype
from cells.sampling import random_cell
from cells.space import find_space
from experiments import small_protocol
from experiments.small_protocol import RANDOM_SHARES, curve, protocol, shortened, table


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks and epochs that take a second."""
    sizes = {"channels": 2, "num_cells": 1, "batch_size": 128, "threads": 1, "device": "cpu"}
    monkeypatch.setattr(small_protocol, "LAMS", 2)
    monkeypatch.setattr(small_protocol, "RANDOM_SHARES", (0.0, 1.0))
    monkeypatch.setattr(
        small_protocol,
        "SEARCH",
        replace(small_protocol.SEARCH, **sizes, crop_padding=1, epochs=20, warmup_epochs=10,
                eval_images=100, grid=3),
    )  # fmt: skip
    monkeypatch.setattr(
        small_protocol,
        "RETRAIN",
        replace(small_protocol.RETRAIN, **sizes, cutout=2, crop_padding=1, epochs=20),
    )


def test_every_cell_is_retrained_alike(small: None, tmp_path: Path) -> None:
    rows = protocol("digits", Path("data"), tmp_path, [0, 1], share=0.05)
    assert [row["kind"] for row in rows] == ["ours"] * 4 + ["random"] * 2 + ["DARTS"]
    assert [len(row["accuracies"]) for row in rows] == [1] * 4 + [2] * 3
    settings = set()
    for folder in (tmp_path / "retrained").iterdir():
        if folder.is_dir():
            config = small_protocol.read_retraining(folder)
            settings.add(replace(config, genotype="", seeds=(0,)))
    assert len(settings) == 1
    text = table(rows).splitlines()
    assert len(text) == 2 + len(rows)
    assert all(line.count("|") == text[0].count("|") for line in text)


def test_what_is_finished_is_only_read(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = protocol("digits", Path("data"), tmp_path, [0], share=0.05)
    (tmp_path / "retrained" / "random-1" / "result.json").unlink()
    monkeypatch.setattr(small_protocol, "search", None)
    again = protocol("digits", Path("data"), tmp_path, [0], share=0.05)
    assert again == first
    monkeypatch.setattr(small_protocol, "retrain", None)
    assert protocol("digits", Path("data"), tmp_path, [0], share=0.05) == first


def test_random_cells_are_those_of_earlier_results() -> None:
    """Results are kept under the numbers of these cells."""
    draw, space = random.Random(0), find_space("darts")
    cells = [random_cell(space, draw, convolutions=share) for share in RANDOM_SHARES]
    assert [Genotype.from_choices(space, cell).id for cell in cells] == [
        "19200dd7ba", "1df53a2ea8", "8e93e0cc55", "6d65bdef4c", "e06ff469f1", "35a678b516",
        "1cd86ba11a",
    ]  # fmt: skip


def test_the_curve_of_random_cells() -> None:
    sizes = [10_000.0, 20_000.0, 50_000.0, 100_000.0, 200_000.0]
    points = [(size, 0.2 + 0.05 * np.log(size)) for size in sizes]
    for number in (2, 5):
        assert np.polyval(curve(points[:number]), np.log(30_000)) == pytest.approx(
            0.2 + 0.05 * np.log(30_000)
        )


def test_a_share_of_the_epochs_is_at_least_one() -> None:
    assert shortened(small_protocol.SEARCH, 0.1).epochs == 5
    assert shortened(small_protocol.SEARCH, 0.1).warmup_epochs == 2
    assert shortened(small_protocol.RETRAIN, 0.001).epochs == 1
