"""Runs of commands as forks of one process that has imported all they need, and their faults.

    python tests/campaign/forks.py      # started by `Forks`; reads rounds of runs, answers each

A run is a JSON object: `args`, the command line; `work`, the folder it is given in; `output`, the
file that gets what it says; and optionally `env`, further environment variables; `signals`, pairs
of seconds and a signal's number; `fault`, see `faults.Watch`; `events`, the file that gets those;
`pictures`, whether they are drawn.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from faults import Watch

ROOT = Path(__file__).parents[2]
LIMIT = 120.0
"""Seconds after which a run is taken to hang."""
BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Ended(NamedTuple):
    """How a run has ended."""

    status: int
    """Its exit status; minus the signal's number if one has killed it."""
    seconds: float
    """How long it ran."""
    output: str
    """What it said."""

    @property
    def killed(self) -> bool:
        """Whether by SIGKILL."""
        return self.status == -signal.SIGKILL


class Forks:
    """Has a process of its own that forks for each run."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        )

    def at_once(self, runs: Sequence[dict[str, Any]]) -> list[Ended]:
        """Starts several runs and waits for all; one that is killed takes the others with it."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(list(runs)) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        assert answer, "the process that forks has ended"
        ended = []
        for run, (status, seconds) in zip(runs, json.loads(answer), strict=True):
            output = Path(run["output"])  # absent where it was killed before anything
            said = output.read_text(errors="replace") if output.exists() else ""
            assert seconds < LIMIT, f"{run} hangs\n{said}"
            ended.append(Ended(status, seconds, said))
        return ended

    def close(self) -> None:
        """Ends the process."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def _commands() -> dict[str, Callable[[], None]]:
    """Imports all that runs need, and returns what they call, by program."""
    import nas.__main__
    import nas.retraining.run
    import nas.run
    import retrain
    import search
    from cells.cell import Skeleton
    from cells.cost import CostTable, cost_table
    from cells.space import SPACES
    from nas.cell_search import problem, run
    from nas.commands import ask, draw, family, generate, lottery, prune, tune
    from nas.data.datasets import load_data
    from nas.runtime.manifest import revision

    known: dict[Any, dict[str, CostTable]] = {}

    def unhurried(skeleton: Any, *_: Any) -> dict[str, CostTable]:
        """Latencies of 1 ms per million multiply–adds: measured ones differ from run to run."""
        if skeleton not in known:
            tables = {name: cost_table(name, skeleton) for name in ("params", "flops")}
            base, table = tables["flops"].base / 1e6, tables["flops"].table / 1e6
            known[skeleton] = tables | {"latency": CostTable("latency", base, table)}
        return dict(known[skeleton])

    def unhurried_whole(genotypes: Any, *_: Any) -> list[float]:
        """Twice that."""
        return [2 * genotype.costs["latency"] for genotype in genotypes]

    problem.measure, run.whole_latencies = unhurried, unhurried_whole
    for space in SPACES.values():
        unhurried(Skeleton(space, 1, 10, 8, 8, 2, 1, 2))  # the one of `kinds.TINY`
    load_data("digits", Path("."))  # which imports what it needs
    revision()  # of the code that was imported
    assert all((ask, draw, family, generate, lottery, prune, tune))
    return {
        "search": lambda: search.command(sys.argv[1:]),
        "retrain": lambda: retrain.command(sys.argv[1:]),
        "nas": nas.__main__.command,
    }


def _without_pictures() -> None:
    """Has files of text written in the place of pictures, which take longer than all the rest."""
    from cells.output_files import write_atomically
    from nas.reports import cell_graph, front_plot
    from nas.weight_search import run

    def picture(path: Path, *_: Any) -> None:
        write_atomically(path, b"a picture")

    def cell(graphs: Any, stem: Path) -> Path:
        path = stem.with_name(f"{stem.name}.svg")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "".join(graph.source for graph in graphs.values()).encode())
        return path

    front_plot.save_picture = run.save_picture = picture
    cell_graph._text_width = lambda text, size: 1.0
    cell_graph._render = cell


def _serve() -> None:
    from nas.runtime.script import run_script

    commands = _commands()
    # A run hears of signals once its first line runs.
    signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)

    def main(program: str) -> None:
        def command() -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
            commands[program]()

        run_script(command)

    for line in sys.stdin:
        print(json.dumps(_round(json.loads(line), main)), flush=True)
    os._exit(0)  # to take everything down would take seconds


def _round(runs: list[dict[str, Any]], main: Callable[[str], None]) -> list[tuple[int, float]]:
    """Forks for each run, sends its signals; returns statuses and seconds."""
    start = time.monotonic()
    living = {}
    for number, run in enumerate(runs):
        process = os.fork()
        if process == 0:
            _run(run, main)
        living[process] = number
    due = sorted((delay, i, n) for i, run in enumerate(runs) for delay, n in run.get("signals", ()))
    ended: dict[int, tuple[int, float]] = {}
    while living:
        seconds = time.monotonic() - start
        while due and due[0][0] <= seconds:
            _, number, signalled = due.pop(0)
            for process in (p for p, n in living.items() if n == number):
                os.kill(process, signalled)
        for process in list(living):
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                ended[living.pop(process)] = (os.waitstatus_to_exitcode(status), seconds)
        if seconds > LIMIT or any(status == -signal.SIGKILL for status, _ in ended.values()):
            for process in living:
                os.kill(process, signal.SIGKILL)
        time.sleep(0.001)
    return [ended[number] for number in range(len(runs))]


def _run(run: dict[str, Any], main: Callable[[str], None]) -> None:
    """Is a run; never returns."""
    os.setsid()
    os.chdir(run["work"])
    os.environ.update(run.get("env", {}))
    output = os.open(run["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if not run.get("pictures"):
        _without_pictures()
    program, *sys.argv[1:] = run["args"]
    watch = Watch(run["work"], run.get("fault"))
    code: Any = 0
    try:
        main(program)
    except SystemExit as leaving:
        code = leaving.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    if "events" in run:
        Path(run["events"]).write_text(json.dumps(watch.events))
    os._exit(code)


if __name__ == "__main__":
    _serve()
