"""The page about several searches: hypervolumes, settings that differ, what is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
from chromium import chromium, find_browser

from cells.errors import InputError
from nas.cell_search.folder import read_run
from nas.commands.compare import command
from nas.reports.compare import comparison, differing
from nas.reports.report import read_rows

RUNS = Path(__file__).parents[1] / "golden" / "runs"


@pytest.fixture(scope="module")
def page(shown_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page about two runs, one of which has a hostile name."""
    folder = tmp_path_factory.mktemp("compared")
    other = shutil.copytree(RUNS / "nasbench201", folder / "<img src=x onerror=alert(1)>")
    command([str(shown_run), str(other), "--out", str(folder / "compare.html")])
    return folder / "compare.html"


def test_shares_are_areas_under_the_fronts(page: Path, shown_run: Path) -> None:
    """Against a sum over a fine grid of costs of the best accuracy within each."""
    found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    document = json.loads(found[1])
    for cost in ("params", "flops"):
        front = document["fronts"][cost]["val_accuracy"]
        every = [point for points in front["points"] for point in points]
        low, high = min(p[0] for p in every), max(p[0] for p in every)
        worst, best = min(p[1] for p in every), max(p[1] for p in every)
        for points, share in zip(front["points"], front["shares"], strict=True):
            steps = 20_000
            total = 0.0
            for i in range(steps):
                budget = low + (high - low) * (i + 0.5) / steps
                total += max((p[1] - worst for p in points if p[0] <= budget), default=0.0)
            assert share == pytest.approx(total / steps / (best - worst), abs=1e-3)
    rows = read_rows(shown_run)
    assert document["fronts"]["params"]["val_accuracy"]["points"][0] == [
        [cost, accuracy, None]
        for cost, accuracy in sorted((row["params"], row["val_accuracy"]) for row in rows)
    ]
    retrained = document["fronts"]["params"]["retrained"]["points"]
    assert [point[1:] for point in retrained[0]] == [[0.85, None], [0.91, 0.01]]
    assert retrained[1] == []


def test_only_settings_that_differ_are_listed() -> None:
    runs = [{"a": 1, "b": [1, 2], "c": None}, {"a": 1, "b": [1, 3], "d": 4}]
    assert differing(runs) == {"b": [[1, 2], [1, 3]], "d": [None, 4]}
    assert differing(runs[:1]) == {}


def test_runs_of_one_name_are_told_apart_by_their_paths(shown_run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(shown_run, tmp_path / shown_run.name)
    settings = read_run(shown_run)[0].to_dict()
    found = comparison({shown_run: settings, other: settings})
    assert [run["label"] for run in found["runs"]] == [str(shown_run), str(other)]
    assert found["settings"] == {} and found["sameData"]


def test_what_cannot_be_compared_is_refused_in_one_line(shown_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "compare.html"
    again = f"{shown_run.parent}/./{shown_run.name}"
    for args, message in (
        ([str(shown_run)], "compare takes 2 to 30 runs, got 1"),
        ([str(shown_run), again], "is named twice"),
        ([str(shown_run), str(RUNS / "interrupted")], "front.csv does not exist: finish"),
        ([str(shown_run), str(RUNS / "mlp-digits")], "is a search in the space mlp: it has no"),
    ):
        with pytest.raises(InputError, match=message):
            command([*args, "--out", str(out)])
        assert not out.exists()
    out.write_text("mine")
    with pytest.raises(InputError, match="exists: choose another --out"):
        command([str(shown_run), str(RUNS / "nasbench201"), "--out", str(out)])
    assert out.read_text() == "mine"


def test_it_is_drawn_by_a_browser_and_loads_nothing(page: Path) -> None:
    path = find_browser()
    if path is None:
        pytest.skip("a browser wanted: no chromium is installed")
    with chromium(path) as tab:
        tab.look(390, 800)
        tab.open(page)
        assert tab.run("document.querySelectorAll('#board tbody tr').length") == 2
        dots = tab.run("document.querySelectorAll('.point').length")
        tab.click("#cost-axis [value=flops]")
        assert tab.run("document.querySelectorAll('.point').length") == dots > 4
        tab.click("#kind [value=retrained]")
        assert tab.run("document.querySelectorAll('.point').length") == 2
        assert tab.run("document.querySelectorAll('img').length") == 0
        assert "<img src=x" in tab.run("document.getElementById('board').textContent")
        assert tab.run("document.documentElement.scrollWidth") <= 390
        assert tab.faults == []
        assert tab.requests == [page.resolve().as_uri()]
