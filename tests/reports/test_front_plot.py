"""The front's picture: legible, in the right units, the same every time."""

import itertools
import random
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image
from test_cell_graph import SVG, Box, text_width

from nas.reports.front_plot import RANDOM, TEST, VALIDATION, draw_front


def front_rows(num_cells: int, low: float, high: float, cost: str = "params") -> list[dict]:
    """Cells from expensive to inexpensive, accuracy falling with noise, λ from 0.001 to 10."""
    draw = random.Random(num_cells)
    rows = []
    for i in range(num_cells):
        share = i / (num_cells - 1)
        price = high * (low / high) ** share
        accuracy = 0.99 - 0.1 * share**2 + draw.uniform(-0.006, 0.006)
        rows.append({f"lam_{cost}": 1e-3 * 1e4**share, cost: price, "val_accuracy": accuracy})
    for row in rows:
        cheaper = (other for other in rows if other[cost] < row[cost])
        row["pareto"] = all(other["val_accuracy"] < row["val_accuracy"] for other in cheaper)
    return rows


def front_texts(path: Path) -> list[Box]:
    """Text and extent of everything written in a front's SVG, by DejaVu Sans's own widths."""
    boxes = []
    for text in ET.parse(path).getroot().iter(f"{SVG}text"):
        style = text.get("style")
        size = float(re.search(r"([\d.]+)px", style).group(1))
        anchor = re.search(r"text-anchor: (\w+)", style)
        width = text_width(text.text, size)
        shift = {"middle": 0.5, "end": 1.0}.get(anchor.group(1) if anchor else "", 0.0)
        left, y = float(text.get("x")) - shift * width, float(text.get("y"))
        boxes.append(Box(left, left + width, y - 0.75 * size, y, text.text, size))
    return boxes


@pytest.mark.parametrize("num_cells", [3, 12, 40])
def test_no_two_texts_of_a_front_overlap(num_cells: int, tmp_path: Path) -> None:
    rows = front_rows(num_cells, 12e3, 1.4e6)
    retrained = [
        {"params": row["params"], "mean": 0.5 + row["val_accuracy"] / 2, "std": 0.002}
        for row in rows[::3]
    ]
    draw_front(rows, tmp_path / "front.svg", ["params"], retrained)
    boxes = front_texts(tmp_path / "front.svg")
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other), (one, other)
    texts = {box.text for box in boxes}
    assert {"accuracy", "parameters", "λ", "λ = 10", f"{TEST}, mean ± s.d.", VALIDATION} <= texts


def test_a_single_seed_has_no_error_bar(tmp_path: Path) -> None:
    rows = front_rows(3, 12e3, 1.4e6)
    bars = {}
    for std in (None, 0.002):
        point = {"params": 5e4, "mean": 0.9, "std": std}
        draw_front(rows, tmp_path / "front.svg", ["params"], [point])
        bars[std] = (tmp_path / "front.svg").read_text().count('id="LineCollection')
        texts = {box.text for box in front_texts(tmp_path / "front.svg")}
        assert (TEST in texts) == (std is None)
    assert bars[0.002] == bars[None] + 2  # its own and the legend's


def test_random_cells_are_a_band_and_every_mark_is_named(tmp_path: Path) -> None:
    rows = front_rows(12, 12e3, 90e3)
    chance = [
        {"params": 12e3 + 2e3 * i, "val_accuracy": 0.8 + 0.02 * (i % 5), "over": "params"}
        for i in range(40)
    ]
    draw_front(rows, tmp_path / "with.svg", ["params"], chance=chance)
    draw_front(rows, tmp_path / "without.svg", ["params"])
    texts, plain = (
        {b.text for b in front_texts(tmp_path / name)} for name in ("with.svg", "without.svg")
    )
    assert texts >= {RANDOM, VALIDATION, "accuracy"} and RANDOM not in plain and TEST not in texts


