"""Runs of this program as jobs of an engine, through submitit: processes here, or SLURM's.

A job is a command line of this program. When its time is up it saves, is queued again, and goes on
from there, as often as it takes. What it leaves is read from its run folder, never from a pickle;
that it has ended well is an empty file beside the logs.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from cells.errors import InputError
from nas.runtime.commandline import Parser, add_settings
from nas.runtime.settings import Count, OneOf, Settings

LAUNCHERS = ("local", "slurm")
REQUEUES = 1000
"""How often a job may be ended for its time before that counts as a failure."""
POLL = 1.0
"""Seconds between two looks at the jobs."""
LEAVING = 5.0
"""Seconds to wait for cancelled jobs."""


@dataclass(frozen=True, kw_only=True)
class JobsConfig(Settings):
    """Jobs."""

    launcher: Annotated[str | None, OneOf("launcher", LAUNCHERS)] = None
    """What runs it as jobs: local (processes here) or slurm; None runs all in this process. Wants
    pip install 'lambda-nas[cluster]'."""
    jobs: Count = 2
    """Jobs at once."""
    job_time: Count = 60
    """Minutes after which a job saves, is queued again and goes on."""
    job_options: tuple[str, ...] = ()
    """Further ones of submitit, e.g. gpus_per_node=1 slurm_partition=long. Without gpus_per_node a
    local job sees no GPU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for text in self.job_options:
            if not all(text.partition("=")):
                raise InputError(f"job_options are KEY=VALUE, got {text!r}")

    def options(self) -> dict[str, int | str]:
        """Returns the further options by name, whole numbers as such."""
        pairs = (text.partition("=") for text in self.job_options)
        return {name: int(value) if value.isdecimal() else value for name, _, value in pairs}


def take_jobs(args: list[str]) -> JobsConfig:
    """Removes the options of jobs from a command line and returns them.

    Raises:
        InputError: for a value that does not fit.
    """
    parser = Parser(add_help=False, allow_abbrev=False)
    add_settings(parser, JobsConfig())
    known, args[:] = parser.parse_known_args(args)
    return JobsConfig(**vars(known))


@dataclass
class Work:
    """A run, or a part of one, as a job does it: plain texts, which are all that is pickled."""

    folder: str
    """Of the run."""
    begin: tuple[str, ...]
    """Verb and options that begin it."""
    go_on: tuple[str, ...]
    """Verb and options that go on with it."""
    mark: str
    """File that it leaves, empty, when it has ended well."""
    after: tuple[str, ...] = ()
    """Files that have to be there before it can begin."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False, compare=False)
    """Where it runs, in the job."""

    @property
    def saved(self) -> Path:
        """File that it leaves, empty, when its time was over before it has ended."""
        return Path(self.mark).with_suffix(".saved")

    def __call__(self) -> int:
        """Begins the run, or goes on with it, to its end, and returns the exit code."""
        self.saved.unlink(missing_ok=True)
        words = self.go_on if os.path.exists(self.folder) else self.begin
        # A session of its own: a Ctrl-C at a terminal reaches it once, from here.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "nas", *words],
            start_new_session=True,
            # SLURM sends it to all processes of a job; the one above heeds it.
            preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),
        )
        try:
            code = self.process.wait()
        finally:
            self._stop()
        if code == 0:
            Path(self.mark).touch()
        return code

    def checkpoint(self) -> Any:
        """Has the run save and leave, for submitit, which then queues the job again."""
        from submitit.helpers import DelayedSubmission

        self._stop()
        self.saved.touch()
        return DelayedSubmission(replace(self, process=None))

    def _stop(self) -> None:
        """Has the run save and leave, also from a signal's handler that interrupts `__call__`."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            # Not Popen.wait: what is interrupted there holds its lock.
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"process": None}


