"""Files that are whole or absent, on the disk when they have their names, and nothing beside."""

import errno
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cells.notation import read_genotype
from cells.output_files import temporary, write_atomically
from nas.runtime.files import make_folder
from nas.runtime.metrics import MetricsLog


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Lets the operating system refuse writes beyond a size, as a full disk does."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_write_atomically_replaces_or_leaves_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    write_atomically(path, b"old")
    with largest_file(1000), pytest.raises(OSError, match=r"front\.csv") as refused:
        write_atomically(path, bytes(1001))
    assert refused.value.errno == errno.EFBIG
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"front.csv": b"old"}
    write_atomically(path, b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"front.csv": b"new"}


WRITERS: dict[str, Callable[[Path], object]] = {
    "cell.json": lambda path: read_genotype("DARTS_V2").save(path),
    "front.csv": lambda path: write_atomically(path, b"new"),
    "run": lambda path: make_folder(path, exact=True, config={}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_disk_has_the_content_before_the_name_and_then_the_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        done.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    def replaced(source: Path, target: Path) -> None:
        replace(source, target)
        done.append(f"{target.name} has its name")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    path = tmp_path.resolve() / name
    draft = str(temporary(path))
    WRITERS[name](path)
    content = done[: done.index(f"{name} has its name")]
    assert content and content[0].startswith(draft)
    assert done[len(content) + 1 :] == [str(path.parent)]


def test_a_row_of_the_record_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    MetricsLog(tmp_path / "metrics.jsonl").append({"step": 1})
    assert sizes == [len('{"step": 1}\n')]


def test_what_a_killed_process_left_goes_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    start, own = temporary(path).name.removesuffix(".tmp").rsplit(".", 1)
    ended = subprocess.Popen(["true"])
    ended.wait()
    others = [
        f"{start}.{os.getppid()}.tmp",  # of a process that lives
        f".front.csv.elsewhere.{ended.pid}.tmp",  # of another host
        f"{start}.{ended.pid}.txt",
        f"{start}.x{ended.pid}.tmp",
    ]
    for name in (f"{start}.{ended.pid}.tmp", f"{start}.{own}.tmp", f"{start}.{'9' * 30}.tmp"):
        (tmp_path / name).mkdir() if own in name else (tmp_path / name).touch()
    for name in others:
        (tmp_path / name).touch()
    write_atomically(path, b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, "front.csv"])


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_atomically(tmp_path / "nowhere" / "front.csv", b"")


def test_nothing_is_left_where_the_name_is_taken_by_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
