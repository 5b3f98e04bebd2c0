"""Pictures of cells: complete, legible, the same every time."""

import itertools
import os
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import matplotlib
import pytest
import torch
from PIL import ImageFont

from cells.genotype import Genotype
from cells.notation import from_darts, from_nasbench201, to_darts
from cells.space import SPACES, SearchSpace
from nas.__main__ import main
from nas.reports.cell_graph import draw_genotype, draw_supernet

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"
DEJAVU = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
# Published in quark0/darts, cnn/genotypes.py.
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
NASBENCH = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"


class Box(NamedTuple):
    """What a node of the drawing covers, and what it says; lengths in points."""

    left: float
    right: float
    top: float
    bottom: float
    text: str
    size: float

    def overlaps(self, other: "Box") -> bool:
        apart = (
            self.right <= other.left
            or other.right <= self.left
            or self.bottom <= other.top
            or other.bottom <= self.top
        )
        return not apart


def random_genotype(space: SearchSpace, seed: int) -> Genotype:
    draw = random.Random(seed)
    choices = [space.none] * space.num_edges
    for kind in space.kinds:
        for target in range(space.num_inputs, space.num_inputs + space.num_nodes):
            count = space.inputs_per_node or draw.randint(0, target)
            for source in draw.sample(range(target), count):
                row = space.first_edge(kind) + space.cell_edges.index((source, target))
                choices[row] = draw.randrange(1, len(space.ops))
    return Genotype.from_choices(space, choices)


def drawing(path: Path, kind: str | None = None) -> ET.Element:
    """The SVG of a cell, or of one kind among several."""
    root = ET.parse(path).getroot()
    if kind is None:
        return root
    (found,) = root.findall(f"{SVG}svg[@id='{kind}']")
    return found


def node_boxes(path: Path, kind: str | None = None) -> dict[str, Box]:
    """Name of each node of a cell's SVG -> its outline and label."""
    boxes = {}
    for group in drawing(path, kind).iter(f"{SVG}g"):
        if group.get("class") == "node":
            outline = group.find(f"{SVG}path").get("d")
            text = group.find(f"{SVG}text")
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", outline)]
            xs, ys = numbers[0::2], numbers[1::2]
            boxes[group.find(f"{SVG}title").text] = Box(
                min(xs), max(xs), min(ys), max(ys), text.text, float(text.get("font-size"))
            )
    return boxes


def text_width(text: str, size: float) -> float:
    return ImageFont.truetype(DEJAVU, 100).getlength(text) * size / 100


def assert_legible(boxes: dict[str, Box]) -> None:
    for one, other in itertools.combinations(boxes.values(), 2):
        assert not one.overlaps(other), (one, other)
    for box in boxes.values():
        assert text_width(box.text, box.size) < box.right - box.left, box


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_cell_is_complete_and_legible(space: SearchSpace, seed: int, tmp_path: Path) -> None:
    genotype = random_genotype(space, seed)
    path = draw_genotype(genotype, tmp_path / "cell")
    assert path == tmp_path / "cell.svg" and list(tmp_path.iterdir()) == [path]
    several = len(space.kinds) > 1
    root = drawing(path)
    assert [text.text for text in root.findall(f"{SVG}text")] == [*space.kinds] * several
    bottom = 0.0
    for kind in space.kinds:
        boxes = node_boxes(path, kind if several else None)
        assert_legible(boxes)
        pills = {name: box.text for name, box in boxes.items() if name.startswith("edge")}
        assert pills == {
            f"edge{edge.source}to{target}": edge.op.replace("_", " ")
            for target, edges in enumerate(genotype.cells[kind], space.num_inputs)
            for edge in edges
        }
        num_states = space.num_inputs + space.num_nodes + space.concat
        assert {name for name in boxes if name not in pills} == {
            f"state{state}" for state in range(num_states)
        }
        part = drawing(path, kind if several else None)
        titles = {title.text for title in part.iter(f"{SVG}title")}
        for name in pills:
            source, target = name.removeprefix("edge").split("to")
            assert {f"state{source}->{name}:w", f"{name}:e->state{target}"} <= titles
        if several:  # one below the other, and inside the picture
            assert float(part.get("y")) > bottom
            bottom = float(part.get("y")) + float(part.get("height"))
            width, height = map(float, root.get("viewBox").split()[2:])
            assert bottom <= height and float(part.get("width")) <= width


def test_states_are_named_as_in_the_papers(tmp_path: Path) -> None:
    draw_genotype(from_darts(DARTS_V2), tmp_path / "darts")
    draw_genotype(from_nasbench201(NASBENCH), tmp_path / "nasbench201")
    darts, nasbench = (
        [
            box.text
            for name, box in sorted(node_boxes(tmp_path / file, kind).items())
            if "state" in name
        ]
        for file, kind in (("darts.svg", "normal"), ("nasbench201.svg", None))
    )
    assert darts == ["c_{k-2}", "c_{k-1}", "0", "1", "2", "3", "c_{k}"]
    assert nasbench == ["input", "1", "2", "output"]