def test_two_costs_have_a_panel_and_a_colour_each(tmp_path: Path) -> None:
    rows = [
        row | {"lam_latency": 10 - row["lam_params"] * 0.9, "latency": row["params"] / 1e4}
        for row in front_rows(12, 12e3, 90e3)
    ]
    draw_front(rows, tmp_path / "front.svg", ["params", "latency"])
    boxes = front_texts(tmp_path / "front.svg")
    texts = [box.text for box in boxes]
    assert {
        "parameters",
        "latency, ms per batch, operation by operation",
        "λ of params",
        "λ of latency",
    } <= {*texts}
    assert texts.count("accuracy") == 2 and texts.count(VALIDATION) == 1
    assert {"λ = 10", "λ = 1"} <= {*texts}  # the largest of the first, the least of the second
    for one, other in itertools.combinations(boxes, 2):
        assert not one.overlaps(other), (one, other)


def test_cost_axis_is_logarithmic_over_more_than_a_decade(tmp_path: Path) -> None:
    draw_front(front_rows(12, 12e3, 1.4e6), tmp_path / "log.svg", ["params"])
    draw_front(front_rows(12, 12e3, 90e3), tmp_path / "linear.svg", ["params"])
    log, linear = (
        {box.text: box.left for box in front_texts(tmp_path / file)}
        for file in ("log.svg", "linear.svg")
    )
    assert log["200 k"] - log["20 k"] == pytest.approx(log["1 M"] - log["100 k"], abs=8)
    assert linear["80 k"] - linear["60 k"] == pytest.approx(linear["40 k"] - linear["20 k"])


@pytest.mark.parametrize(
    ("cost", "value", "tick"),
    [("params", 12e3, "12 k"), ("latency", 2.0, "2"), ("kl", 0.25, "0.25")],
)
def test_a_front_of_one_cell(cost: str, value: float, tick: str, tmp_path: Path) -> None:
    rows = [{f"lam_{cost}": 0.3, cost: value, "val_accuracy": 0.95, "pareto": True}]
    draw_front(rows, tmp_path / "front.svg", [cost])
    texts = {box.text for box in front_texts(tmp_path / "front.svg")}
    assert {tick, "λ = 0.3", "95%"} <= texts


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.4, 13.0, {"0.5", "2", "10"}), (8.0, 13.0, {"8", "12"}), (300.0, 1500.0, {"400", "1200"})],
)
def test_latency_is_in_milliseconds(
    low: float, high: float, ticks: set[str], tmp_path: Path
) -> None:
    draw_front(front_rows(8, low, high, "latency"), tmp_path / "front.svg", ["latency"])
    texts = {box.text for box in front_texts(tmp_path / "front.svg")}
    assert ticks | {"latency, ms per batch, operation by operation"} <= texts
    assert {text for text in texts if text.endswith((" s", "ms", " k", "m"))} == set()


@pytest.mark.parametrize("step", [0.0, 1e-16])
@pytest.mark.parametrize("accuracy", [0.0, 0.9, 1.0])
def test_equal_accuracies(accuracy: float, step: float, tmp_path: Path) -> None:
    rows = [
        {
            "lam_params": lam,
            "params": 3000 - lam,
            "val_accuracy": accuracy * (1 - step * lam),
            "pareto": lam > 2,
        }
        for lam in (1, 2, 3)
    ]
    draw_front(rows, tmp_path / "front.svg", ["params"])
    texts = {box.text for box in front_texts(tmp_path / "front.svg")}
    assert {f"{100 * accuracy:g}%", "λ = 3"} <= texts
    ticks = sorted(float(text[:-1]) for text in texts if text.endswith("%"))
    assert 0 <= ticks[0] < ticks[-1] <= 100
    assert 0.5 <= ticks[-1] - ticks[0] <= 2


def test_fronts_are_the_same_every_time(tmp_path: Path) -> None:
    rows = front_rows(12, 12e3, 90e3)
    for name in ("one.svg", "two.svg", "one.png"):
        draw_front(rows, tmp_path / name, ["params"])
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert b"date" not in (tmp_path / "one.svg").read_bytes()
    with Image.open(tmp_path / "one.png") as png:
        assert png.size == (960, 576)
