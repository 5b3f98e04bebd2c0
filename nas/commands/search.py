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
    take_time,
    take_timeout,
)
from nas.runtime.files import read_config
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
then, and sets them anew where the machine becomes slower or faster; over all resumes.
--resume runs/x --epochs 120 makes a run longer, or shorter.
--quiet prints warnings and errors alone.
--timeout SECONDS without a sign of life of another process, under torchrun, end this one (default
60; 1800 on several machines).
Options: {prog} digits --help"""
OPTIONS = ("--resume", "--config", "--out", "--method", "--timeout", "--time")
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
    resume, path, out, method = (take(args, name) for name in OPTIONS[:4])
    timeout, dry = take_timeout(args), take_flag(args, "--dry-run")
    limit = TimeLimit(take_time(args), BEGUN)
    if resume is not None:
        if path is not None or out is not None or method is not None or dry:
            raise InputError(
                "--resume goes on in the run's own folder: leave --config, --method, --out, "
                "--dry-run out"
            )
        folder = Path(resume)
        read_run_config(folder)  # nothing is written where no run lies
        with owning(folder):
            found, state = read_any_run(folder)
            config = parse(type(found), found, args, f"{prog} --resume RUN")
            former = with_course(config, found)
            require_same_run(former, state, folder)
            search(config, folder, state=state, timeout=timeout, former=former, limit=limit)
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
    if dry:
        print_plan(dry_run(config))
        return
    folder = Path(out) if out else Path("runs") / name
    search(config, folder, exact=out is not None, timeout=timeout, limit=limit)
