"""Small files that ask for much, or for something else than to be read."""

import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from readers import CELL, READERS, written


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def _png(width: int, height: int, before: bytes = b"") -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    rows = zlib.compress(bytes(0 if b"IDAT" in before else height * (4 * width + 1)), 9)
    return b"\x89PNG\r\n\x1a\n" + header + before + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def _archive(pickled: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    def write(file: io.BytesIO) -> None:
        with zipfile.ZipFile(file, "w", compression) as archive:
            archive.writestr("archive/data.pkl", pickled)

    return written(write)


def _npz(size: int) -> bytes:
    zeros = np.zeros((size, 8, 8), np.uint8)
    small = np.zeros((6, 8, 8), np.uint8)
    labels = np.zeros(size, np.uint8)
    return written(lambda file: np.savez_compressed(
        file, x_train=zeros, y_train=labels, x_test=small, y_test=labels[:6]))  # fmt: skip


class _Touch:
    """Unpickled, it starts a program."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def _bombs() -> dict[str, tuple[str, Callable[[], bytes]]]:
    n = 990_000
    text = b"X" + struct.pack("<I", 500_000) + b"a" * 500_000 + b"q\0"
    code = pickle.dumps({"config": _Touch()}, protocol=2)
    config = json.loads(READERS["config.json"].good)
    return {
        "PostScript as a picture": (
            "picture PNG",
            lambda: (
                b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%true) (w) file\n%%EOF\n"
            ),
        ),
        "a picture of 8 megapixels": ("picture PNG", lambda: _png(2900, 2700) + bytes(950_000)),
        "a picture of 10⁸ pixels": (
            "picture PNG",
            lambda: _png(10_000, 10_000, _chunk(b"IDAT", b"")),
        ),
        "80,000 empty parts of a picture": (
            "picture PNG",
            lambda: _png(1, 1, _chunk(b"prVt", b"") * 80_000),
        ),
        "pickled code": ("checkpoint", lambda: _archive(code)),
        "pickled code alone": ("checkpoint", lambda: code),
        "lists that hold others twice": (
            "checkpoint",
            lambda: _archive(b"\x80\x02]q\0" + b"](h\0h\0eq\0" * 100_000 + b"."),
        ),
        "a list of a million nones": (
            "checkpoint",
            lambda: _archive(b"\x80\x02](" + b"N" * n + b"e."),
        ),
        "a million lists": ("checkpoint", lambda: _archive(b"\x80\x02](" + b"]" * n + b"e.")),
        "a million tuples, nested": (
            "checkpoint",
            lambda: _archive(b"\x80\x02N" + b"\x85" * n + b"."),
        ),
        "a text named 200,000 times": (
            "checkpoint",
            lambda: _archive(b"\x80\x02](" + text + b"h\0" * 200_000 + b"e."),
        ),
        "bytearray of 1 GiB": (
            "checkpoint",
            lambda: _archive(b"\x80\x02cbuiltins\nbytearray\nJ\0\0\0\x40\x85R."),
        ),
        "100 MB, deflated, of a checkpoint": (
            "checkpoint",
            lambda: _archive(b"\x80\x02](" + b"N" * 10**8 + b"e.", zipfile.ZIP_DEFLATED),
        ),
        "300 MB, deflated, of images": ("npz", lambda: _npz(4_600_000)),
        "64 MB, deflated, of images": ("npz", lambda: _npz(1_000_000)),
        "a key of JSON 50,000 times": (
            "config.json",
            lambda: b"{" + b",".join([b'"a":1'] * 50_000) + b"}",
        ),
        "7,000 keys of JSON": (
            "genotype",
            lambda: b"{" + b",".join(b'"%d":1' % i for i in range(7_000)) + b"}",
        ),
        "settings of 400 digits": (
            "config.json",
            lambda: json.dumps(config | {"lam_low": [10**400]}).encode(),
        ),
        "a bound of a million digits": ("bounds", lambda: b"params=" + b"9" * 10**6 + b"!"),
        "deep JSON": ("metrics.jsonl", lambda: b"[" * n + b"\n{}\n"),
        "a row of 500,000 columns": ("table", lambda: b"a," * 500_000),
        "250,000 rows": ("table", lambda: b"a,b\n" + b"1,1\n" * 249_000 + b"1,2\n"),
        "80,000 rows of a name": (
            "latencies",
            lambda: b"genotype,latency\n" + b"DARTS_V2,1\n" * 80_000,
        ),
        "10,000 cells": (
            "latencies",
            lambda: b"genotype,latency\n" + f"{CELL},1\n".encode() * 10_000,
        ),
        "a header of 1 MB": ("network", lambda: struct.pack("<Q", n) + b'{"a":' + b"[" * (n - 5)),
    }


BOMBS = _bombs()
"""Name of its reader, and how it is made, by the name of a bomb."""
