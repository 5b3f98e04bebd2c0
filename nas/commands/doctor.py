"""Tells what this installation has, and whether it works: python -m nas doctor."""

import io
import shutil
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from nas.runtime.commandline import Parser, called
from nas.runtime.signals import held_back


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(
        prog=called("doctor"),
        description="Tell versions, device and data sets that are found, and try a small search.",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default auto)")
    parser.add_argument(
        "--data-root", help="folder of the named data sets (default: NAS_DATA, data)"
    )
    return parser


def command(args: Sequence[str]) -> None:
    """Prints versions, device and data sets, and does a search of a second.

    Args:
        args: the command line behind the verb; `--help` explains it.

    Raises:
        InputError: if there is no such device, or the search cannot write its results.
    """
    given = parser().parse_args(args)
    # Here, as these take seconds, and --help needs none of them.
    with held_back():
        from nas.cell_search.config import SearchConfig
        from nas.data.source import TORCHVISION, is_here
        from nas.run import search
        from nas.runtime.manifest import surroundings
        from nas.runtime.processes import has_bfloat16, start_processes, stop_processes

    config = SearchConfig(
        space="nasbench201", channels=4, num_cells=1, epochs=1, batch_size=128, grid=3,
        eval_images=100, device=given.device,
    )  # fmt: skip
    processes = start_processes(config.device)
    found = surroundings(processes)
    stop_processes(processes)
    found["bfloat16"] = "computed" if has_bfloat16(processes.device) else "emulated: slow"
    found["free disk here"] = f"{shutil.disk_usage('.').free / 2**30:.1f} GiB"
    root = Path(given.data_root or config.data_root)
    for name in TORCHVISION:
        here = is_here(name, root)
        found[f"data {name}"] = f"found in {root}" if here else "absent, fetched when asked for"
    for name, value in found.items():
        print(f"{name:<20} {value}", flush=True)
    start, said = time.perf_counter(), io.StringIO()
    with TemporaryDirectory() as scratch, redirect_stdout(said), redirect_stderr(said):
        search(config, Path(scratch) / "run")
    print(f"{'a small search':<20} works, {time.perf_counter() - start:.1f} s")
