"""Files that are whole or absent, whatever happens while they are written.

A file is written under a temporary name, `.NAME.HOST.PID.tmp`, and gets its own when it is on the
disk. What a killed process leaves behind is removed when the same file is written the next time.
"""

import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Adds the file's name to errors that lack it, as "no space left" does while writing."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_synced(path: Path, data: bytes) -> None:
    """Writes a file and waits until it is on the disk; removes it if that fails.

    Raises:
        OSError: naming the file, e.g. if no space is left.
    """
    try:
        with naming(path), open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Waits until the disk knows the names in a folder.

    Raises:
        OSError: naming the folder.
    """
    with naming(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace_synced(source: Path, target: Path) -> None:
    """Renames a file over another of the same folder and waits until the disk knows."""
    with naming(target):
        os.replace(source, target)
    sync_folder(target.parent)


def temporary(path: Path) -> Path:
    """Returns the name under which this process writes a file or a folder before it gets its own.

    Removes what killed processes of this host have left under such names, and nothing else: the
    processes of other hosts may be alive.

    Raises:
        OSError: naming the folder that it would lie in, if that is absent.
    """
    host = re.sub(r"[^\w-]", "-", socket.gethostname())
    start, own = f".{path.name}.{host}.", os.getpid()
    for name in [name for name in os.listdir(path.parent) if name.startswith(start)]:
        number = name.removeprefix(start).removesuffix(".tmp")
        left = name.endswith(".tmp") and number.isdecimal()
        if left and (int(number) == own or not _alive(int(number))):
            _remove(path.with_name(name))
    return path.with_name(f"{start}{own}.tmp")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file such that whoever opens it finds all of the old or all of the new content.

    Raises:
        OSError: naming the file or its folder; its old content is left as it was.
    """
    new = temporary(path)
    try:
        write_synced(new, data)
        replace_synced(new, path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside a path, to be filled and given that name by `replace_synced`.

    The parents of the path are made. A draft that was not renamed in the block is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = temporary(path)
    draft.mkdir()
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
