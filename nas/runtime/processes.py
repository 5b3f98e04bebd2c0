"""Processes and devices of a run."""

import gc
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from cells.errors import InputError
from nas.runtime.files import describe
from nas.runtime.meeting import MAIN, NUMBERS, STEP, Meeting, what_happened
from nas.runtime.parted import Parted

Read = TypeVar("Read")

TIMEOUT = 60.0
"""Seconds to wait for a sign of life of another process on the same machine."""
FAR_TIMEOUT = 1800.0
"""The same of several machines, whose network may be away for a while: torch's own for gloo."""
NCCL_TIMEOUT = timedelta(minutes=10)
"""Torch's own for NCCL, never shortened: its watchdog counts the work queued before, too."""


@dataclass(frozen=True)
class Processes:
    """The processes of one run, one per device, as one of them sees it."""

    rank: int
    """This process, in 0 … world-1."""
    world: int
    """How many processes there are."""
    device: torch.device
    """The device of this process."""
    meeting: Meeting | None = field(default=None, compare=False, repr=False)
    """Where it meets the others; None if it is alone."""

    @property
    def is_main(self) -> bool:
        """Tells whether this process writes files and shows progress."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Returns the mean over processes of each tensor, by a single all-reduce.

        Every process must pass tensors of the same shapes and types in the same order. Gradients
        taken by `torch.autograd.grad` go through here, as `DistributedDataParallel` does not
        see them.

        Args:
            tensors: floating-point tensors of any shape; empty is allowed.
        """
        if self.world == 1 or not tensors:
            return tuple(tensors)
        double = any(tensor.dtype == torch.float64 for tensor in tensors)
        dtype = torch.float64 if double else torch.float32
        flat = torch.cat([tensor.detach().reshape(-1).to(self.device, dtype) for tensor in tensors])
        self._come(NUMBERS, flat.numel())
        dist.all_reduce(flat)
        parts = torch.split(flat / self.world, [tensor.numel() for tensor in tensors])
        pairs = zip(parts, tensors, strict=True)
        return tuple(part.reshape(tensor.shape).to(tensor) for part, tensor in pairs)

    def any_process(self, flag: bool, step: int = 0) -> bool:
        """Returns whether the flag is set in at least one process, the same answer in all.

        Args:
            step: at which step, the same in all.
        """
        return self._come(STEP, step, flag)

    def main_first(self, read: Callable[[], Read]) -> Read:
        """Returns what `read` returns, in the main process before all others: it may download.

        Raises:
            InputError: in all processes, if `read` raises it or an OSError in one.
        """
        found, message = self.in_main(read), None
        if not self.is_main:
            found, message = _attempt(read)
        self._raise_together(message)
        return cast(Read, found)

    def in_main(self, run: Callable[[], Read]) -> Read | None:
        """Returns what `run` returns in the main process; None in the others, which wait.

        Raises:
            InputError: in all processes, if `run` raises it, or an OSError in several processes.
        """
        if self.world == 1:
            return run()
        found, message = _attempt(run) if self.is_main else (None, None)
        self._raise_together(message)
        return found

    def told_by_main(self, run: Callable[[], Read]) -> Read:
        """Returns, in all processes, what `run` returns in the main process; raises as `in_main`.

        Args:
            run: returns what can be pickled.
        """
        found = self.in_main(run)
        return cast(Read, found if self.meeting is None else self.meeting.gather(found)[0])

    def raise_parted(self, error: RuntimeError, run: Path | None) -> None:
        """Raises `Parted` for an error that comes of other processes.

        Args:
            run: the folder to go on with, if there is one yet.
        """
        what = None if self.meeting is None else self.meeting.what_happened(error)
        if self.meeting is not None and what is not None:
            again = "give the same command again"
            if run is not None:
                again = f"the last checkpoint is whole, go on with --resume {run}"
            raise Parted(f"{what}; {again}", tells=self.meeting.is_first_to_tell()) from error

    def _come(self, kind: int, number: int = 0, flag: bool = False) -> bool:
        return flag if self.meeting is None else self.meeting.come(kind, number, flag)

    def _raise_together(self, message: str | None) -> None:
        """Raises, in all processes, the first error that one of them has met, None if it has not.

        Raises:
            InputError: if one has.
        """
        if self.meeting is None or not self._come(MAIN, flag=message is not None):
            return
        for each in self.meeting.gather(message):
            if each is not None:
                raise InputError(each)

    def barrier(self) -> None:
        """Waits until every process has come here."""
        self._come(STEP)


