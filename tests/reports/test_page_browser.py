"""The page of a search in a real Chromium: what a hand does, what an eye sees."""

import csv
import io
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Page, chromium, find_browser
from PIL import Image

from nas.commands.answers import within_budget
from nas.commands.report import command
from nas.reports.page import PAGE
from nas.reports.report import read_rows


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    """A tab, for all tests of this file; they fail if it tells of a fault or asks for anything."""
    path = find_browser()
    if path is None:
        pytest.skip("a browser wanted: no chromium is installed")
    with chromium(path) as tab:
        yield tab


@pytest.fixture
def tab(browser: Page, shown_run: Path) -> Iterator[Page]:
    """The page, freshly opened, of a desktop's size."""
    browser.look(1280, 900)
    browser.open(shown_run / PAGE, "#lam=0.001")
    yield browser
    assert browser.faults == []
    assert {address.partition("#")[0] for address in browser.requests} == {
        (shown_run / PAGE).resolve().as_uri()
    }


def readouts(tab: Page) -> dict[str, str]:
    """What stands under λ, params, accuracy, …"""
    pairs = tab.run(
        "[...document.querySelectorAll('.readout')].map((e) => "
        "[e.querySelector('span').textContent, e.querySelector('b').textContent])"
    )
    return dict(pairs)


def commands(tab: Page) -> list[str]:
    texts: list[str] = tab.run(
        "[...document.querySelectorAll('#commands code')].map((e) => e.textContent)"
    )
    return texts


def labels(tab: Page) -> list[str]:
    """Operations of the edges that the cell keeps, in order."""
    texts: list[str] = tab.run(
        "[...document.querySelectorAll('.pill:not(.off)')].map((e) => e.children[2].textContent)"
    )
    return texts


def test_the_keyboard_moves_lam_and_the_cell_with_it(tab: Page, shown_run: Path) -> None:
    rows = read_rows(shown_run)
    assert readouts(tab)["λ"] == "0.001"
    assert readouts(tab)["accuracy"] == f"{100 * rows[0]['val_accuracy']:.2f} %"
    before = labels(tab)
    tab.press("ArrowRight")
    assert readouts(tab)["λ"] == "0.00158"  # one of 20 steps in four decades: 10^0.2
    tab.press("End")
    assert readouts(tab)["λ"] == "10"
    assert readouts(tab)["accuracy"] == f"{100 * rows[-1]['val_accuracy']:.2f} %"
    assert labels(tab) != before
    tab.press("Home")
    assert labels(tab) == before
    tab.press("]")
    assert rows[1]["genotype"] in commands(tab)[1]
    tab.press("[")
    assert rows[0]["genotype"] in commands(tab)[1]


def test_the_slider_moves_the_cell_the_commands_and_the_address(tab: Page, shown_run: Path) -> None:
    tab.run("document.getElementById('lam-0').focus()")
    for _ in range(20):
        tab.press("ArrowRight")
    last = read_rows(shown_run)[-1]
    ask, retrain, export = commands(tab)
    assert ask == f"python -m nas ask {shown_run} --lam 10"
    assert retrain.startswith(f"python -m nas retrain --genotype {shown_run}/{last['file']} --out ")
    assert export.startswith("python -m nas export ") and export.endswith(" --to onnx")
    tab.wait("location.hash === '#lam=10'")


def test_the_address_leads_to_a_cell(tab: Page) -> None:
    tab.run("void (location.hash = '#lam=0.1&cost=latency&pin=10')")
    tab.wait("document.querySelector('.readout b').textContent === '0.1'")
    tab.settle()
    assert tab.run("document.querySelector('#cost-axis [aria-pressed=true]').value") == "latency"
    assert "λ = 10" in tab.run("document.getElementById('pinned').textContent")


def test_a_click_on_a_point_jumps_to_its_cell(tab: Page, shown_run: Path) -> None:
    rows = read_rows(shown_run)
    number = max(range(len(rows)), key=lambda i: rows[i]["lams"])  # covered by no other, say
    tab.click(f"circle[data-cell='{number}']")
    assert rows[number]["genotype"] in commands(tab)[1]
    assert not tab.run("document.getElementById('tip').hidden")
    assert f"{100 * rows[number]['val_accuracy']:.2f} %" in tab.run(
        "document.getElementById('tip').textContent"
    )
    tab.click("[data-retrained='0']")
    assert rows[0]["genotype"] in commands(tab)[1]
    assert readouts(tab)["retrained"] == "91.00 %"


def test_a_budget_buys_what_the_command_says(tab: Page, shown_run: Path) -> None:
    rows = read_rows(shown_run)
    costs = sorted(row["params"] for row in rows)
    for most in (costs[1], costs[-2], costs[-1] + 1):
        tab.run("document.getElementById('budget').value = ''")
        tab.press("b")
        tab.type(f"≤ {most:,.0f}")
        genotype, told = within_budget(shown_run, {"params": most})
        assert genotype.id in commands(tab)[1]
        said = tab.run("document.getElementById('told').textContent")
        assert ("next step up" in said) == (not told[2].endswith("none"))
        tab.run("document.activeElement.blur()")
    tab.run("document.getElementById('budget').value = ''")
    tab.press("b")
    tab.type("1")
    assert tab.run("document.getElementById('told').textContent").startswith("No cell is within 1 ")
    tab.type("x")
    assert "is a number of" in tab.run("document.getElementById('told').textContent")


