"""Archives of `torch.save`: what torch reads is read alike, and bombs are not set off."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.runtime.archive import Code, read_archive

RUNS = Path(__file__).parents[1] / "golden" / "runs"


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def with_pickle(pickled: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of one tensor of three numbers, with other instructions."""
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved({"a": torch.zeros(3)}))) as source,
        zipfile.ZipFile(file, "w", compression) as target,
    ):
        for entry in source.infolist():
            own = entry.filename.endswith("data.pkl")
            target.writestr(entry.filename, pickled if own else source.read(entry))
    return file.getvalue()


def own_pickle() -> bytes:
    with zipfile.ZipFile(io.BytesIO(saved({"a": torch.zeros(3)}))) as source:
        return source.read("archive/data.pkl")


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return (
            (one.dtype, one.stride()) == (other.dtype, other.stride())
            and torch.equal(one, other)
        )  # fmt: skip
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and all(map(equal, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("path", sorted(RUNS.rglob("*.pt")), ids=lambda path: path.parent.name)
def test_checkpoints_are_read_as_torch_reads_them(path: Path) -> None:
    assert equal(torch.load(path, weights_only=True), read_archive(path.read_bytes()))


def test_every_type_of_number_and_every_layout() -> None:
    whole = torch.arange(24).reshape(2, 3, 4)
    dtypes = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.bool]
    dtypes += [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
    state = {str(dtype): whole.to(dtype) for dtype in dtypes} | {
        "part": whole[1:, ::2], "turned": whole.mT.contiguous().mT, "scalar": torch.tensor(2.0),
        "empty": torch.zeros(0, 3), "plain": [1, -(2**70), 0.5, None, "λ", (1, (2,)), {3: {}}],
    }  # fmt: skip
    assert equal(
        torch.load(io.BytesIO(saved(state)), weights_only=True), read_archive(saved(state))
    )


SHARED = b"\x80\x02]q\0" + b"](h\0h\0eq\0" * 30 + b"."
TEXT = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\0"
BOMBS = {
    "lists that hold another one twice": with_pickle(SHARED),
    "a text named again and again": with_pickle(b"\x80\x02](" + TEXT + b"h\0" * 9_000 + b"e."),
    "more values than bytes": with_pickle(b"\x80\x02](" + b"N" * 90_000 + b"e."),
    "deep lists": with_pickle(b"\x80\x02" + b"](" * 5_000 + b"e" * 5_000 + b"."),
    "a compressed archive": with_pickle(b"\x80\x02}." + bytes(1 << 20), zipfile.ZIP_DEFLATED),
    "a large number of a memo": with_pickle(b"\x80\x02Nr\xff\xff\xff\x7f0."),
    "bytes by their number": with_pickle(b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"."),
    "a tensor of one number a thousand million times": with_pickle(
        own_pickle().replace(b"K\x03\x85q\x08K\x01", b"J\xff\xff\xff\x7f\x85q\x08K\x00")
    ),
    "a tensor beyond its bytes": with_pickle(
        own_pickle().replace(b"q\x06K\x03t", b"q\x06J\0\0\x10\0t")
    ),
    "tuples as keys": with_pickle(b"\x80\x02}N\x85q\0" + b"h\0h\0\x86q\0" * 60 + b"Ns."),
    "a tensor at a key": with_pickle(own_pickle()[:-2] + b"K\x00K\x00s."),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused(name: str) -> None:
    with pytest.raises(Exception) as caught:
        read_archive(BOMBS[name])
    assert not isinstance(caught.value, MemoryError | RecursionError | AssertionError)


def test_functions_are_not_called() -> None:
    for name in (b"builtins\nbytearray\n", b"os\nsystem\n", b"torch\nload\n", b"torch\nTensor\n"):
        with pytest.raises(Code):
            read_archive(with_pickle(b"\x80\x02c" + name + b"K\x05\x85R."))
