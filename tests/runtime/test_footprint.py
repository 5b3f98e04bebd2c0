"""What a step takes of memory is told from two small ones, against what is free."""

import os
import resource
from functools import partial
from pathlib import Path

import pytest
import torch

from cells.errors import InputError
from nas.runtime import footprint
from nas.runtime.footprint import free_memory, peak_of, require_memory

CPU = torch.device("cpu")


def test_the_peak_is_what_lives_at_once() -> None:
    def step() -> None:
        kept = torch.zeros(1000)  # 4,000 bytes
        (kept + 1).sum()  # as many again, and 4
        torch.zeros(10).add_(1).view(2, 5)

    assert peak_of(step) == 8004


def test_the_peak_of_a_backward_pass_is_linear_in_the_batch() -> None:
    weight = torch.zeros(8, 8, requires_grad=True)

    def step(batch: int) -> None:
        weight.grad = None
        x = torch.zeros(batch, 8)
        for _ in range(10):
            x = torch.tanh(x @ weight)
        x.sum().backward()

    some, more, many = (peak_of(partial(step, batch)) for batch in (20, 30, 200))
    assert many == some + 18 * (more - some) > 200 * 8 * 4 * 10


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    """100,000 bytes are free."""
    monkeypatch.setattr(footprint, "free_memory", lambda device: 100_000)


def hold(batch: int) -> None:
    torch.zeros(2000), torch.zeros(250 * batch)  # 8,000 + 1,000 per example, both alive


@pytest.mark.usefixtures("free")
def test_a_step_that_does_not_fit_is_refused_with_the_batch_that_does() -> None:
    # 1.15 (8,000 + 1,000 b) <= 100,000 for b <= 78.
    require_memory(10**9, hold, 78, CPU)
    with pytest.raises(InputError, match=r"79 needs about .* 78 fits, begin with --batch-size 78"):
        require_memory(10**9, hold, 79, CPU)
    with pytest.raises(InputError, match=r"even with a batch size of 3: lower --image-size"):
        require_memory(10**9, lambda size: hold(1000 * size), 79, CPU)


@pytest.mark.usefixtures("free")
def test_no_step_is_taken_where_there_is_surely_room() -> None:
    require_memory(99_999, lambda size: pytest.fail("a step was taken"), 64, CPU)


def test_the_limit_of_the_address_space_counts() -> None:
    """In a process of its own, as a limit cannot be raised again."""
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 50_000_000, resource.RLIM_INFINITY))
        os.write(write, str(free_memory(CPU)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert 40_000_000 < int(os.read(read, 100)) <= 50_000_000


@pytest.mark.parametrize("version", [1, 2])
def test_the_limits_of_control_groups_count(version: int, tmp_path: Path) -> None:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")
    limit, used = names[version - 1]
    base = tmp_path / ("memory" if version == 1 else "")
    own = base / "a" / "b"
    own.mkdir(parents=True)
    for folder, most, now in ((own, "max", 10), (own.parent, "1000", 700)):
        (folder / limit).write_text(f"{most}\n")
        (folder / used).write_text(f"{now}\n")
    (own.parent / "memory.stat").write_text("anon 5\ninactive_file 40\n")
    groups = tmp_path / "cgroup"
    groups.write_text("5:cpu:/c\n" + ("4:memory:/a/b\n" if version == 1 else "0::/a/b\n"))
    assert footprint.left_of_groups(tmp_path, groups) == 1000 - 700 + 40