def test_a_pinned_cell_is_compared(tab: Page, shown_run: Path) -> None:
    tab.press("p")
    assert "same cell" in tab.run("document.getElementById('pinned').textContent")
    tab.press("End")
    document = json.loads(tab.run("document.getElementById('data').textContent"))
    first, last = (
        document["cells"][document["cellAt"][0]],
        document["cells"][document["cellAt"][-1]],
    )
    changed = [i for i, (a, b) in enumerate(zip(first, last, strict=True)) if a != b]
    assert tab.run("document.querySelectorAll('#pinned li').length") == len(changed) > 0
    tab.wait("location.hash === '#lam=10&pin=0.001'")
    tab.click("#pin")
    assert tab.run("document.getElementById('pinned').hidden")


def test_the_strip_has_a_tick_wherever_the_cell_switches(tab: Page) -> None:
    document = json.loads(tab.run("document.getElementById('data').textContent"))
    at = document["cellAt"]
    switches = [i for i in range(1, len(at)) if at[i] != at[i - 1]]
    ticks = tab.run(
        "[...document.querySelectorAll('.strip line')].map((e) => Number(e.getAttribute('x1')))"
    )
    assert ticks == pytest.approx([100 * (i - 0.5) / (len(at) - 1) for i in switches])


def test_epochs_can_be_looked_back_at(tab: Page) -> None:
    assert readouts(tab)["accuracy"] != "–"
    tab.run("document.getElementById('epoch').focus()")
    tab.press("Home")
    assert tab.run("document.getElementById('epoch-name').textContent") == "epoch 1"
    assert readouts(tab)["accuracy"] == "–"
    assert tab.run("document.querySelectorAll('#panels .now').length") == 4
    tab.press("End")
    assert readouts(tab)["accuracy"] != "–"


def test_tables_are_saved_as_they_are(tab: Page, shown_run: Path, tmp_path: Path) -> None:
    tab.call("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    tab.run("document.querySelectorAll('details').forEach((e) => { e.open = true; })")
    tab.press("p")
    names = tab.run("[...document.querySelectorAll('.csv')].map((e) => e.title.slice(8))")
    assert {*names} == {
        "changed-edges.csv",
        "cells.csv",
        "settings.csv",
        "switches.csv",
        "training.csv",
    }
    tab.click("#table .csv")
    path = tmp_path / "cells.csv"
    for _ in range(500):
        if path.exists() and path.stat().st_size:
            break
        tab.settle()
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    rows = read_rows(shown_run)
    assert [row["genotype"] for row in found] == [row["genotype"] for row in rows]
    assert [float(row["accuracy"]) for row in found] == [row["val_accuracy"] for row in rows]


def test_names_of_a_user_stay_text(browser: Page, shown_run: Path, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)> '\"><b>&amp; {{data}} $(touch x)"
    hostile = shutil.copytree(shown_run, tmp_path / name)
    values = json.loads((hostile / "config.json").read_text())
    command([str(hostile)])
    page = (hostile / PAGE).read_text()
    (tmp_path / "settings.html").write_text(
        page.replace('"data":"digits"', json.dumps({"data": "<img src=x onerror=alert(1)>"})[1:-1])
    )
    assert values["data"] == "digits"
    elements = (
        "[...document.querySelectorAll('*')].map((e) => e.tagName + e.getAttributeNames())"
        ".filter((e) => !e.startsWith('lineclass,x1')).sort()"
    )
    browser.look(1280, 900)
    browser.open(shown_run / PAGE, "#lam=0.001")
    plain = browser.run(elements)
    for path in (hostile / PAGE, tmp_path / "settings.html"):
        browser.open(path, "#lam=0.001")
        browser.settle()
        assert browser.run(elements) == plain
    browser.open(hostile / PAGE)
    assert browser.run("document.getElementById('name').textContent") == name
    assert browser.run("document.title") == name
    # What is copied into a shell names the folder, and runs nothing.
    assert shlex.split(commands(browser)[0])[4] == str(hostile)
    assert browser.faults == []


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, False), (1280, True)])
def test_it_is_seen_whole(tab: Page, width: int, dark: bool) -> None:
    """No part lies beside the window, and the colours are those of the scheme."""
    tab.look(width, 900, dark=dark)
    tab.settle()
    assert tab.run("document.documentElement.scrollWidth") <= width
    sticking = tab.run(
        "[...document.querySelectorAll('h1, h2, button, #dial *, .plot svg')].filter((e) => {"
        "const b = e.getBoundingClientRect();"
        "return b.width && (b.left < -1 || b.right > innerWidth + 1);"
        "}).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert sticking == []
    picture = Image.open(io.BytesIO(tab.screenshot())).convert("L")
    if folder := os.environ.get("NAS_SCREENSHOTS"):
        picture = Image.open(io.BytesIO(tab.screenshot(whole=True)))
        picture.save(Path(folder) / f"report-{width}{'-dark' if dark else ''}.png")
        picture = picture.convert("L")
    histogram = picture.histogram()
    paper = max(range(256), key=histogram.__getitem__)
    assert paper < 40 if dark else paper > 240
    assert sum(histogram[60:200]) > 0.004 * picture.width * picture.height  # not an empty page
