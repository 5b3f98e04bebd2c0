"""Damaged and hostile files before every reader: one line or an answer, no program, no network.

    make campaign MUTANTS=3000 FUZZED=100000        # so many for each reader

`make test` tries a few, always the same.
"""

import copy
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bombs import BOMBS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS, outcome

MUTANTS = int(os.environ.get("MUTANTS", "6"))
FUZZED = int(os.environ.get("FUZZED", "20"))
WHOLE = MUTANTS >= 100
TRIED = settings(
    max_examples=MUTANTS,
    deadline=None,
    database=None,
    derandomize=not WHOLE,
    suppress_health_check=list(HealthCheck),
)
TOKENS = (
    b"", b"\0", b"\xff", b"\n", b",", b'"', b"NaN", b"1e999", b"-1", b"1e200", b"9" * 400, b"null",
    b"true", b"[" * 40, b"{}", b"\xe2\x80\xa8", b"../../x", b"'", b"(", b"PK\3\4", b"q\0h\0",
)  # fmt: skip
FORBIDDEN = (
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork",
    "os.forkpty", "pty.spawn", "socket.__new__", "socket.connect", "socket.bind",
    "socket.getaddrinfo", "ctypes.dlopen", "webbrowser.open", "urllib.Request",
)  # fmt: skip

HARMLESS = (
    "a picture of 8 megapixels", "80,000 empty parts of a picture", "250,000 rows", "10,000 cells",
)  # fmt: skip
"""Bombs that are valid files."""
SLOW = (
    *HARMLESS, "a list of a million nones", "a million tuples, nested",
    "64 MB, deflated, of images", "300 MB, deflated, of images",
    "100 MB, deflated, of a checkpoint", "lists that hold others twice",
)  # fmt: skip
"""Bombs that take half a second."""

_watched: list[str] | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is not None and event in FORBIDDEN:
        _watched.append(event)
        raise AssertionError(f"{event} {arguments}")


sys.addaudithook(_hook)


@pytest.fixture(autouse=True)
def watched() -> Iterator[list[str]]:
    """What was asked of the system and refused; each test sees that nothing was."""
    global _watched
    _watched = events = []
    yield events
    _watched = None
    assert events == []


