"""Arrays from strangers: of a file that claims far more than it has bytes, none is read."""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cells.errors import InputError
from nas.data.npz import read_arrays


def refusal(path: Path) -> str:
    with pytest.raises(InputError, match=path.name) as error:
        read_arrays(path, ["x"])
    return str(error.value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(7),
        np.zeros((0, 3), np.int16),
        np.array([1, 2], ">i4"),
    ],
)
@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_numpy_reads_them(array, write, tmp_path: Path) -> None:
    write(tmp_path / "a.npz", x=array, other=array)
    (found,) = read_arrays(tmp_path / "a.npz", ["x"]).values()
    assert np.array_equal(found, array) and found.dtype == array.dtype
    assert found.flags.writeable or found.size == 0


def test_much_in_a_small_file_is_refused_before_it_is_read(
    tmp_path: Path, peak_memory: Callable[[], Callable[[], int]]
) -> None:
    path = tmp_path / "bomb.npz"
    header = {"descr": "|u1", "fortran_order": False, "shape": (1 << 28,)}
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("x.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(16):
            member.write(bytes(1 << 24))
    extra = peak_memory()
    assert "far larger than the file" in refusal(path)
    assert extra() < 1 << 26


def test_a_header_that_asks_for_more_than_there_is(tmp_path: Path) -> None:
    for shape in ((1 << 40,), (-1,), (1 << 40, 0, 5), (3,)):
        content = io.BytesIO()
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(content, header)
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x.npy", content.getvalue() + b"ab")
        assert "cannot read" in refusal(tmp_path / "a.npz")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    assert "is a pipe" in refusal(tmp_path / "pipe.npz")
