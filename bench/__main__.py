"""Measures everything in docs/results/speed.md and writes its tables there.

    python -m bench --reference PATH [--rounds 5] [--parts steps overheads growth processes]

PATH is a checkout of github.com/Intelligent-Systems-Phystech/DARTS-CC, which is never copied; only
`steps` needs it. A table stands between the lines `<!-- NAME -->` and `<!-- end NAME -->`. Twenty
to thirty minutes on two cores, with nothing else running.
"""

import argparse
import re
import sys
from pathlib import Path

from bench import growth, overheads, processes, steps
from nas.retrainer import describe_machine
from nas.runtime import start_processes, write_atomically

PAGE = Path(__file__).parent.parent / "docs" / "results" / "speed.md"
PARTS = ("steps", "overheads", "growth", "processes")


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
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
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
        else:
            table = processes.table(processes.measure(args.rounds))
        print(f"{part}\n\n{table}", flush=True)
        page = insert(PAGE.read_text(), part, table)
        write_atomically(PAGE, page.encode())
    print(describe_machine(start_processes("auto")), file=sys.stderr)


if __name__ == "__main__":
    main()
