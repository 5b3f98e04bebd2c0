"""Writes the page of a search again: python -m nas report RUN."""

from collections.abc import Sequence
from pathlib import Path

from nas.runtime.commandline import Parser, called
from nas.runtime.signals import held_back


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(
        prog=called("report"),
        description="Write the page of a search again, from what its folder holds.",
    )
    parser.add_argument("run", type=Path, help="folder of a search, e.g. runs/digits")
    return parser


def command(args: Sequence[str]) -> None:
    """Writes report.html of a search, finished or not, from what its folder holds.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    run: Path = parser().parse_args(args).run
    # Here, as these take seconds, and --help needs none of them.
    with held_back():
        from nas.cell_search.config import SearchConfig
        from nas.cell_search.fronts import load_front
        from nas.reports.page import PAGE, write_search_page
        from nas.reports.weights_page import write_weights_page
        from nas.run import read_any_run
        from nas.runtime.owner import owning

    config, _ = read_any_run(run)
    with owning(run):
        if isinstance(config, SearchConfig):
            write_search_page(run, load_front(run), config.to_dict())
        else:
            write_weights_page(run, config.to_dict())
    print(run / PAGE)
