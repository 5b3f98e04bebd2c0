"""Arrays as people have them: in which order, of which numbers, with which labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cells.errors import InputError
from nas.data.datasets import ImageData, load_data

Read = Callable[..., ImageData]
BYTES = np.random.default_rng(0).integers(256, size=(9, 6, 8, 8), dtype=np.uint8)


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads six training and three test images that are stored in an .npz file."""

    def read(x: np.ndarray, **others: Any) -> ImageData:
        labels = np.arange(9) % 3
        arrays = {"x_train": x[:6], "x_test": x[6:], "y_train": labels[:6], "y_test": labels[6:]}
        np.savez(tmp_path / "mine.npz", **(arrays | others))
        return load_data(str(tmp_path / "mine.npz"), tmp_path)

    return read


def pixels(data: ImageData) -> np.ndarray:
    return torch.cat([data.train.images, data.test.images]).numpy()


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        ((3, 8, 8), True), ((8, 8, 3), False), ((6, 8, 8), True), ((8, 8, 6), False),
        ((1, 5, 7), True), ((5, 7, 1), False), ((4, 9, 5), True), ((9, 5, 4), False),
        ((3, 1, 1), True), ((1, 1, 3), False), ((12, 64, 64), True),
    ],
)  # fmt: skip
def test_the_place_of_channels_is_told(
    read: Read, shape: tuple[int, ...], first: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    x = np.random.default_rng(1).integers(256, size=(9, *shape), dtype=np.uint8)
    assert np.array_equal(pixels(read(x)), x if first else np.moveaxis(x, 3, 1))
    said = capsys.readouterr().err
    assert said.count("\n") == first and ("is read with its channels first" in said) == first


@pytest.mark.parametrize(
    "shape", [(8, 8, 8), (9, 8, 6), (4, 4, 4), (5, 3, 3), (4, 4, 8), (2, 3, 4)]
)
def test_where_it_cannot_be_told_the_file_must_tell(read: Read, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(1).integers(256, size=(9, *shape), dtype=np.uint8)
    with pytest.raises(InputError, match=r'not tell whether.*savez\(…, channels="first"\)'):
        read(x)
    assert np.array_equal(pixels(read(x, channels="first")), x)
    assert np.array_equal(pixels(read(x, channels="last")), np.moveaxis(x, 3, 1))
    with pytest.raises(InputError, match="must be 'first' or 'last': it is nowhere"):
        read(x, channels="nowhere")


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (BYTES / np.float32(255), "float32 from 0 to 1: their bytes are 255 times the value"),
        (BYTES / 127.5 - 1, "float64 from -1 to 1: their bytes are 127.5 times the value + 1"),
        (BYTES.astype(np.float64), "float64 from 0 to 255: their bytes are the value"),
        (BYTES + 0.25 * (BYTES < 255), "float64 from 0.25 to 255: their bytes are the value"),
        (BYTES.astype(np.int64), "int64 from 0 to 255: their bytes are the value"),
    ],
)
def test_other_numbers_become_the_same_bytes(
    read: Read, stored: np.ndarray, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert np.array_equal(pixels(read(stored)), BYTES)
    said = capsys.readouterr().err
    assert words in said and said.count("float") + said.count("int64") == 1


def test_true_is_white(read: Read) -> None:
    assert np.array_equal(pixels(read(BYTES > 100)), np.where(BYTES > 100, 255, 0))


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (BYTES * 16.0, r"from 0 to 4080, none of 0 … 1.*e\.g\. \(x - 0\) / 4080$"),
        (BYTES.astype(np.uint16) * 257, r"from 0 to 65535, .* / 65535 as floats"),
        (BYTES / 100, r"from 0 to 2\.55, none of"),  # rounded, three levels would be left
        (BYTES / 50 - 2, r"from -2 to 3\.1, none of .* \(x - -2\) / 5\.1"),
        (np.where(BYTES == 7, np.nan, BYTES), "from nan to nan: mend or remove"),
        (np.where(BYTES == 7, np.inf, BYTES), "from 0 to inf: mend or remove"),
        (BYTES.astype("S3"), r"are \|S3: store the pixels as bytes"),
    ],
)
def test_numbers_without_a_scale_are_refused(read: Read, stored: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(stored)


def test_labels_may_be_texts(read: Read) -> None:
    names = np.array(["cat", "ant", "bee"] * 3)
    for stored in (names, names.astype("S"), names.reshape(-1, 1)):
        data = read(BYTES, y_train=stored[:6], y_test=stored[6:])
        assert data.classes == ("ant", "bee", "cat")
        assert data.train.labels.tolist() == [2, 0, 1] * 2
    numbers = np.array(["10", "9", "-1"] * 3)
    assert read(BYTES, y_train=numbers[:6], y_test=numbers[6:]).classes == ("-1", "9", "10")
    switches = np.arange(9) % 2 == 1
    assert (
        read(BYTES, y_train=switches[:6], y_test=switches[6:]).train.labels.tolist() == [0, 1] * 3
    )
    with pytest.raises(
        InputError, match=r"unknown class in y_test of .* 'cab': did you mean 'cat'"
    ):
        read(BYTES, y_train=names[:6], y_test=np.array(["ant", "bee", "cab"]))
    with pytest.raises(InputError, match="are texts and numbers: store all of them alike"):
        read(BYTES, y_train=names[:6])
    with pytest.raises(InputError, match=r"y_train of .* holds what is no text"):
        read(BYTES, y_train=np.array([b"\xff"] * 6), y_test=np.array([b"a"] * 3))


def test_a_validation_part(read: Read) -> None:
    data = read(BYTES, x_val=BYTES[:2], y_val=np.array([2, 1]))
    assert data.val is not None and np.array_equal(data.val.images, BYTES[:2])
    assert data.val.labels.tolist() == [2, 1]
    assert {"validation images", "validation labels"} <= data.fingerprint.keys()
    with pytest.raises(InputError, match=r"validation label 3 .* outside the classes"):
        read(BYTES, x_val=BYTES[:2], y_val=np.array([2, 3]))
