"""One search in a process of its own that makes a step whenever it is asked for one.

    python -m bench.worker '{"preset": "cifar10", "changes": {"relax": "softmax"}}'
    python -m bench.worker '{"reference": "PATH", "order": "first", "channels_last": false}'

A line on standard input asks for a step, a line of JSON on standard output answers. Workers that
take turns share whatever else the machine does, so that the ratio of their times means something.
With `"clock": "processor"` a step on a CPU is timed in seconds of all its threads at work, not on
the wall: where more processes run than there are cores, nothing else can be compared.
Both kinds train on noise in the shape of CIFAR-10: what is in an image changes no time.

`reference` is a checkout of Intelligent-Systems-Phystech/DARTS-CC, which is imported from where it
lies. It gets ready batches; ours are augmented in the step.
"""

import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cells.space import SPACES, find_space
from nas.cell_search.presets import PRESETS
from nas.cell_search.searcher import Searcher
from nas.data.batches import Split
from nas.data.datasets import ImageData
from nas.runtime.processes import describe_machine, start_processes

GIB = 2**30


class Worker:
    """The other end of a worker process."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.worker", json.dumps(case)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def step(self) -> float:
        """Makes one step. Returns its seconds."""
        seconds: float = self._ask("step")["seconds"]
        return seconds

    def close(self) -> dict[str, Any]:
        """Ends the process. Returns its peak memory in GiB, the machine, whether it was a GPU."""
        answer = self._ask("end")
        self._end()
        return answer

    def _end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
        self._process.wait()

    def _ask(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(what + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._end()
            raise RuntimeError(
                f"the worker of {self.case} ended: see its message above; if there is none, "
                "memory ran out"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


def take_turns(workers: Sequence[Worker], rounds: int, warm_up: int = 2) -> list[list[float]]:
    """Lets each worker make a step, round after round. Returns the seconds [worker][round]."""
    seconds: list[list[float]] = [[] for _ in workers]
    for number in range(warm_up + rounds):
        for worker, found in zip(workers, seconds, strict=True):
            step = worker.step()
            if number >= warm_up:
                found.append(step)
    return seconds


def noise(num_train: int, side: int, num_classes: int) -> ImageData:
    """Images without content."""
    generator = torch.Generator().manual_seed(0)

    def split(number: int) -> Split:
        shape = (number, 3, side, side)
        images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        return Split(images, torch.arange(number) % num_classes)

    names = tuple(map(str, range(num_classes)))
    half = (0.5,) * 3
    return ImageData(
        "noise", split(num_train), split(num_classes), num_classes, names, half, half, True
    )


def our_step(case: dict[str, Any]) -> tuple[Callable[[], None], torch.device]:
    """A preset with some of its settings changed.

    `side` is that of its images; `candidates` leaves that many of its space's operations, taken
    evenly from its list.
    """
    changes = {"warmup_epochs": 0} | case.get("changes", {})
    changes = {k: tuple(v) if isinstance(v, list) else v for k, v in changes.items()}  # from JSON
    if "candidates" in case:
        space = find_space(PRESETS[case["preset"]].space)
        SPACES["fewer"] = replace(
            space, name="fewer", ops=space.ops[:: len(space.ops) // case["candidates"]]
        )
        changes["space"] = "fewer"
    config = replace(PRESETS[case["preset"]], **changes)
    processes = start_processes(config.device)
    data = noise(4 * config.batch_size, case.get("side", 32), 10)
    return Searcher(config, processes, data=data).advance, processes.device


def reference_step(case: dict[str, Any]) -> tuple[Callable[[], None], torch.device]:
    """The reference's own search step with its committed settings."""
    processes = start_processes(case.get("device", "auto"))
    device = processes.device
    path = Path(case["reference"])
    sys.path.insert(0, str(path))
    sys.modules.pop("search", None)
    module = importlib.import_module("models.cnn_darts_hypernet.search_cnn_darts_hypernet")
    optim = {
        "simple_alpha_update": int(case["order"] == "first"),
        "alpha_lr": 1e-3,
        "w_lr": 0.025,
        "w_lr_min": 0.001,
        "w_momentum": 0.9,
        "w_weight_decay": 3e-4,
        "w_grad_clip": 5.0,
        "alpha_weight_decay": 1e-3,
    }
    darts = {
        "layers": case.get("num_cells", 3),
        "init_channels": case.get("channels", 16),
        "input_channels": 3,
        "n_classes": 10,
        "n_nodes": 4,
        "stem_multiplier": 3,
        "sampling_mode": case.get("sampling", "softmax"),
        "initial temp": 1.0,
        "delta": -0.016,
        "primitives": "DARTS",
        "optim": optim,
    }
    hypernetwork = {
        "hidden_layer_num": 0,
        "hidden_layer_size": 0,
        "log10_lambda_min": -8.0,
        "log10_lambda_max": -4.0,
        "lambda sample num": 1,
    }
    torch.manual_seed(0)
    controller = module.SearchCNNControllerWithHyperNet(
        device=str(device), epochs=50, seed=0, darts=darts, hypernetwork=hypernetwork
    ).to(device)
    controller.train()
    batch = case.get("batch_size", 64)
    images = [torch.randn(batch, 3, 32, 32, device=device) for _ in range(2)]
    labels = [torch.randint(10, (batch,), device=device) for _ in range(2)]
    if case.get("channels_last"):
        controller = controller.to(memory_format=torch.channels_last)
        images = [x.contiguous(memory_format=torch.channels_last) for x in images]

    def step() -> None:
        controller.train_step(images[0], labels[0], images[1], labels[1])

    return step, device


def resident() -> int:
    """Resident set of this process now, in bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    """Builds the case, then answers until it is told to end."""
    case = json.loads(sys.argv[1])
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever a peer prints must not be an answer
    if "threads" in case:
        torch.set_num_threads(case["threads"])
    torch.ones(1).add_(1)
    before = resident()
    step, device = (reference_step if "reference" in case else our_step)(case)
    cuda = device.type == "cuda"
    processor = case.get("clock") == "processor" and not cuda
    clock = time.process_time if processor else time.perf_counter
    for line in sys.stdin:
        answer: dict[str, Any] = {}
        if line.strip() == "step":
            start = clock()
            step()
            if cuda:
                torch.cuda.synchronize()
            answer["seconds"] = clock() - start
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
            if cuda:
                peak = torch.cuda.max_memory_allocated()
            machine = describe_machine(start_processes(device.type))
            answer = {"gib": peak / GIB, "machine": machine, "gpu": cuda}
        print(json.dumps(answer), file=answers, flush=True)
        if "gib" in answer:
            return


if __name__ == "__main__":
    main()
