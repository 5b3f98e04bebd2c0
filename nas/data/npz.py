"""Arrays of an `.npz` file, which is looked through before any of them is read."""

import math
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from cells.errors import InputError
from cells.input_files import MIB, open_regular
from nas.data.pixels import first_line

FREE_BYTES, BYTES_PER_BYTE = 64 * MIB, 32
"""The arrays may have so many bytes together, and so many more for each byte of the file."""


def read_arrays(
    path: Path, keys: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray[Any, Any]]:
    """Reads arrays of numbers or texts by name; objects are refused, never unpickled.

    Args:
        keys: arrays that must be there.
        optional: others, which are read if they are.

    Raises:
        InputError: if the file is damaged, lacks one, or holds far more than it has bytes.
    """
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                entries = {
                    entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()
                }
                missing = [key for key in keys if key not in entries]
                if missing:
                    raise InputError(
                        f"{str(path)!r} lacks {', '.join(missing)}: it must hold "
                        f"{', '.join(keys)}, and holds {', '.join(entries) or 'nothing'}"
                    )
                keys = [*keys, *(key for key in optional if key in entries)]
                file.seek(0, 2)
                room = FREE_BYTES + BYTES_PER_BYTE * file.tell()
                if sum(entries[key].file_size for key in keys) > room:
                    raise ValueError(
                        "its arrays are far larger than the file: numpy.savez stores them as they "
                        "are"
                    )
                arrays = {}
                for key in keys:
                    with archive.open(entries[key]) as member:
                        arrays[key] = _read_array(member, entries[key].file_size)
                return arrays
        except InputError:
            raise
        except Exception as error:  # zipfile, zlib and numpy have many words for "damaged"
            raise InputError(
                f"cannot read {str(path)!r} ({first_line(error)}): save it again with "
                "numpy.savez from arrays of numbers, or texts by y.astype(str)"
            ) from error


def _read_array(member: IO[bytes], num_bytes: int) -> np.ndarray[Any, Any]:
    """Reads one array of numbers; its header must ask for what the file holds, no more."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = readers[np.lib.format.read_magic(member)](member)
    if dtype.hasobject:
        raise ValueError("objects")
    if math.prod(shape) * dtype.itemsize != num_bytes - member.tell():
        raise ValueError(f"an array of shape {shape} in {num_bytes} bytes")
    array = np.empty(math.prod(shape), dtype)
    if array.nbytes and member.readinto(array.view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
        raise ValueError("cut short")
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)
