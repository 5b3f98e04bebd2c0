"""Checkpoints under kills, full disks, flipped bits and hostile content."""

import hashlib
import math
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cells.errors import InputError
from nas.runtime import checkpoint

BEFORE = "checkpoint.previous.pt"


def folder_after(folder: Path, count: int) -> Path:
    """Returns the checkpoint's path after states 1 … count were saved into a folder."""
    folder.mkdir()
    for number in range(1, count + 1):
        checkpoint.save(folder / "checkpoint.pt", {"number": number})
    return folder / "checkpoint.pt"


def with_own_hash(path: Path) -> None:
    """Writes the hash file that fits whatever a checkpoint holds now."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")


def test_every_kind_of_state_comes_back_equal(tmp_path: Path) -> None:
    weights = torch.nn.Linear(3, 2).double()
    optimiser = torch.optim.Adam(weights.parameters(), lr=0.1)
    weights(torch.ones(1, 3).double()).sum().backward()
    optimiser.step()
    state = {
        "weights": weights.state_dict(),
        "optimiser": optimiser.state_dict(),
        "numbers": {"step": 2**40, "lam": 0.1, "best": None, "done": False, "low": (1e-3, 2.0)},
    }
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, state)
    loaded = checkpoint.load(path)
    assert loaded["numbers"] == state["numbers"]
    for name, tensor in weights.state_dict().items():
        assert torch.equal(loaded["weights"][name], tensor)
    for name, tensor in optimiser.state_dict()["state"][0].items():
        assert torch.equal(loaded["optimiser"]["state"][0][name], tensor)


def test_the_one_before_is_kept_and_other_tools_can_check_both(tmp_path: Path) -> None:
    path = folder_after(tmp_path / "run", 3)
    assert checkpoint.load(path) == {"number": 3}
    assert checkpoint.load(path.with_name(BEFORE)) == {"number": 2}
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == [BEFORE, BEFORE + ".sha256", "checkpoint.pt", "checkpoint.pt.sha256"]
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here")
    subprocess.run(
        ["sha256sum", "--check", "--strict", "checkpoint.pt.sha256", BEFORE + ".sha256"],
        cwd=path.parent,
        check=True,
        capture_output=True,
    )


def folders_of_a_killed_save(
    path: Path, state: dict[str, Any], target: Path, monkeypatch: pytest.MonkeyPatch
) -> list[Path]:
    """Saves a state, and returns copies of the folder as it stood around every file operation.

    A process killed there leaves exactly that behind.
    """
    copies: list[Path] = []

    def photographed(operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            copies.append(target / str(len(copies)))
            shutil.copytree(path.parent, copies[-1])
            return operation(*args)

        return run

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", photographed(os.replace))
        patch.setattr(os, "fsync", photographed(os.fsync))
        checkpoint.save(path, state)
    return copies


@pytest.mark.filterwarnings("ignore:checkpoint .* went back")
@pytest.mark.parametrize("saved_before", [1, 2])
def test_killed_at_any_point_the_old_or_new_state_is_there(
    saved_before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder_after(tmp_path / "run", saved_before)
    target = tmp_path / "killed"
    folders = folders_of_a_killed_save(path, {"number": 10}, target, monkeypatch)
    assert len(folders) >= 10
    found = [checkpoint.load(folder / path.name)["number"] for folder in folders]
    assert all(checkpoint.exists(folder / path.name) for folder in folders)
    assert not all((folder / path.name).exists() for folder in folders)
    assert not checkpoint.exists(tmp_path / "elsewhere" / path.name)
    assert found == sorted(found) and set(found) == {saved_before, 10}
    # A run that resumed from there may be killed again, in its own next save.
    for first, old in zip(folders, found, strict=True):
        again = folders_of_a_killed_save(
            first / path.name, {"number": 20}, tmp_path / f"again{first.name}", monkeypatch
        )
        found_again = [checkpoint.load(folder / path.name)["number"] for folder in again]
        assert set(found_again) <= {saved_before, 10, old, 20} and found_again[-1] == 20
        assert found_again == sorted(found_again)
        assert checkpoint.load(first / path.name) == {"number": 20}


@pytest.mark.parametrize("saved_before", [0, 1, 2])
@pytest.mark.parametrize("room", [100, 1200])
def test_a_full_disk_leaves_everything_as_it_was(
    saved_before: int, room: int, tmp_path: Path
) -> None:
    path = folder_after(tmp_path / "run", saved_before)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, former[1]))
    try:
        with pytest.raises(OSError, match=r"checkpoint\.pt"):
            checkpoint.save(path, {"weights": torch.zeros(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = folder_after(tmp_path / "run", 1)
    data = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(data)), 100):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(InputError, match=r"^checkpoint .*checkpoint\.pt is "):
            checkpoint.load(path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def damage(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])


def remove(path: Path) -> None:
    path.unlink()


def remove_hash(path: Path) -> None:
    path.with_name(path.name + ".sha256").unlink()


class Hostile:
    """Unpickles by making a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


