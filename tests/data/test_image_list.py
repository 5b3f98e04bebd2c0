"""Lists of files and classes, in CSV and JSON."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from cells.errors import InputError
from nas.data.datasets import load_data
from nas.data.examples import load_task

ROWS = [
    (f"pictures/{i}.png", ("cat", "dog")[i % 2], ("train", "val", "test")[i // 4])
    for i in range(12)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve grey images, each of its own number."""
    (tmp_path / "pictures").mkdir()
    for i in range(12):
        Image.new("L", (4, 4), i).save(tmp_path / "pictures" / f"{i}.png")
    return tmp_path


def write(path: Path, columns: str, rows: list[tuple[str, ...]]) -> str:
    path.write_text("\n".join([columns, *map(",".join, rows)]) + "\n", encoding="utf-8-sig")
    return str(path)


def test_a_list_has_files_classes_and_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(folder / "mine.csv", "File_Name,Label,split", ROWS)
    data = load_data(source, Path())
    assert (data.name, data.classes) == ("mine", ("cat", "dog"))
    assert data.val is not None
    found = [part.images[:, 0, 0, 0].tolist() for part in (data.train, data.val, data.test)]
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert data.train.labels.tolist() == [0, 1, 0, 1]

    names = ("path", "class", "part")
    objects = [dict(zip(names, row, strict=True)) for row in ROWS]
    (folder / "mine.json").write_text(json.dumps(objects))
    again = load_data(str(folder / "mine.json"), Path())
    assert again.fingerprint == data.fingerprint
    Image.new("L", (4, 4), 99).save(folder / "pictures" / "5.png")
    assert load_data(source, Path()).fingerprint != data.fingerprint

    # Files lie beside the list, wherever the command is given; or they are named in full.
    monkeypatch.chdir("/")
    full = [(str(folder / file), label) for file, label, _ in ROWS]
    whole = load_data(write(folder / "all.csv", "file,label", full), Path(), image_size=2)
    assert (len(whole.train), len(whole.test), whole.height) == (10, 2, 2)


def test_whole_numbers_are_names(folder: Path) -> None:
    rows = [
        {"file": file, "label": 10 - i % 2, "part": part} for i, (file, _, part) in enumerate(ROWS)
    ]
    (folder / "mine.json").write_text(json.dumps(rows))
    data = load_data(str(folder / "mine.json"), Path())
    assert data.classes == ("9", "10") and data.train.labels.tolist() == [1, 0, 1, 0]


def test_a_search_without_cells_reads_lists_as_well(folder: Path) -> None:
    source = write(folder / "mine.csv", "file,label,part", ROWS)
    task = load_task(source, Path(), val_fraction=0.3)
    assert task.val is not None and task.outputs == 2 and not task.regression
    assert (255 * task.val.x[:, 0, 0, 0]).round().tolist() == [4, 5, 6, 7]
    whole = load_task(source, Path())
    assert whole.val is None and len(whole.train) == 8
    assert torch.equal(whole.test.x, task.test.x)


@pytest.mark.parametrize(
    ("columns", "row", "words"),
    [
        ("file,kind,part", ROWS[0], "has no 'label' among 'file', 'kind', 'part'"),
        ("a,label,part", ROWS[0], "has no 'file' among"),
        ("file,label,part", ("none.png", "cat", "train"), r"line 2: cannot read '.*none.png' \(No"),
        ("file,label,part", ("pictures", "cat", "train"), "pictures' is a folder"),
        ("file,label,part", ("pictures/0.png", "", "train"), "label must be a text, got ''"),
        ("file,label,part", ("pictures/0.png", "cow", "test"), "class in .* line 2 'cow'"),
        ("file,label,part", ("pictures/0.png", "cat", "tset"), "line 2: part 'tset' is none of"),
    ],
)  # fmt: skip
def test_a_list_that_is_none(folder: Path, columns: str, row: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        load_data(write(folder / "mine.csv", columns, [row, *ROWS]), Path())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "is no list of images: it must be an array of objects"),
        ("[1]", "is no list of images"),
        ("[", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "lists no image of the training part"),
        ('[{"file": "a", "file": "b"}]', "'file' stands twice"),
        ('[{"file": "pictures/0.png", "label": true}]', "entry 1: label must be a text, got True"),
        ('[{"file": 1, "label": "a"}]', "entry 1: file must be a text, got 1"),
        ('[{"file": "a\\u0000b", "label": "a"}]', "is not a path"),
    ],
)
def test_json_that_is_none(folder: Path, text: str, words: str) -> None:
    (folder / "mine.json").write_text(text)
    with pytest.raises(InputError, match=words):
        load_data(str(folder / "mine.json"), Path())
