"""Learns the λ that validates best: python -m nas tune RUN."""

from collections.abc import Sequence
from pathlib import Path

from cells.errors import InputError
from cells.output_files import draft_of, replace_synced
from nas.runtime.commandline import Parser, called
from nas.runtime.signals import held_back


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(
        prog=called("tune"),
        description="Find the λ with the least validation loss and write the network at it.",
    )
    parser.add_argument("run", type=Path, help="folder of a search in the space mlp")
    parser.add_argument("--out", type=Path, help="folder (default RUN/tuned)")
    return parser


def command(args: Sequence[str]) -> None:
    """Finds the λ with the least validation loss and writes the network at it.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    given = parser().parse_args(args)
    # Here, as these take seconds, and --help needs none of them.
    with held_back():
        from nas.runtime.files import write_csv
        from nas.weight_search.networks import Generated
        from nas.weight_search.tuning import describe, tune, tuned_rows

    out: Path = given.out or given.run / "tuned"
    if out.exists():  # before any work is done
        raise InputError(f"{out} exists: choose another --out")
    generated = Generated.load(given.run)
    task = generated.task()
    rows = tuned_rows(generated, tune(generated, task), task)
    with draft_of(out) as draft:
        write_csv(draft / "tuned.csv", rows)
        for run, row in enumerate(rows):
            generated.save(draft / f"network-{row['seed']}.safetensors", row["lam"], run)
        replace_synced(draft, out)
    print("\n".join(describe(rows, generated)))
    print(f"table in {out / 'tuned.csv'}, networks beside it")
