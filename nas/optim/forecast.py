"""What a search will take, from a handful of its steps and samples of what comes after them."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from nas.optim.kind import SearchKind
from nas.optim.search import Search
from nas.runtime.course import Pace
from nas.runtime.durations import show_duration
from nas.runtime.files import CHECKPOINT
from nas.runtime.footprint import peak_so_far
from nas.runtime.pace import measure_pace


class Forecast(NamedTuple):
    """What a search will take."""

    pace: Pace
    """Seconds of its steps."""
    searching: float
    """Seconds of all its steps, of all searches of the run."""
    after: dict[str, float]
    """Seconds of what comes after them, by name."""
    memory: int
    """Bytes of the process, or on a GPU."""
    disk: int
    """Bytes of the run folder."""

    def lines(self, search: Search) -> list[tuple[str, str]]:
        """Says it for people, as names and texts."""
        starts, total = search.phases(), search.total_steps
        ends = [*starts[1:], total]
        names = ["warm-up", "after it"] if len(starts) == 2 else [f"part {k + 1}" for k in range(9)]
        parts = [
            (name, end - start, rate)
            for name, start, end, rate in zip(names, starts, ends, self.pace.phases, strict=False)
            if end > start
        ]
        each = "; ".join(
            f"{show_duration(rate)} each" + (f" ({name}, {count:,})" if len(parts) > 1 else "")
            for name, count, rate in parts
        )
        epoch = show_duration(self.pace.epoch)
        return [
            ("steps", f"{total:,}, {search.steps_per_epoch:,} in an epoch"),
            ("a step", f"{each}; {epoch} at the end of an epoch"),
            ("search", show_duration(self.searching)),
            *((name, show_duration(seconds)) for name, seconds in self.after.items()),
            ("all", show_duration(self.searching + sum(self.after.values()))),
            ("memory", f"{self.memory / 2**30:.2f} GiB"),
            ("disk", f"{self.disk / 2**20:.1f} MiB"),
        ]


def forecast(kind: SearchKind, search: Search) -> Forecast:
    """Measures a handful of steps at the run's own sizes, and samples of what comes after.

    Args:
        search: as it begins; steps are taken by another one like it.
    """
    config: Any = search.config
    trial = kind.trial(search, config.batch_size)
    with TemporaryDirectory() as name:
        scratch, report = Path(name), Path(name) / "report"
        rehearsal = Path(name) / "rehearsal"
        report.mkdir()
        rehearsal.mkdir()
        pace = measure_pace(trial, scratch, partial(kind.epoch_ends, trial, scratch))
        kind.rehearse(trial, rehearsal)
        after = kind.after(trial, report)
        # Two checkpoints stay, of each search.
        searches = getattr(config, "searches", 1)
        disk = 2 * (scratch / CHECKPOINT).stat().st_size * searches + _size(report)
    searching = pace.seconds(search.phases(), search.total_steps, search.steps_per_epoch)
    share, processes = kind.side_by_side(search)
    memory = peak_so_far(search.processes.device)
    return Forecast(pace, searching * share, after, memory * processes, disk)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
