"""A run folder has one owner: the process that writes to it, for as long as it lives."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cells.errors import InputError
from cells.output_files import naming

OWNER = ".owner"
"""File in a run folder that its owner has locked; it names the owner, and stays behind."""


@contextmanager
def owning(folder: Path, *, part: str | None = None, patience: float = 0.0) -> Iterator[None]:
    """Owns a run folder inside the block; of several processes of one run the first does.

    The lock is the system's (`flock`): it ends with the process, however that ends.

    Args:
        folder: an existing folder that can be written to.
        part: what is owned of it alone, beside owners of other parts; None for all of it.
        patience: seconds to wait for another owner to leave.

    Raises:
        InputError: naming the host and the process that own the folder.
        OSError: naming the file, e.g. if no space is left.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    with ExitStack() as held:
        held.enter_context(_locking(folder, OWNER, part is not None, patience))
        if part is not None:
            held.enter_context(_locking(folder, f"{OWNER}-{part}", False, patience))
        yield


@contextmanager
def _locking(folder: Path, name: str, shared: bool, patience: float) -> Iterator[None]:
    """Locks a file in a folder inside the block, for itself or beside others that share it."""
    path = folder / name
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with open(path, "ab+", buffering=0) as file:  # closing it has nothing left to write
        deadline = time.monotonic() + patience
        while not _locked(file.fileno(), kind):
            if time.monotonic() >= deadline:
                file.seek(0)
                owner = file.read(200).decode(errors="replace").strip() or "another process"
                raise InputError(f"{folder} is in use by {owner}: wait until it ends, or stop it")
            time.sleep(0.1)
        with naming(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
