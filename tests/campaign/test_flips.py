"""Single bits that flip in the files of a run: noticed where there is a hash, else no traceback.

make campaign FLIPS=20000       # so many in each kind of file; 2000 if none are named
"""

import json
import os
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from readers import CELL, READERS, RUNS, outcome

from cells.cell import Skeleton
from cells.errors import InputError
from cells.network import Network
from cells.notation import read_genotype
from cells.space import find_space
from nas.export.safetensors import load, save_network
from nas.export.training_data import TrainingData
from nas.reports.report import read_rows
from nas.runtime import checkpoint
from nas.runtime.manifest import is_exact, note_resume, write_manifest
from nas.runtime.processes import Processes
from nas.runtime.sums import SUMS, write_sums

FLIPS = int(os.environ.get("FLIPS", "10"))
SEED = int(os.environ.get("SEED", "0"))
ALONE = Processes(0, 1, torch.device("cpu"))


def flipped(content: bytes, rng: random.Random) -> bytes:
    """The content with one bit of it turned."""
    place = rng.randrange(8 * len(content))
    found = bytearray(content)
    found[place // 8] ^= 1 << place % 8
    return bytes(found)


def _reported(read: Callable[[Path], Any], path: Path) -> bool:
    """Whether a reader warns, or refuses the file in one line."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            read(path)
    except InputError as error:
        assert str(error).isprintable()
        return True
    return len(caught) > 0


def _network(folder: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network(
            read_genotype(CELL), Skeleton(find_space("nasbench201"), 1, 2, 8, 8, 2, 1, 1)
        )
    path = folder / "model.safetensors"
    save_network(path, network, TrainingData("mine", ("a", "b"), (0.5,), (0.5,), (1, 8, 8)))
    return path


def _checkpoint(folder: Path) -> Path:
    for name in ("checkpoint.pt", "checkpoint.pt.sha256"):
        shutil.copy(RUNS / "nasbench201" / name, folder)
    return folder / "checkpoint.pt"


def _kept_checkpoint(folder: Path) -> Path:
    path = _checkpoint(folder)
    checkpoint.save(path, checkpoint.load(path))
    return path


def _front(folder: Path) -> Path:
    run = RUNS / "nasbench201"
    files = ["front.csv", *(f"genotypes/{path.name}" for path in (run / "genotypes").iterdir())]
    (folder / "genotypes").mkdir()
    for name in files:
        shutil.copy(run / name, folder / name)
    write_sums(folder, {name: (folder / name).read_bytes() for name in sorted(files)})
    return folder / "front.csv"


def _genotype(folder: Path) -> Path:
    return sorted((_front(folder).parent / "genotypes").iterdir())[0]


HASHED: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "checkpoint": (_checkpoint, checkpoint.load),
    "checkpoint with one before": (_kept_checkpoint, checkpoint.load),
    "hash of a checkpoint": (
        lambda folder: _checkpoint(folder).with_name("checkpoint.pt.sha256"),
        lambda path: checkpoint.load(path.with_suffix("")),
    ),
    "network": (_network, load),
    "front.csv": (_front, lambda path: read_rows(path.parent)),
    "genotype of a run": (_genotype, lambda path: read_rows(path.parents[1])),
}
"""Makes a file in a folder, and reads it."""


@pytest.mark.parametrize("name", HASHED)
def test_every_flip_is_noticed_where_there_is_a_hash(name: str, tmp_path: Path) -> None:
    make, read = HASHED[name]
    path, rng = make(tmp_path), random.Random(f"{SEED} {name}")
    good = path.read_bytes()
    assert not _reported(read, path)
    for number in range(FLIPS):
        path.write_bytes(flipped(good, rng))
        assert _reported(read, path), f"flip {number} of {name}, SEED={SEED}"


def test_hashes_that_have_flipped_are_noticed_or_protect_what_they_still_name(
    tmp_path: Path,
) -> None:
    rows = read_rows(_front(tmp_path).parent)
    sums, rng = tmp_path / SUMS, random.Random(SEED)
    good = sums.read_bytes()
    for number in range(FLIPS):
        sums.write_bytes(flipped(good, rng))
        try:
            assert read_rows(tmp_path) == rows, f"flip {number}, SEED={SEED}"
        except InputError as error:
            assert SUMS in str(error)


UNHASHED = ("metrics.jsonl", "config.json", "config.json of mlp", "npz", "latencies", "genotype")


@pytest.mark.parametrize("name", UNHASHED)
def test_no_flip_escapes_where_there_is_none(name: str, tmp_path: Path) -> None:
    rng, reader = random.Random(f"{SEED} {name}"), READERS[name]
    for _ in range(FLIPS):
        outcome(reader, flipped(reader.good, rng), tmp_path / "run")


def test_no_flip_of_a_manifest_escapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(tmp_path, {"seed": 0}, {"images": "8 abc"}, ALONE)
    path, rng = tmp_path / "manifest.json", random.Random(SEED)
    good = path.read_bytes()
    assert json.loads(good)["exact"]
    for _ in range(FLIPS):
        path.write_bytes(flipped(good, rng))
        try:
            is_exact(tmp_path)
            note_resume(tmp_path, "step 1", ALONE)
        except InputError as error:
            assert "manifest.json" in str(error)
    capsys.readouterr()