def put_code(path: Path) -> None:
    torch.save({"number": Hostile(path.parent / "executed")}, path)
    with_own_hash(path)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with_own_hash(path)


def empty(path: Path) -> None:
    path.write_bytes(b"")
    with_own_hash(path)


def put_list(path: Path) -> None:
    torch.save([1, 2], path)
    with_own_hash(path)


FAULTS = [
    (halve, "is no checkpoint at all"),
    (empty, "is no checkpoint at all"),
    (put_list, "is no checkpoint at all"),
    (cut, "is cut short"),
    (damage, "is damaged"),
    (remove, "is missing"),
    (remove_hash, "has no checkpoint.pt.sha256"),
    (put_code, "holds pickled code, which is never run"),
]


@pytest.mark.parametrize(("spoil", "told"), FAULTS)
def test_a_bad_file_falls_back_to_the_one_before(
    spoil: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    path = folder_after(tmp_path / "run", 2)
    spoil(path)
    with pytest.warns(
        UserWarning, match=rf"checkpoint\.pt {told}.*went back to {BEFORE}$"
    ) as told_all:
        assert checkpoint.load(path) == {"number": 1}
    assert len(told_all) == 1
    assert not (path.parent / "executed").exists()


@pytest.mark.parametrize(("spoil", "told"), FAULTS)
def test_two_bad_files_are_one_line(
    spoil: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    path = folder_after(tmp_path / "run", 2)
    cut(path.with_name(BEFORE))
    spoil(path)
    with pytest.raises(InputError, match=rf"checkpoint\.pt {told}.*{BEFORE} is cut short") as error:
        checkpoint.load(path)
    assert "\n" not in str(error.value) and "start a new run" in str(error.value)
    assert not (path.parent / "executed").exists()


def test_the_hostile_file_is_hostile(tmp_path: Path) -> None:
    put_code(tmp_path / "checkpoint.pt")
    torch.load(tmp_path / "checkpoint.pt", weights_only=False)
    assert (tmp_path / "executed").is_dir()


def test_no_checkpoint_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^no checkpoint .*start the run without resuming$"):
        checkpoint.load(tmp_path / "checkpoint.pt")


def test_a_damaged_file_never_replaces_the_one_before(tmp_path: Path) -> None:
    path = folder_after(tmp_path / "run", 2)
    damage(path)
    checkpoint.save(path, {"number": 3})
    assert checkpoint.load(path) == {"number": 3}
    assert checkpoint.load(path.with_name(BEFORE)) == {"number": 1}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused_and_the_old_one_kept(bad: float, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    good = {"step": 1, "optimizer": [{"momentum": torch.ones(3)}]}
    checkpoint.save(path, good)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    worse = {"step": 2, "optimizer": [{"momentum": torch.tensor([0.0, bad, 1.0])}]}
    with pytest.raises(InputError, match=r"the state\.optimizer\.0\.momentum is not finite"):
        checkpoint.save(path, worse)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert (
        checkpoint.not_finite({"a": torch.tensor([1, 2]), "b": (torch.zeros(0), None, "nan")})
        is None
    )