@st.composite
def mutants(draw: st.DrawFn, content: bytes) -> bytes:
    """The content after one to three edits: bytes replaced, left out, put in, or doubled."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([0, 1, 1, 2, 8, 64, len(content)]))
        piece = content[start : start + length]
        new = draw(st.sampled_from(TOKENS) | st.binary(max_size=4) | st.just(piece * 2))
        content = content[:start] + new + content[start + length :]
    return content


@pytest.mark.parametrize("name", READERS)
def test_good_files_are_read(name: str, tmp_path: Path) -> None:
    assert outcome(READERS[name], READERS[name].good, tmp_path / "run") == "read"


@pytest.mark.parametrize("name", READERS)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    refused = []

    @TRIED
    @given(mutants(READERS[name].good))
    def attempt(content: bytes) -> None:
        refused.append(outcome(READERS[name], content, tmp_path / "run") != "read")

    attempt()
    assert any(refused) or not WHOLE


TEXTS = (
    "genotype", "genotype of DARTS", "genotype of NAS-Bench-201", "genotype of DARTS-CC", "bounds",
    "front.csv", "config.json", "config.json of mlp", "metrics.jsonl", "latencies", "table",
    "manifest.json", "retrained.csv", "chance.csv", "latency.csv",
)  # fmt: skip
"""Readers that take less than a millisecond."""


def fuzzed(content: bytes, rng: random.Random) -> bytes:
    """The content after one to four edits, quicker than `mutants` draws them."""
    for _ in range(rng.randint(1, 4)):
        start, length = rng.randint(0, len(content)), rng.choice((0, 1, 1, 2, 8, 64))
        piece = content[start : start + length]
        new = rng.choice((rng.choice(TOKENS), rng.randbytes(rng.randint(1, 4)), piece * 2))
        content = content[:start] + new + content[start + length :]
    return content


@pytest.mark.parametrize("name", TEXTS)
def test_fuzzed_texts(name: str, tmp_path: Path) -> None:
    """None takes 50 ms of a processor, told of the quickest of a few tries."""
    reader, rng = READERS[name], random.Random(name)

    def seconds(content: bytes) -> float:
        start = time.process_time()
        outcome(reader, content, tmp_path / "run")
        return time.process_time() - start

    for _ in range(FUZZED):
        content = fuzzed(reader.good, rng)
        if seconds(content) > 0.05:
            assert min(seconds(content) for _ in range(5)) < 0.05, content


STRANGE: list[Any] = [
    None, True, -1, 0, 7, 10**400, float("nan"), float("inf"), "x", "", [], {}, [1, 2], {"a": 1},
    {1: 2}, (), torch.zeros(0), torch.zeros(3), torch.zeros(3, dtype=torch.int64),
    torch.full((6, 5), float("nan")), torch.zeros(6, 5, dtype=torch.float64),
]  # fmt: skip


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every part of a state that can be replaced."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in items:
        yield (*way, key)
        if isinstance(part, dict | list):
            yield from places(part, (*way, key))


def malformed(state: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """A state with one part left out, replaced by something else, or of another type or shape."""
    state = copy.deepcopy(state)
    part = rng.choice(list(state))
    *way, last = rng.choice([w for w in places(state) if w[0] == part])
    at: Any = state
    for key in way:
        at = at[key]
    old, change = at[last], rng.randrange(3)
    if change == 0:
        del at[last]
    elif change == 1 and isinstance(old, torch.Tensor):
        wrong = [old.double(), old.long(), old[..., None], old.flatten()[:1], old * float("nan")]
        at[last] = rng.choice(wrong)
    else:
        at[last] = rng.choice(STRANGE)
    return state


@pytest.mark.parametrize("name", [name for name in READERS if name.startswith("checkpoint")])
def test_malformed_states(name: str, tmp_path: Path) -> None:
    rng, reader, refused = random.Random(0), READERS[name], 0
    (tmp_path / reader.file).write_bytes(reader.good)
    content = tmp_path / "state.pt"
    state = torch.load(tmp_path / reader.file, weights_only=True)
    for _ in range(min(MUTANTS, 100_000)):
        torch.save(malformed(state, rng), content)
        refused += outcome(reader, content.read_bytes(), tmp_path / "run") != "read"
    assert refused > 0


@pytest.mark.parametrize("name", [name for name in BOMBS if WHOLE or name not in SLOW])
def test_small_files_that_ask_for_much(name: str, tmp_path: Path, peak_memory: Any) -> None:
    reader, make = BOMBS[name]
    content = make()
    assert len(content) < 1 << 20
    extra = peak_memory()
    found = outcome(READERS[reader], content, tmp_path / "run")
    assert found != "read" or name in HARMLESS
    assert extra() < 200 << 20


def test_the_watch_sees_what_is_started(watched: list[str]) -> None:
    with pytest.raises(AssertionError, match=r"subprocess\.Popen"):
        subprocess.run(["true"], check=True)
    with pytest.raises(AssertionError, match=r"os\.system"):
        pickle.loads(BOMBS["pickled code alone"][1]())
    assert watched == ["subprocess.Popen", "os.system"]
    watched.clear()


def test_pipes_are_never_waited_for(tmp_path: Path) -> None:
    for number, (name, reader) in enumerate(READERS.items()):
        if name == "bounds":
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        os.mkfifo(folder / reader.file)
        if reader.file.endswith(".pt"):
            (folder / f"{reader.file}.sha256").write_text("0")
        with pytest.raises((ValueError, OSError), match=r"pipe|no folder|does not exist|neither"):
            reader.read(folder / reader.file)
