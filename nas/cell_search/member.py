"""One of the searches of a run, in a process of its own: python -m nas.cell_search.member FOLDER.

It ends when its standard input closes, be it because the process that started it has died.
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


def finish(folder: Path) -> None:
    """Goes on with a search to its end; writes no report.

    Args:
        folder: of a search for cells that has a checkpoint.

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
        loop.run(Searcher(config, start_processes(config.device), state=state), folder)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # also where the parent ignores it
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # until there is something to save
    threading.Thread(target=watch, daemon=True).start()
    from nas.runtime.signals import Stopped

    with suppress(Stopped):
        finish(Path(sys.argv[1]))
