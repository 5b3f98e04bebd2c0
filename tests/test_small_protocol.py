"""The small protocol, on digits: every cell retrained alike, goes on where it stopped."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cells.cell import Skeleton
from cells.cost import cost_table
from cells.space import find_space
from experiments import small_protocol
from experiments.small_protocol import curve, protocol, random_cell, shortened, table

SPACE = find_space("darts")


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


def test_random_cells_have_the_convolutions_they_are_asked_for() -> None:
    draw = random.Random(0)
    table = cost_table("params", Skeleton(SPACE, 3, 10, 32, 32, 16, 3))
    convolutions = [i for i, op in enumerate(SPACE.ops) if "conv" in op]
    for share in (0.0, 0.5, 1.0):
        cells = [random_cell(SPACE, share, draw).choices() for _ in range(200)]
        found = np.mean([sum(op in convolutions for op in cell) / 16 for cell in cells])
        assert found == pytest.approx(share, abs=0.05)
        assert all(sum(op != SPACE.none for op in cell) == 16 for cell in cells)
        if share == 0:
            # A skip that halves its input has weights of its own.
            assert max(table.total(cell) for cell in cells) < 2.5 * table.low < table.high


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
