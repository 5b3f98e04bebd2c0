"""The page of a search: what it says is what the tables say, and it loads and runs nothing else."""

import base64
import hashlib
import json
import random
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nas
from cells.cost import CostTable
from cells.errors import InputError
from cells.notation import read_genotype
from cells.space import SPACES, find_space
from nas.cell_search import run as cell_run
from nas.cell_search.config import SearchConfig
from nas.cell_search.folder import read_run
from nas.cell_search.fronts import make_front, make_hypernet
from nas.cell_search.searcher import Searcher
from nas.commands.report import command
from nas.reports.chance import band, read_chance
from nas.reports.page import PAGE, SEARCH_SCRIPTS, render, write_search_page
from nas.reports.page_curves import panels
from nas.reports.page_data import LAMS_OF_AN_EPOCH, note_distribution, search_document
from nas.reports.page_layout import cell_layout
from nas.reports.report import read_rows
from nas.run import read_any_run, search
from nas.runtime.metrics import MetricsLog

RUNS = Path(__file__).parents[1] / "golden" / "runs"


class Elements(HTMLParser):
    """All tags with their attributes, and the text of each kind of element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.texts: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", ()))

    def handle_data(self, data: str) -> None:
        tag, attrs = self.tags[-1] if self.tags else ("", ())
        name = "data" if ("id", "data") in attrs else tag
        self.texts[name] = self.texts.get(name, "") + data


@pytest.fixture(scope="module")
def page(shown_run: Path) -> Elements:
    return Elements((shown_run / PAGE).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def document(page: Elements) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.texts["data"])
    return found


# -------------------------------------------------------------------- what it says


def test_it_has_the_cells_of_the_table_in_order(document, shown_run: Path) -> None:
    rows = read_rows(shown_run)
    assert document["finished"] and len(document["rows"]) == len(rows) == len(document["cells"])
    for cell, told, row in zip(document["cells"], document["rows"], rows, strict=True):
        choices = [int(column, 36) for column in cell]
        assert tuple(choices) == read_genotype(shown_run / row["file"]).choices()
        for name, column in (("accuracy", "val_accuracy"), ("genotype",) * 2, ("file",) * 2):
            assert told[name] == row[column]
        for name in ("params", "flops", "latency"):
            assert told[name] == pytest.approx(row[name], rel=1e-5)
    runs = [document["cellAt"].count(i) for i in range(len(rows))]
    assert runs == [row["lams"] for row in rows]
    trained = [(row["retrained"], row["retrained_std"]) for row in document["rows"]]
    assert (trained[0], trained[-1]) == ((0.91, 0.01), (0.85, None))
    assert {*trained[1:-1]} == {(None, None)}


def test_its_probabilities_are_those_of_the_hypernetwork(document, shown_run: Path) -> None:
    front = nas.load_front(shown_run)
    probs = front.log_probs(front.lam_range.grid(41)).exp()
    found = torch.tensor(document["probabilities"]["permille"]) / 1000
    assert document["probabilities"]["sizes"] == [41]
    torch.testing.assert_close(found, probs, atol=5.1e-4, rtol=0, check_dtype=False)


def test_its_last_epoch_is_the_search_as_it_ended(document, shown_run: Path) -> None:
    front = nas.load_front(shown_run)
    assert document["history"]["epochs"] == [1, 2, 3]
    probs = front.log_probs(front.lam_range.grid(LAMS_OF_AN_EPOCH)).exp()
    found = torch.tensor(document["history"]["permille"][-1]) / 1000
    torch.testing.assert_close(found, probs, atol=5.1e-4, rtol=0, check_dtype=False)


def test_its_curves_are_those_of_the_log(document, shown_run: Path) -> None:
    rows = MetricsLog(shown_run / "metrics.jsonl").read()
    by_title = {panel["title"]: panel for panel in document["panels"]}
    training = by_title["loss, nats"]["curves"][0]
    assert training["values"] == pytest.approx([row["train_loss"] for row in rows], rel=1e-4)
    highest = by_title["expected parameters"]["curves"][1]
    assert highest["values"] == pytest.approx([row["expected_params"][1] for row in rows], rel=1e-4)
    assert all(panel["at"] == [1, 2, 3] and panel["end"] == 3 for panel in by_title.values())


def test_what_a_log_lacks_is_left_out_and_a_long_one_is_thinned() -> None:
    rows = [{"epoch": i, "a": i / 7, "b": [i, None]} for i in range(1000)] + [{"step": 1}]
    series = {"one": [("a", "a", None), ("c", "c", None)], "two": [("b", "b", 1)]}
    (panel,) = panels(rows, "epoch", series)
    assert [curve["name"] for curve in panel["curves"]] == ["a"]
    assert len(panel["at"]) == 200 and (panel["at"][0], panel["at"][-1]) == (0, 999)
    assert {b - a for a, b in pairwise(panel["at"])} <= {5, 6}
    assert panel["curves"][0]["values"] == pytest.approx([i / 7 for i in panel["at"]], rel=1e-4)


def test_random_cells_become_a_band(document, shown_run: Path) -> None:
    drawn = band(read_chance(shown_run), "params", 20)
    assert drawn is not None
    found = np.array(document["chance"]["params"])
    np.testing.assert_allclose(found, np.stack(drawn, axis=1), rtol=1e-4)


def test_a_running_search_has_a_page_without_accuracies(run_folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(run_folder, tmp_path / "run")
    (run / "front.csv").unlink()
    (run / "distributions.jsonl").unlink()
    (run / "metrics.jsonl").write_text("".join(
        line + "\n" for line in (run / "metrics.jsonl").read_text().splitlines()[:2]
    ))  # fmt: skip
    found = search_document(run, nas.load_front(run), read_run(run)[0].to_dict())
    assert not found["finished"] and (found["epoch"], found["epochs"]) == (2, 3)
    assert {row["accuracy"] for row in found["rows"]} == {None}
    assert found["history"]["epochs"] == [] and found["along"]["params"]["members"] == []
    assert found["probabilities"]["permille"]


@pytest.mark.parametrize("name", ["digits", "nasbench201", "darts-cc", "bounded", "two-searches"])
def test_the_command_writes_the_page_of_an_old_run(name: str, tmp_path: Path, capsys) -> None:
    run = shutil.copytree(RUNS / name, tmp_path / name)
    command([str(run)])
    assert capsys.readouterr().out == f"{run / PAGE}\n"
    found = json.loads(Elements((run / PAGE).read_text()).texts["data"])
    rows = read_rows(run)
    assert sorted(row["accuracy"] for row in found["rows"] if row["accuracy"] is not None) == (
        sorted(row["val_accuracy"] for row in rows)
    )
    assert found["history"]["epochs"] == []


def test_a_damaged_table_is_named(shown_run: Path, tmp_path: Path) -> None:
    for name, text, message in (
        ("chance.csv", "params\n3\n", "chance.csv"),
        ("distributions.jsonl", '{"step": 9, "epoch": 1, "permille": [[[1001]]]}\n', "epoch 1 is"),
    ):
        run = shutil.copytree(shown_run, tmp_path / f"{len([*tmp_path.iterdir()])}")
        (run / name).write_text(text)
        with pytest.raises(InputError, match=message):
            command([str(run)])


# -------------------------------------------------------------------- what it is


def darts_page(folder: Path, costs: tuple[str, ...] = ("params",)) -> bytes:
    """The page of a search of 100 epochs in DARTS' space, with a front that λ moves throughout."""
    generator = torch.Generator().manual_seed(0)
    space, config = find_space("darts"), SearchConfig(space="darts", epochs=100, costs=costs)
    shape = (space.num_edges, len(space.ops))
    tables = {
        name: CostTable(name, 5.0, 1e4 * torch.rand(shape, generator=generator).double())
        for name in ("params", "flops", "latency")
    }
    hypernet = make_hypernet(config, tables)
    hypernet.scores.data = torch.randn(shape, generator=generator)
    front, log = make_front(config, hypernet, tables), MetricsLog(folder / "metrics.jsonl")
    for epoch in range(1, 101):
        ends = {"expected_params": [1e5 / epoch, 1.0], "entropy": [2.0, 1 / epoch]}
        log.append({"step": epoch, "epoch": epoch, "train_loss": 1 / epoch, **ends})
        note_distribution(folder, front, epoch, epoch)
    write_search_page(folder, front, config.to_dict())
    return (folder / PAGE).read_bytes()