def works(
    folder: Path,
    begin: Sequence[str],
    go_on: Sequence[str],
    logs: Path,
    parts: Mapping[str, Path] | None = None,
) -> list[Work]:
    """Returns the jobs of a run: one, or one for each of its parts and a last one.

    The first part begins the run; the last job goes on with all of it, when every part is done.

    Args:
        folder: of the run; need not exist.
        begin: verb and options that begin it.
        go_on: verb and options that go on with it.
        logs: folder of `launch`.
        parts: what `--only` names, at least two, each with a file that is there once it can begin.
    """

    def job(name: str, *only: str, after: Sequence[Path | str] = ()) -> Work:
        first, later = ((*words, *only) for words in (go_on if after else begin, go_on))
        return Work(str(folder), first, later, str(logs / f"{name}.done"), tuple(map(str, after)))

    if parts is None:
        return [job(folder.name)]
    each = [
        job(f"{folder.name}-{part}", "--only", part, after=[there] if number else [])
        for number, (part, there) in enumerate(parts.items())
    ]
    return [*each, job(folder.name, after=[work.mark for work in each])]


def launch(works: Sequence[Work], config: JobsConfig, logs: Path) -> Iterator[Work]:
    """Runs works as jobs, some at once.

    Args:
        config: with a launcher.
        logs: folder for what submitit writes, and for what the jobs print.

    Yields:
        Each work when its job has ended well, in the order in which they end.

    Raises:
        InputError: if the launcher cannot be used, or, after all have ended, if a job has failed.
    """
    executor = _executor(config, logs)
    logs.mkdir(parents=True, exist_ok=True)
    waiting, failures = list(works), list[str]()
    running: list[tuple[Work, Any]] = []
    for work in works:  # of a launch before
        Path(work.mark).unlink(missing_ok=True)
        work.saved.unlink(missing_ok=True)
    try:
        while True:
            ready = [work for work in waiting if all(map(os.path.exists, work.after))]
            for work in ready[: config.jobs - len(running)]:
                waiting.remove(work)
                with _errors_to(logs / "engine.err"):
                    running.append((work, executor.submit(work)))
                print(f"job {running[-1][1].job_id}: {' '.join(work.go_on)}", flush=True)
            if not running:
                break
            ended = [pair for pair in running if pair[1].done()]
            for work, job in ended:
                running.remove((work, job))
                if os.path.exists(work.mark):
                    yield work
                elif work.saved.exists():  # the engine does not queue it again, or not any more
                    work.saved.unlink()
                    waiting.append(work)
                else:
                    failures.append(f"{work.folder}: {_last_words(job)}")
            if not ended:
                time.sleep(POLL)
    finally:
        for _, job in running:  # they save and leave
            job.cancel(check=False)
        deadline = time.monotonic() + LEAVING
        while any(not job.done() for _, job in running) and time.monotonic() < deadline:
            time.sleep(0.1)
    if failures:
        raise InputError(
            f"{len(failures)} of {len(works)} jobs failed, logs are in {logs}, the same command "
            f"goes on: {failures[0]}"
        )


def _executor(config: JobsConfig, logs: Path) -> Any:
    """Returns submitit's executor.

    Raises:
        InputError: if submitit or the launcher's programs are absent, or an option is unknown.
    """
    try:
        import submitit
    except ImportError:
        raise InputError("jobs want submitit: pip install 'lambda-nas[cluster]'") from None
    assert config.launcher is not None
    # Jobs import what this process does.
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
    requeues = {f"{config.launcher}_max_num_timeout": REQUEUES}
    try:
        executor = submitit.AutoExecutor(logs, cluster=config.launcher, **requeues)
        own = {"name": "nas", "timeout_min": config.job_time}
        executor.update_parameters(**own | config.options())
    except (RuntimeError, NameError, ValueError, TypeError, AssertionError) as error:
        raise InputError(f"launcher {config.launcher!r}: {error}") from error
    return executor


@contextmanager
def _errors_to(path: Path) -> Iterator[None]:
    """Has programs that begin in the block write their errors to a file, not to the terminal.

    submitit's own for a local job tells a Ctrl-C with a traceback.
    """
    sys.stderr.flush()
    former = os.dup(2)
    with open(path, "ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(former, 2)
        os.close(former)


def _last_words(job: Any) -> str:
    """Returns the error that a job that has failed printed, or else its last line."""
    lines = (job.stderr() or "").splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    return (errors or lines or ["it left no word"])[-1].strip()
