"""Trains a discrete network: python -m nas retrain --genotype runs/x/genotypes/….json"""

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
from nas.runtime.progress import quietable
from nas.runtime.signals import held_back

USAGE = """usage: {prog} [PRESET] --genotype FILE [--option value …]
       {prog} --resume runs/x    go on with an interrupted retraining
--only SEED trains the network of one of several seeds alone, beside processes that train others;
--resume then tests all.
--at-once N has a GPU train the networks of N seeds side by side (default 1).
--dry-run measures a few steps and says what the retraining would take; it writes nothing.
--time 5m sets the epochs so that all seeds end in time, tests included.
--quiet prints warnings and errors alone.
--timeout SECONDS without a sign of life of another process, under torchrun, end this one (default
60; 1800 on several machines).
PRESET is one of {presets}; by default that of --data, which is by default that
of the genotype's search. --out FOLDER names the run (default runs/retrain-GENOTYPE).
Options: {prog} digits --help"""
OPTIONS = ("--resume", "--out", "--at-once", "--timeout", "--time", "--only")
"""Options beside the settings."""
FLAGS = ("--dry-run", "--quiet")
"""Those without a value."""


@quietable
def command(args: Sequence[str]) -> None:
    """Runs one retraining from the command line.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    # Here, as these take seconds, in which signals are caught already.
    with held_back():
        from nas.retraining.config import (
            PRESETS,
            RetrainConfig,
            choose_preset,
            fine_tuning,
            read_retraining,
        )
        from nas.retraining.job import Job
        from nas.retraining.plan import lines, plan
        from nas.retraining.run import retrain
        from nas.runtime.course import TimeLimit

    args, prog = list(args), called("retrain")
    if not args or args[0] in ("-h", "--help"):
        print(USAGE.format(prog=prog, presets=", ".join(PRESETS)))
        return
    resume, out = take(args, "--resume"), take(args, "--out")
    side_by_side, only = take_number(args, "--at-once"), take_number(args, "--only")
    at_once = 1 if side_by_side is None else side_by_side
    timeout, dry = take_timeout(args), take_flag(args, "--dry-run")
    limit = TimeLimit(take_time(args), BEGUN)
    if resume is not None:
        if dry or limit.seconds is not None:
            raise InputError(
                "a retraining that has begun keeps its length: leave --time and --dry-run out"
            )
        config = parse(RetrainConfig, read_retraining(Path(resume)), args, f"{prog} --resume RUN")
        retrain(config, Path(resume), resume=True, at_once=at_once, timeout=timeout, only=only)
        return
    name = None if not args or args[0].startswith("-") else args.pop(0)
    data, source, inherit = (take([*args], f"--{n}") for n in ("data", "genotype", "inherit"))
    preset = choose_preset(name, data, source)
    if inherit is not None:
        preset = fine_tuning(preset)
    config = parse(RetrainConfig, preset, args, prog)
    if limit.seconds is not None and (at_once > 1 or only is not None):
        raise InputError("--time is for networks one after the other: leave --at-once, --only out")
    if dry:
        print_plan(lines(plan([Job(config)])))
        return
    folder = Path(out) if out else None
    retrain(config, folder, at_once=at_once, timeout=timeout, limit=limit, only=only)
