"""Searches for the cells of every λ: python -m nas search digits --out runs/digits"""

from collections.abc import Sequence
from pathlib import Path

from cells.errors import InputError
from nas.runtime.commandline import (
    BEGUN,
    called,
    parse,
    print_plan,
    take,
    take_flag,
    take_number,
    take_time,
    take_timeout,
)
from nas.runtime.files import free_name, read_config, refuse_existing
from nas.runtime.jobs import take_jobs
from nas.runtime.owner import owning
from nas.runtime.progress import quietable
from nas.runtime.signals import held_back

USAGE = """usage: {prog} PRESET [--option value …]    a new search
       {prog} photos [--option value …]    one on your own images: preset images, --data photos
       {prog} --config runs/x/config.json    the same search once more
       {prog} --resume runs/x    go on with an interrupted search
PRESET is one of {presets}; --out FOLDER names the run (default runs/PRESET).
--method NAME searches as a paper does: {methods}.
--dry-run measures a few steps and says what the search would take; it writes nothing.
--time 45m ends in time, finalists and report included: it sets the epochs, which config.json has
then, and sets them anew where the machine becomes slower or faster; over all resumes. Finalists
are left out if all would take more than a quarter of it.
--resume runs/x --epochs 120 makes a run longer, or shorter.
--launcher local|slurm runs it as jobs, several searches as one each, and waits for them; --jobs,
--job-time and --job-options as in nas family --help.
--resume runs/x --only N goes on with one of several searches alone, as a job does, 0 the first;
--resume runs/x then reports all.
--quiet prints warnings and errors alone.
--timeout SECONDS without a sign of life of another process, under torchrun, end this one (default
60; 1800 on several machines).
Options: {prog} digits --help"""
OPTIONS = ("--resume", "--config", "--out", "--method", "--timeout", "--time", "--only")
"""Options beside the settings."""
FLAGS = ("--dry-run", "--quiet")
"""Those without a value."""


@quietable
def command(args: Sequence[str]) -> None:
    """Runs one search from the command line.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    # Here, as these take seconds, in which signals are caught already.
    with held_back():
        from nas.cell_search.presets import METHODS
        from nas.commands.search_jobs import finish_other, launch_search, require_part
        from nas.run import (
            ALL_PRESETS,
            AnyConfig,
            any_config,
            dry_run,
            kind_of,
            named,
            read_any_run,
            require_same_run,
            search,
        )
        from nas.runtime.course import TimeLimit, with_course
        from nas.runtime.run_folder import read_run_config

    args, prog = list(args), called("search")
    jobs, given = take_jobs(args), list(args)
    resume, path, out, method = (take(args, name) for name in OPTIONS[:4])
    timeout, dry = take_timeout(args), take_flag(args, "--dry-run")
    only, limit = take_number(args, "--only"), TimeLimit(take_time(args), BEGUN)
    if jobs.launcher is not None and (limit.seconds, timeout, only) != (None, None, None):
        raise InputError(
            "--launcher runs jobs with a time of their own: leave --time, --timeout, --only out"
        )
    if resume is not None:
        if path is not None or out is not None or method is not None or dry:
            raise InputError(
                "--resume goes on in the run's own folder: leave --config, --method, --out, "
                "--dry-run out"
            )
        folder = Path(resume)
        values = read_run_config(folder)  # nothing is written where no run lies
        if only is not None:
            require_part(any_config(values), only)
        if args and (only or jobs.launcher is not None):
            raise InputError(f"the run goes on as it is: leave {' '.join(args)} out")
        if jobs.launcher is not None:
            launch_search(any_config(values), folder, given, jobs)
        elif only:
            finish_other(folder, only)
        else:
            with owning(folder):
                found, state = read_any_run(folder)
                config = parse(type(found), found, args, f"{prog} --resume RUN")
                former = with_course(config, found)
                require_same_run(former, state, folder)
                search(
                    config, folder, state=state, timeout=timeout, former=former, limit=limit,
                    first=only == 0,
                )  # fmt: skip
        return
    if path is not None:
        name = Path(path).parent.name or "search"
        default: AnyConfig = any_config(read_config(Path(path)))
    elif not args or args[0] in ("-h", "--help"):
        print(USAGE.format(prog=prog, presets=", ".join(ALL_PRESETS), methods=", ".join(METHODS)))
        return
    elif args[0].startswith("-"):
        raise InputError(f"a preset comes first: one of {', '.join(ALL_PRESETS)}, got {args[0]!r}")
    else:
        name, default = named(args.pop(0))
    prog, with_method = f"{prog} {name}", kind_of(default).with_method
    if method is None:
        config = parse(type(default), default, args, prog)
    elif with_method is not None:
        config = with_method(default, method, args, prog)
    else:
        raise InputError(f"--method is for cells, preset {name!r} has none: leave it out")
    if only is not None:
        require_part(config, only)
        if only:
            raise InputError(f"search {only} of a run goes on with --resume, the first begins it")
    if dry:
        print_plan(dry_run(config))
        return
    folder = Path(out) if out else Path("runs") / name
    if jobs.launcher is None:
        search(config, folder, exact=out is not None, timeout=timeout, limit=limit, first=only == 0)
        return
    if out is None:
        folder = free_name(folder)
    refuse_existing(folder)
    take(given, "--out")
    launch_search(config, folder, given, jobs)
