"""Measures the CPU tables of docs/results/speed.md and docs/methods.md, and writes them there.

    python -m bench --reference PATH [--rounds 5] [--parts steps overheads growth processes methods]

PATH is a checkout of github.com/Intelligent-Systems-Phystech/DARTS-CC, which is never copied; only
`steps` needs it. A table stands between the lines `<!-- NAME -->` and `<!-- end NAME -->`. Twenty
to thirty minutes on two cores, with nothing else running; `methods`, which goes to docs/methods.md
and is left out unless it is asked for, takes as long again.
"""

import argparse
import re
import sys
from pathlib import Path

from bench import growth, methods, overheads, processes, steps
from cells.output_files import write_atomically
from nas.runtime.processes import describe_machine, start_processes

DOCS = Path(__file__).parent.parent / "docs"
SPEED = DOCS / "results" / "speed.md"
PAGES = {
    "steps": SPEED,
    "overheads": SPEED,
    "growth": SPEED,
    "processes": SPEED,
    "methods": DOCS / "methods.md",
}
"""Where the table of each part stands."""


def insert(page: str, name: str, table: str) -> str:
    """Returns the page with a table in its place."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
    if begin not in page or end not in page:
        raise ValueError(f"the page has no place for {name}: add {begin.strip()} and {end}")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{table}\n{end}", page)


def main() -> None:
    """Measures and writes, part by part."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--reference", type=Path, help="a checkout of DARTS-CC")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parts", nargs="+", choices=PAGES, default=list(PAGES)[:-1])
    args = parser.parse_args()
    if "steps" in args.parts and args.reference is None:
        parser.error(
            "steps needs --reference PATH, a checkout of DARTS-CC; or choose other --parts"
        )
    for part in args.parts:
        if part == "steps":
            sizes = {"num_cells": 3, "channels": 16, "batch_size": 64}
            rows = steps.compare(steps.cases(args.reference, args.threads, sizes), args.rounds)
            table = steps.table(rows)
        elif part == "overheads":
            table = overheads.table(overheads.measure(args.rounds, args.threads))
        elif part == "growth":
            table = growth.table(growth.measure(args.rounds, args.threads))
        elif part == "processes":
            table = processes.table(processes.measure(args.rounds))
        else:
            table = methods.table(methods.measure(args.rounds, args.threads))
        print(f"{part}\n\n{table}", flush=True)
        page = insert(PAGES[part].read_text(), part, table)
        write_atomically(PAGES[part], page.encode())
    print(describe_machine(start_processes("auto")), file=sys.stderr)


if __name__ == "__main__":
    main()