def _attempt(run: Callable[[], Read]) -> tuple[Read | None, str | None]:
    """Returns what a function returns, or the message of its user's error."""
    try:
        return run(), None
    except InputError as error:
        return None, str(error)
    except OSError as error:
        return None, describe(error)


def start_processes(device: str, timeout: float | None = None) -> Processes:
    """Joins the processes that torchrun started, or stands alone without it.

    Args:
        device: `"auto"` (a GPU if there is one, else the CPU), `"cpu"`, `"cuda"`, `"cuda:1"`, ….
            Several processes on GPUs take one each.
        timeout: seconds to wait for a sign of life of another process; None for 60, or 1800 on
            several machines.

    Raises:
        InputError: if there is no such device on this machine.
        Parted: if the other processes do not come.
    """
    rank, world, local_rank = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    name = device
    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        name = f"cuda:{local_rank}"
    elif name.startswith("cuda:") and world > 1:
        raise InputError(f"device {device!r} cannot serve {world} processes: ask for 'cuda'")
    if name.startswith("cuda"):
        num_local, num_gpus = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
        if 0 < num_gpus < num_local:  # refused by all, as the first could not tell for the last
            raise InputError(
                f"device {device!r} cannot serve {num_local} processes, torch counts {num_gpus} "
                "GPUs here: start one process per GPU, or choose cpu"
            )
    found = _find_device(name, device)
    if world == 1:
        return Processes(rank, world, found)
    if timeout is None:
        timeout = TIMEOUT if os.environ.get("LOCAL_WORLD_SIZE") == str(world) else FAR_TIMEOUT
    return Processes(rank, world, found, _meet(rank, world, found, timeout))


def _meet(rank: int, world: int, device: torch.device, timeout: float) -> Meeting:
    """Joins the process group, over the store that torchrun names in the environment."""
    limit, backend = timedelta(seconds=timeout), "gloo"
    own_limit = limit
    if device.type == "cuda":
        torch.cuda.set_device(device)
        own_limit, backend = max(limit, NCCL_TIMEOUT), "nccl"
    try:
        store, rank, world = next(rendezvous("env://", rank, world, timeout=limit))
        store.set_timeout(limit)
        dist.init_process_group(
            backend, store=store, rank=rank, world_size=world, timeout=own_limit
        )
        return Meeting(store, timeout)
    except RuntimeError as error:
        _leave_group()
        what = what_happened(error, world, timeout)
        if what is None:
            raise
        raise Parted(f"{what}; give the same command again", tells=rank == 0) from error


def _find_device(name: str, asked: str) -> torch.device:
    """Returns the device called `name` if tensors can be made there."""
    remedy = "choose auto, cpu or cuda"
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # Which of these torch raises depends on the device and on how torch was built.
        if not torch.cuda.is_available() and asked.startswith("cuda"):
            remedy = "torch finds no GPU here; choose cpu"
        elif asked.startswith(("cuda", "auto")):
            remedy = f"torch cannot use {name}, it counts {torch.cuda.device_count()} GPUs here"
        raise InputError(f"no device {asked!r}: {remedy}") from error
    return device


def num_cpus() -> int:
    """Counts the CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_threads(count: int) -> None:
    """Refuses more threads than there are CPUs for this process, on which they would only wait.

    Raises:
        InputError: naming how many there are.
    """
    if count > num_cpus():
        raise InputError(
            f"threads must be at most {num_cpus()}, as many CPUs as there are here, got {count}"
        )


def has_bfloat16(device: torch.device) -> bool:
    """Tells whether a device computes in bfloat16 itself: a GPU, a CPU with AVX512-BF16 or AMX.

    Elsewhere it is emulated: on a CPU with AVX2 alone a step of the preset nasbench201 takes 9
    times as long in bfloat16 as in float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def stop_processes(processes: Processes) -> None:
    """Leaves the process group, if there is one."""
    if processes.meeting is not None:
        processes.meeting.end()
    _leave_group()


def _leave_group() -> None:
    if dist.is_initialized():
        # A DDP model in a reference cycle would keep the group, and its threads, beyond this:
        # at exit they then end the process with an abort.
        gc.collect()
        dist.destroy_process_group()


def describe_machine(processes: Processes) -> dict[str, Any]:
    """Describes what a time or an accuracy was measured with."""
    return {
        "torch": torch.__version__,
        "device": _device_name(processes.device),
        "threads": torch.get_num_threads(),
        "processes": processes.world,
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")  # Python's own name for a processor is empty on Linux
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
