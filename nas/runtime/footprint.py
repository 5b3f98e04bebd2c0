"""The memory that a step takes, told before the first one."""

import gc
import os
import resource
import sys
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cells.errors import InputError

SMALL, NEXT = 2, 3
"""Batch sizes of the two steps from which the memory of any is told: it is a straight line."""
OVERHEAD = 1.15
"""Factor for what lies beside the tensors: buffers of kernels, gaps between blocks."""
UNLIMITED = 1 << 50
"""Bytes from which on a limit is none."""


class _Living(TorchDispatchMode):
    """Counts the bytes of tensors that are made inside the block and live.

    Attributes:
        peak: the largest count so far.
    """

    def __init__(self, limit: int) -> None:
        """
        Args:
            limit: bytes at which `MemoryError` is raised.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._limit, self._known = limit, set[int]()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self._now += size
            self.peak = max(self.peak, self._now)
            weakref.finalize(storage, self._forget, key, size)
            if self._now > self._limit:
                raise MemoryError

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size


def peak_of(step: Callable[[], object], limit: int = UNLIMITED) -> int:
    """Returns the most bytes of tensors that live at once while a step is taken.

    Args:
        limit: bytes at which it gives up.

    Raises:
        MemoryError: if there are more of them than `limit`.
    """
    gc.collect()
    with _Living(limit) as living:
        step()
    return living.peak


def free_memory(device: torch.device) -> int:
    """Returns the bytes that this process may still take on a device.

    On a CPU that is what the system has available, or less where a control group or `ulimit -v`
    sets a limit.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return min(_available(), left_of_groups(), _left_of_address_space())


def _available() -> int:
    path = Path("/proc/meminfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def left_of_groups(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> int:
    """Returns what the control groups of this process leave it, by either version of them."""
    left = UNLIMITED
    for line in own.read_text().splitlines() if own.exists() else ():
        _, names, path = line.split(":", 2)
        if names not in ("", "memory"):
            continue
        base = root / names
        limit, used = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if names
            else ("memory.max", "memory.current")
        )
        group = base / path.lstrip("/")
        # In a container its own group may be the root of what is seen.
        for folder in (group, *group.parents, base):
            if not folder.is_relative_to(base):
                continue
            most, now = _number(folder / limit), _number(folder / used)
            if most is not None and now is not None:
                left = min(left, max(0, most - now + _cached(folder / "memory.stat")))
    return left


def _number(path: Path) -> int | None:
    text = path.read_text().strip() if path.is_file() else "max"
    return int(text) if text.isdecimal() and int(text) < UNLIMITED else None


def _cached(path: Path) -> int:
    """Returns the bytes of files in memory, which make room when it is needed."""
    for line in path.read_text().splitlines() if path.is_file() else ():
        if line.startswith("inactive_file "):
            return int(line.split()[1])
    return 0


def _left_of_address_space() -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    status = Path("/proc/self/statm")
    if limit == resource.RLIM_INFINITY or not status.exists():
        return UNLIMITED
    return max(0, limit - int(status.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE"))


def require_memory(
    rough: int, attempt: Callable[[int], object], batch_size: int, device: torch.device
) -> None:
    """Makes sure that a step fits into memory, without taking one.

    The bytes of a step are a straight line in the batch size, but for tiny batches beside large
    weights, whose line is flatter. Two steps with batches of 2 and 3 give it; where even a rough
    bound says that there is room, none is taken.

    Args:
        rough: bytes that a step does not exceed, from sizes alone.
        attempt: takes a step with another batch size, of which nothing is kept.
        batch_size: that of the run.

    Raises:
        InputError: naming the batch size that fits.
    """
    free = free_memory(device)
    if rough < free or batch_size <= NEXT:
        return
    print("estimating the memory of a step", file=sys.stderr, flush=True)
    try:
        small, larger = (OVERHEAD * peak_of(partial(attempt, size), free) for size in (SMALL, NEXT))
    except MemoryError:
        raise InputError(
            f"a step needs more than the {_gib(free)} of memory that are free, even with a batch "
            f"size of {NEXT}: lower --image-size, --channels or --num-cells"
        ) from None
    slope = max(1.0, larger - small)
    needed, fits = small + slope * (batch_size - SMALL), int((free - small) / slope) + SMALL
    if needed > free:
        raise InputError(
            f"a step with a batch size of {batch_size} needs about {_gib(needed)} of memory, "
            f"{_gib(free)} are free: {fits} fits, begin with --batch-size {fits}, or with a lower "
            "--image-size, --channels or --num-cells"
        )


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"


def peak_so_far(device: torch.device) -> int:
    """Returns the most bytes that this process has held on a device until now."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