@pytest.mark.parametrize("costs", [("params",), ("params", "latency")])
def test_it_is_one_file_of_less_than_300_kilobytes(tmp_path: Path, costs) -> None:
    content = darts_page(tmp_path, costs)
    assert len(content) <= 300_000
    found = json.loads(Elements(content.decode()).texts["data"])
    epochs = found["history"]["epochs"]
    assert len(epochs) >= 10 and (epochs[0], epochs[-1]) == (1, 100)
    gaps = [b - a for a, b in pairwise(epochs)]
    assert max(gaps) - min(gaps) <= 1


def test_its_policy_allows_its_own_scripts_and_styles_and_nothing_else(page: Elements) -> None:
    (policy,) = (
        dict(attrs)["content"] for tag, attrs in page.tags
        if tag == "meta" and ("http-equiv", "Content-Security-Policy") in attrs
    )  # fmt: skip
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        digest = hashlib.sha256(page.texts[tag].encode()).digest()
        assert rules[name] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert rules["img-src"] == "data:"
    # Only the icon, which is empty, names any address; no tag has a style or a handler.
    named = [(tag, name, value) for tag, attrs in page.tags for name, value in attrs
             if name in ("src", "href", "style", "action") or name.startswith("on")]  # fmt: skip
    assert named == [("link", "href", "data:,")]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", page.texts["script"])


