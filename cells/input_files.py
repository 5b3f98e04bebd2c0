"""Files from strangers: regular ones only, and no more of them than is asked for."""

import os
import stat
from io import BufferedReader
from pathlib import Path

from cells.errors import InputError

MIB = 1 << 20


def open_regular(path: str | Path) -> BufferedReader:
    """Opens a file to read its bytes; what is not a regular file is refused, never waited for.

    Raises:
        InputError: if it is a folder, a pipe, a socket or a device, or no path at all.
        OSError: naming the file, if it is absent or must not be read.
    """
    try:
        # Without O_NONBLOCK, to open a pipe is to wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:  # a NUL character
        raise InputError(f"{str(path)!r} is not a path: check it") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        found = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise InputError(f"{str(path)!r} is {found}: name a regular file")
    return os.fdopen(descriptor, "rb")


def read_regular(path: str | Path, limit: int) -> bytes:
    """Reads a regular file.

    Args:
        limit: bytes that it may have.

    Raises:
        InputError: as `open_regular`, or if it is longer.
        OSError: as `open_regular`.
    """
    with open_regular(path) as file:
        # A file under /proc has no size, and goes on for ever.
        size = max(os.fstat(file.fileno()).st_size, MIB)
        content = file.read(min(limit, size) + 1)
    if len(content) > limit:
        raise InputError(f"{str(path)!r} has more than {limit / MIB:g} MiB: name another file")
    return content


def read_text(path: str | Path, limit: int) -> str:
    """Reads a regular file of UTF-8; a byte order mark at its beginning is left out.

    Raises:
        InputError: as `read_regular`, or for other bytes.
        OSError: as `open_regular`.
    """
    try:
        return read_regular(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{str(path)!r} is not UTF-8 text (byte {error.start}): save it as UTF-8"
        ) from None
