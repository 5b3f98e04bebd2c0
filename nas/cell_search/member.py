"""One of the searches of a run, in a process of its own: python -m nas.cell_search.member FOLDER.

What follows the folder is when it was told to begin, a reading of `time.monotonic`. It ends when
its standard input closes, be it because the process that started it has died.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path


def watch() -> None:
    """Waits until standard input closes, then asks this process to leave."""
    os.read(0, 1)  # nothing is ever written to it; unlike sys.stdin it holds no lock meanwhile
    os.kill(os.getpid(), signal.SIGTERM)


def finish(folder: Path, begun: float | None = None) -> None:
    """Goes on with a search to its end; writes no report.

    Args:
        folder: of a search for cells that has a checkpoint.
        begun: reading of `time.monotonic` from which the time that it is given counts on; None for
            now.

    Raises:
        InputError: if another process owns the folder, or its files cannot be used.
        Stopped: on a signal that asks to leave, after saving.
    """
    # These take seconds, in which the process is being watched already.
    from nas.cell_search.folder import read_run
    from nas.cell_search.searcher import Searcher
    from nas.runtime import loop
    from nas.runtime.owner import owning
    from nas.runtime.processes import start_processes

    with owning(folder):
        config, state = read_run(folder)
        searcher = Searcher(config, start_processes(config.device), state=state)
        if searcher.deadline is not None and begun is not None:
            searcher.deadline.count_from(begun)
        loop.run(searcher, folder)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # also where the parent ignores it
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until there is something to save
    threading.Thread(target=watch, daemon=True).start()
    from nas.runtime.signals import Stopped

    with suppress(Stopped):
        finish(Path(sys.argv[1]), float(sys.argv[2]))
