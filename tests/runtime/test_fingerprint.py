"""What is told of data changes with every change of them, and with nothing else."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from cells.errors import InputError
from nas.runtime.fingerprint import of_array, of_files, of_names, require_same_data


def test_an_array_is_told_by_shape_type_and_hash() -> None:
    images = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)
    assert of_array(images) == f"2×3×4 uint8 {hashlib.sha256(bytes(range(24))).hexdigest()[:16]}"
    assert of_array(images.numpy()) == of_array(images)
    assert of_array(images.transpose(1, 2).contiguous().transpose(1, 2)) == of_array(images)
    others = [images + 1, images.flip(0), images.reshape(3, 2, 4), images.view(torch.int8)]
    assert len({of_array(array) for array in [images, *others]}) == 5
    assert of_array(np.zeros((0, 3))).startswith("0×3 float64 ")


def test_names_are_told_by_their_order_and_limits() -> None:
    assert len({of_names(names) for names in (["a", "b"], ["b", "a"], ["ab"], ["a", "b", ""])}) == 4


def test_files_are_told_by_paths_and_bytes(tmp_path: Path) -> None:
    def told(*contents: tuple[str, bytes]) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, content in contents:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return of_files([folder / name for name, _ in contents], folder)

    first = told(("a/1.png", b"x"), ("b/1.png", b"y"))
    assert first == told(("a/1.png", b"x"), ("b/1.png", b"y"))
    assert first.startswith("2 ")
    others = [
        told(("a/1.png", b"x"), ("b/1.png", b"z")),
        told(("a/1.png", b"x"), ("b/2.png", b"y")),
        told(("b/1.png", b"x"), ("a/1.png", b"y")),
        told(("a/1.png", b"x")),
        told(("a/1.png", b""), ("b/1.png", b"xy")),
    ]
    assert len({first, *others}) == 6


def test_changed_data_are_named() -> None:
    before = {"images": "5 aa", "labels": "5 bb"}
    require_same_data(before, dict(before), "the run", "start anew")
    require_same_data({}, before, "the run", "start anew")
    require_same_data(before, {}, "the run", "start anew")
    with pytest.raises(InputError) as refused:
        require_same_data(before, before | {"images": "6 cc"}, "the run", "start anew")
    assert str(refused.value) == (
        "the data of the run have changed: images '5 aa' then, '6 cc' now (size and hash); "
        "restore them, or start anew"
    )
    with pytest.raises(InputError, match="labels absent then, '5 bb' now"):
        require_same_data({"images": "5 aa"}, before, "the run", "start anew")