def test_supernet_cell_shows_the_likeliest_operation(tmp_path: Path) -> None:
    space = SPACES["nasbench201"]
    probs = torch.full((6, 5), 0.1)
    for row, op in enumerate((3, 0, 2, 1, 4, 3)):  # row 1 is nearly surely absent
        probs[row, op] = 0.6
    probs[5] = torch.tensor([0.19, 0.19, 0.19, 0.24, 0.19])
    path = draw_supernet(space, probs, tmp_path / "supernet")
    boxes = node_boxes(path)
    assert_legible(boxes)
    assert {name: box.text for name, box in boxes.items() if "edge" in name} == {
        "edge0to1": "nor conv 3x3 60%",
        "edge1to2": "nor conv 1x1 60%",
        "edge0to3": "skip connect 60%",
        "edge1to3": "avg pool 3x3 60%",
        "edge2to3": "nor conv 3x3 24%",
    }
    groups = [g for g in drawing(path).iter(f"{SVG}g") if g.get("class") == "edge"]
    lines = {g.find(f"{SVG}title").text: g.find(f"{SVG}path") for g in groups}

    def line(edge: str) -> tuple[float, str]:
        return float(lines[edge].get("stroke-width", 1)), lines[edge].get("stroke")

    sure, unsure = line("edge0to1:e->state1"), line("edge2to3:e->state3")
    absent = line("state0->state2")
    assert sure[0] > unsure[0] > absent[0]
    # Fading means less saturated: the distance between the strongest and the weakest channel.
    spread = [
        max(channels) - min(channels)
        for channels in (bytes.fromhex(colour[1:]) for _, colour in (sure, unsure, absent))
    ]
    assert spread[0] > spread[1] > spread[2]


@pytest.mark.parametrize("temperature", [0.2, 10.0])
def test_supernet_cells_of_darts_are_legible(temperature: float, tmp_path: Path) -> None:
    space = SPACES["darts"]
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(space.num_edges, len(space.ops), generator=generator)
    probs = torch.softmax(logits / temperature, dim=-1)
    path = draw_supernet(space, probs, tmp_path / "supernet")
    for kind in space.kinds:
        boxes = node_boxes(path, kind)
        assert_legible(boxes)
        first = space.first_edge(kind)
        likeliest = probs[first : first + len(space.cell_edges)].argmax(dim=-1)
        pills = sum(name.startswith("edge") for name in boxes)
        assert pills == (likeliest != space.none).sum()


def test_a_fresh_process_draws_the_same_bytes(tmp_path: Path) -> None:
    """Graphviz leaves labels out of a process's first drawing if it can."""
    command = [sys.executable, "-m", "nas", "draw", DARTS_V2, "--out", str(tmp_path / "fresh")]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    genotype = from_darts(DARTS_V2)
    draw_genotype(genotype, tmp_path / "here" / genotype.id)
    draw_genotype(genotype, tmp_path / "again" / genotype.id)
    printed = [Path(line) for line in run.stdout.splitlines()]
    assert len(printed) == 1 and run.stderr == ""  # no word of Fontconfig
    (path,) = printed
    assert path.read_bytes() == (tmp_path / "here" / path.name).read_bytes()
    assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_an_interrupted_drawing_leaves_the_pictures_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = draw_genotype(from_nasbench201(NASBENCH), tmp_path / "cell")
    before = {path: path.read_bytes()}

    def interrupt(file: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        draw_genotype(random_genotype(SPACES["nasbench201"], 0), tmp_path / "cell")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["nas", "draw", *arguments])
    main()


def test_main_draws_into_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_main(monkeypatch, NASBENCH)
    name = from_nasbench201(NASBENCH).id
    printed = capsys.readouterr().out.split()
    assert printed == [f"pictures/{name}.svg"]
    assert Path(printed[0]).stat().st_size > 100


def test_main_names_pictures_after_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "my cell.txt"
    file.write_text(to_darts(from_darts(DARTS_V2)))
    run_main(monkeypatch, str(file), "--out", str(tmp_path / "there"))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == str(tmp_path / "there" / "my cell.svg")
    assert all(Path(path).exists() for path in printed)


def test_main_draws_every_cell_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "genotypes").mkdir()
    for seed in range(2):
        genotype = random_genotype(SPACES["nasbench201"], seed)
        genotype.save(tmp_path / "genotypes" / f"lam-0.{seed}.json")
    run_main(monkeypatch, str(tmp_path))
    printed = capsys.readouterr().out.splitlines()
    files = sorted(str(path) for path in (tmp_path / "cells").iterdir())
    assert sorted(printed) == files
    assert [Path(path).name for path in printed] == ["lam-0.0.svg", "lam-0.1.svg"]


@pytest.mark.parametrize(
    "source",
    [
        "no_such_genotype",
        "|nor_conv_9x9~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "Genotype(normal=[])",
        "Genotype(" + 300 * "x" + ")",
        "empty-run",
    ],
)
def test_bad_input_gets_one_line(
    source: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty-run").mkdir()
    with pytest.raises(SystemExit) as leaving:
        run_main(monkeypatch, source)
    assert leaving.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not Path("pictures").exists()


def test_a_broken_genotype_of_a_run_draws_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "genotypes").mkdir()
    random_genotype(SPACES["nasbench201"], 0).save(tmp_path / "genotypes" / "a.json")
    (tmp_path / "genotypes" / "b.json").write_text("{")
    with pytest.raises(SystemExit):
        run_main(monkeypatch, str(tmp_path))
    assert not (tmp_path / "cells").exists()