def hostile(count: int) -> Iterator[str]:
    """Yields texts that would be tags, attributes, scripts or parts of the page if they could."""
    seeds = [
        "</script><script>alert(1)</script>", "<!--<script>", "-->", "\"'><img src=x onerror=a()>",
        "{{script}}", "{{data}}", "\\u003c/script>", "\u2028\u2029", "&lt;b&gt;", "\ud800", "\x00",
        "</title><b>", "</style>", "]]>", "${alert(1)}", "`", "javascript:alert(1)", "__proto__",
        "' onmouseover='a()", "=1+1", "\r\n", "🙂", "<svg/onload=a()>", "%3Cscript%3E", "\u202e",
    ]  # fmt: skip
    draws = random.Random(0)
    yield from seeds
    for _ in range(count - len(seeds)):
        yield "".join(draws.choices(seeds, k=3))


def everywhere(value: Any, text: str) -> Any:
    """A document with a text in the place of every other."""
    if isinstance(value, dict):
        return {name: everywhere(part, text) for name, part in value.items()}
    if isinstance(value, list):
        return [everywhere(part, text) for part in value]
    return text if isinstance(value, str) else value


def test_hostile_texts_leave_tags_and_attributes_as_they_are(page: Elements, document) -> None:
    texts = [*hostile(100)]
    assert len({*texts}) > 90
    for text in texts:
        settings = document["settings"] | {text: text}
        filled = everywhere(document | {"settings": settings}, text)
        found = Elements(render("search.html", SEARCH_SCRIPTS, text, filled).decode())
        assert found.tags == page.tags
        assert found.texts["script"] == page.texts["script"]
        assert json.loads(found.texts["data"]) == filled


@pytest.mark.parametrize("name", SPACES)
def test_nothing_of_a_layout_covers_another(name: str) -> None:
    space, found = find_space(name), cell_layout(find_space(name))
    boxes = [*found["nodes"], *found["edges"]]
    assert len(found["edges"]) == len(space.cell_edges)
    for i, a in enumerate(boxes):
        assert a["width"] / 2 <= a["x"] <= found["width"] - a["width"] / 2 + 0.2
        assert a["height"] / 2 <= a["y"] <= found["height"] - a["height"] / 2 + 0.2
        for b in boxes[:i]:
            apart = (abs(a[x] - b[x]) >= (a[size] + b[size]) / 2 - 0.2
                     for x, size in (("x", "width"), ("y", "height")))  # fmt: skip
            assert any(apart), (a, b)
    for edge, (source, target) in zip(found["edges"], space.cell_edges, strict=True):
        assert (edge["source"], edge["target"]) == (source, target)
        start, end = found["nodes"][source], found["nodes"][target]
        first, last = _ends(edge["tail"])[0], _ends(edge["head"])[1]
        for (x, y), node in ((first, start), (last, end)):
            assert abs(x - node["x"]) <= node["width"] / 2 + 2
            assert abs(y - node["y"]) <= node["height"] / 2 + 2


def _ends(path: str) -> tuple[tuple[float, float], tuple[float, float]]:
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
    return (numbers[0], numbers[1]), (numbers[-2], numbers[-1])


# -------------------------------------------------------------------- when it is written


def broken(*args: Any) -> None:
    raise OSError("no room for a page")


def test_a_page_that_fails_stops_no_search_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SearchConfig(
        channels=2, num_cells=1, epochs=2, batch_size=512, grid=3, eval_images=20,
        device="cpu", threads=1,
    )  # fmt: skip
    calls = []

    def once(*args: Any) -> None:
        calls.append(args)
        if len(calls) > 1:  # the first is the rehearsal
            broken()

    monkeypatch.setattr(cell_run, "write_search_page", once)
    with pytest.warns(UserWarning, match="was not written: no room for a page; once that is"):
        search(config, tmp_path / "run")
    assert len(calls) == 1 + 1 + 2 + 1  # rehearsed, begun, two epochs, the end
    assert read_rows(tmp_path / "run") and not (tmp_path / "run" / PAGE).exists()


def test_epochs_of_a_run_that_goes_on_are_those_of_one_that_was_not_interrupted(
    run_folder: Path, tmp_path: Path, interrupted
) -> None:
    config, _ = read_any_run(run_folder)
    with interrupted(Searcher, 8):
        search(config, tmp_path / "run")
    log = tmp_path / "run" / "distributions.jsonl"
    log.write_text(log.read_text() + '{"step": 10000, "epoch": 99, "permille": []}\n')
    state = read_any_run(tmp_path / "run")[1]
    search(config, tmp_path / "run", state=state)
    rows = MetricsLog(log).read()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert {row["step"] for row in rows} == {
        row["step"] for row in MetricsLog(run_folder / "metrics.jsonl").read()
    }
    assert rows[0] == MetricsLog(run_folder / "distributions.jsonl").read()[0]
