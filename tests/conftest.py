"""What every test shares: one thread, so that numbers repeat, and the way to real data."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Read when torch loads OpenMP; idle threads that spin slow every other process down.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# No example has a deadline: beside other work one may take ten times as long.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that holds real data sets; the test is skipped if there is none."""
    root = Path(os.environ.get("NAS_DATA", "data"))
    if not root.is_dir():
        pytest.skip(f"real data wanted: {root} is no folder, set NAS_DATA to the one that has it")
    return root


@pytest.fixture(scope="session")
def data_file(data_root: Path) -> Callable[[str], Path]:
    """`data_file("cifar10.npz")` is that file's path; the test is skipped if it is not there."""

    def find(name: str) -> Path:
        if not (data_root / name).exists():
            pytest.skip(f"real data wanted: {data_root / name} is missing")
        return data_root / name

    return find


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A script that ends leaves signals ignored; here the process goes on."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
    former = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


class Killed(Exception):
    """Ends a run at once, without a word, as a kill does."""


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`with interrupted(Trainer, 7, signal.SIGTERM):` sends a signal during the 7th step of any.

    Without a signal nothing more is done, as when the process is killed.
    """
    from nas.runtime.signals import Stopped

    @contextmanager
    def stop(kind: Any, step: int, number: int | None = None) -> Iterator[Any]:
        advance, calls = kind.advance, iter(range(1, 10_000))

        def counted(training: Any) -> None:
            if next(calls) == step:
                if number is None:
                    raise Killed
                signal.raise_signal(number)
            advance(training)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "advance", counted)
            with pytest.raises(Killed if number is None else Stopped) as caught:
                yield caught
        assert number is None or caught.value.received == number

    return stop


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search, of less than a second; tests read it and copy it."""
    # Here, as most tests need none of it.
    from cells.cost import CostTable
    from nas.cell_search import problem
    from nas.cell_search.config import SearchConfig
    from nas.objective.costs import measure
    from nas.run import search

    def unhurried(*args: Any) -> dict[str, CostTable]:
        """Latencies of 1 ms per million multiply–adds, whatever else the machine does."""
        tables = measure(*args)
        flops = tables["flops"]
        latency = CostTable("latency", flops.base / 1e6, flops.table / 1e6)
        return tables | {"latency": latency}

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    config = SearchConfig(
        data="digits",
        data_root="data",
        channels=4,
        num_cells=2,
        epochs=3,
        warmup_epochs=1,
        batch_size=128,
        w_lr=0.1,
        arch_lr=0.3,
        arch_kl=0.1,
        grid=21,
        eval_images=100,
        threads=1,
        device="cpu",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(problem, "measure", unhurried)
        search(config, folder)
    return folder


@pytest.fixture
def peak_memory() -> Callable[[], Callable[[], int]]:
    """Starts to watch memory; what it returns tells by how many bytes use has been above that."""
    forget, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not forget.exists():
        pytest.skip("this system does not tell a process its peak of memory")

    def peak() -> int:
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        assert found is not None
        return 1024 * int(found[1])

    def start() -> Callable[[], int]:
        forget.write_text("5")  # the peak so far, which may be that of another test
        before = peak()
        return lambda: peak() - before

    return start
