"""The archives that `torch.save` writes, read as plain data: nothing runs, nothing grows.

`torch.load(weights_only=True)` runs no code, but makes whatever sizes a file asks for: a kilobyte
may ask for a gigabyte, and a list that holds another one twice, thirty levels deep, has a thousand
million items. Here what is made is never much larger than the file.
"""

import gc
import io
import math
import pickle
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

MAX_DEPTH = 32
"""Containers inside one another."""
OPCODES = (
    "PROTO STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE "
    "EMPTY_DICT EMPTY_LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM SETITEMS "
    "BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL REDUCE BUILD BINPERSID"
)
"""All that `torch.save` writes for plain data, as `pickle` names it."""
DTYPES = {
    f"{name}Storage": dtype
    for name, dtype in (
        ("Float", torch.float32), ("Double", torch.float64), ("Half", torch.float16),
        ("BFloat16", torch.bfloat16), ("Bool", torch.bool), ("Byte", torch.uint8),
        ("Char", torch.int8), ("Short", torch.int16), ("Int", torch.int32), ("Long", torch.int64),
    )
}  # fmt: skip


class Code(Exception):
    """The archive asks for a function that plain data do not need."""


class _Storage(NamedTuple):
    """Names the bytes of tensors."""

    record: str
    dtype: torch.dtype
    numel: int


class _View(NamedTuple):
    """A tensor before it is made."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_archive(data: bytes) -> Any:
    """Returns what an archive holds: None, bools, numbers, strings, tensors on the CPU, and dicts,
    lists and tuples of them.

    Raises:
        Code: if it holds anything else.
        Exception: of many kinds, if it is damaged, or makes more of itself than it has bytes.
    """
    records = _records(data)
    (name,) = (name for name in records if name.endswith("/data.pkl"))
    if records.get(name.replace("data.pkl", "byteorder"), b"little") != b"little":
        raise ValueError("of a machine with another order of bytes")
    collects = gc.isenabled()
    gc.disable()  # it would look through a million new lists again and again
    try:
        pickled = _Unpickler(records[name]).load()
        return _Maker(records, name.removesuffix("data.pkl"), len(data)).make(pickled)
    finally:
        if collects:
            gc.enable()


def _records(data: bytes) -> dict[str, bytes]:
    """The files in a zip archive; none is compressed, so that together they are not larger."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("compressed")
        if sum(entry.file_size for entry in entries) > len(data):
            raise ValueError("entries overlap")
        return {entry.filename: archive.read(entry) for entry in entries}


class _Unpickler(pickle._Unpickler):  # the one in C would make what a file names as its size
    """Makes containers, numbers, strings and `_View`s."""

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, pickled: bytes) -> None:
        super().__init__(io.BytesIO(pickled))
        self.room = 100 + len(pickled) // 16  # a list or dict with something in it takes as many

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if f"{module}.{name}" in ("collections.OrderedDict", "torch._utils._rebuild_tensor_v2"):
            return name
        raise Code(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", torch.dtype() as dtype, str(record), str(), int(numel)):
                return _Storage(record, dtype, numel)
        raise ValueError("no storage")

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        match function, arguments:
            case "OrderedDict", ():
                self._begin({})
            case "_rebuild_tensor_v2", (_Storage() as storage, int(offset), size, stride, *_):
                self.append(_View(storage, offset, size, stride))
            case _:
                raise ValueError("not a call of plain data")

    def load_empty_list(self) -> None:
        self._begin([])

    def load_empty_dictionary(self) -> None:
        self._begin({})

    def _begin(self, container: Any) -> None:
        self.room -= 1
        if self.room < 0:
            raise ValueError("more containers than there is room for")
        self.append(container)

    def load_build(self) -> None:
        self.stack.pop()  # versions of modules, which none of ours has

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(key, value)

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._set(key, value)

    def _set(self, key: Any, value: Any) -> None:
        # The hash of a tuple may take as long as its text would be.
        if type(key) not in (str, int) or type(self.stack[-1]) is not dict:
            raise ValueError("a key must be a string or a whole number")
        self.stack[-1][key] = value


_Unpickler.dispatch = {
    code: getattr(_Unpickler, function.__name__)
    for code, function in pickle._Unpickler.dispatch.items()
    if code in [getattr(pickle, name)[0] for name in OPCODES.split()]
}
"""What is done for each opcode, by the functions above where there is one."""


class _Maker:
    """Makes tensors and fresh containers of what was unpickled."""

    def __init__(self, records: dict[str, bytes], folder: str, num_bytes: int) -> None:
        self.records, self.folder = records, folder
        self.left = 2 * num_bytes  # some room for what is named twice
        self.storages: dict[_Storage, Tensor] = {}

    def make(self, value: Any, depth: int = 0) -> Any:
        """Returns the value with its tensors."""
        self._spend(4 + len(value) if isinstance(value, str) else 4)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        if isinstance(value, _View):
            return self._tensor(value)
        if type(value) is dict:
            return {self.make(k, depth + 1): self.make(v, depth + 1) for k, v in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self.make(item, depth + 1) for item in value)
        if value is None or type(value) in (bool, int, float, str):
            return value
        raise ValueError(f"a {type(value).__name__} among plain data")

    def _spend(self, num_bytes: int) -> None:
        self.left -= num_bytes
        if self.left < 0:
            raise ValueError("makes more of itself than it has bytes")

    def _tensor(self, view: _View) -> Tensor:
        storage, offset, size, stride = view
        if len(size) > 16 or any(type(n) is not int or n < 0 for n in (offset, *size, *stride)):
            raise ValueError("not sizes")
        if storage not in self.storages:
            raw = self.records[f"{self.folder}data/{storage.record}"]
            if len(raw) != storage.numel * storage.dtype.itemsize:
                raise ValueError("storage of another size")
            own = torch.empty(len(raw), dtype=torch.uint8)
            own.numpy()[:] = np.frombuffer(raw, np.uint8)
            self.storages[storage] = own.view(storage.dtype)
        self._spend(math.prod(size) * storage.dtype.itemsize)
        return torch.as_strided(self.storages[storage], size, stride, offset)
