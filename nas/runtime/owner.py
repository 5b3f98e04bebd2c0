"""A run folder has one owner: the process that writes to it, for as long as it lives."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cells.errors import InputError

OWNER = ".owner"
"""File in a run folder that its owner has locked; it names the owner, and stays behind."""


@contextmanager
def owning(folder: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Owns a run folder inside the block; of several processes of one run the first does.

    The lock is the system's (`flock`): it ends with the process, however that ends.

    Args:
        folder: an existing folder that can be written to.
        patience: seconds to wait for another owner to leave.

    Raises:
        InputError: naming the host and the process that own the folder.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    with open(folder / OWNER, "a+", encoding="utf-8") as file:
        deadline = time.monotonic() + patience
        while not _locked(file.fileno()):
            if time.monotonic() >= deadline:
                file.seek(0)
                owner = file.read(200).strip() or "another process"
                raise InputError(f"{folder} is in use by {owner}: wait until it ends, or stop it")
            time.sleep(0.1)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
