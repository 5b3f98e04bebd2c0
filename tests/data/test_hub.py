"""Data sets of Hugging Face, made here and saved: nothing is asked of a network."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cells.errors import InputError
from nas.data.datasets import load_data


def test_without_the_package_its_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    (tmp_path / "dataset_dict.json").touch()
    for source in ("hf:mnist", str(tmp_path)):
        with pytest.raises(InputError, match=r"is a data set of Hugging Face: pip install 'lambda"):
            load_data(source, Path())


def table(cache: Path, first: int, count: int, *, names: bool) -> Any:
    """Grey pictures of 4×4 pixels, each of its own number, two classes in turns."""
    datasets = pytest.importorskip("datasets", reason="pip install 'lambda-nas[hub]'")

    def rows() -> Iterator[dict[str, Any]]:
        for number in range(first, first + count):
            file = io.BytesIO()
            Image.new("L", (4, 4), number).save(file, "PNG")
            picture = {"bytes": file.getvalue(), "path": None}
            yield {"picture": picture, "label": number % 2}

    kind = datasets.ClassLabel(names=["even", "odd"]) if names else datasets.Value("int64")
    features = datasets.Features({"picture": datasets.Image(), "label": kind})
    return datasets.Dataset.from_generator(
        rows, features, cache_dir=str(cache / "cache"), fingerprint=f"{first}-{count}-{names}"
    )


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    parts = {
        "train": table(tmp_path, 0, 8, names=True),
        "validation": table(tmp_path, 8, 4, names=True),
    }
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "two")
    data = load_data(str(tmp_path / "two"), Path())
    assert (data.name, data.classes) == ("two", ("even", "odd"))
    assert data.val is None and data.test.images[:, 0, 0, 0].tolist() == [8, 9, 10, 11]
    assert data.train.images[:, 0, 0, 0].tolist() == list(range(8))
    assert data.train.labels.tolist() == [0, 1] * 4

    parts["test"] = table(tmp_path, 12, 4, names=True)
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "three")
    three = load_data(str(tmp_path / "three"), Path(), image_size=2)
    assert three.val is not None and torch.equal(three.val.labels, data.test.labels)
    assert (three.height, three.fit) == (2, "stretch")
    assert three.fingerprint != data.fingerprint

    table(tmp_path, 0, 20, names=False).save_to_disk(tmp_path / "one")
    one = load_data(str(tmp_path / "one"), Path())
    assert one.classes == ("0", "1") and (len(one.train), len(one.test)) == (16, 4)


def test_a_saved_table_without_images_is_refused(tmp_path: Path) -> None:
    table(tmp_path, 0, 4, names=True).remove_columns("picture").save_to_disk(tmp_path / "bad")
    with pytest.raises(InputError, match="has no column of images or none of classes among label"):
        load_data(str(tmp_path / "bad"), Path())
    table(tmp_path, 0, 4, names=True).save_to_disk(tmp_path / "cut")
    (tmp_path / "cut" / "state.json").write_text("{")
    with pytest.raises(InputError, match="cannot read or download"):
        load_data(str(tmp_path / "cut"), Path())
