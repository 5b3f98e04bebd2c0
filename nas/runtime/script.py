"""Runs a program from its first line to its last: errors of one line, signals, exit codes."""

import errno
import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cells.errors import InputError
from nas.runtime.files import describe
from nas.runtime.memory import lacks_memory
from nas.runtime.output import lasting_output
from nas.runtime.parted import Parted
from nas.runtime.signals import Interrupted, Stopped, interruptible

_STOPPED = (
    "stopped by {}; what was saved is whole: give the same command again, or go on with --resume "
    "and the run's folder"
)


def run_script(main: Callable[[], None]) -> None:
    """Runs a script's main function and tells its user's errors on one line.

    `InputError`, errors of the file system and a lack of memory leave with exit code 2, a signal
    with 128 and its number; any other exception is a fault of the program and keeps its traceback.
    Of several processes, which meet the same error, only the first tells it; that another is lost,
    the one that notices first. What cannot be printed stops nothing (see `nas.runtime.output`);
    where it was not the reader who left, the exit code is 2 in the end.
    """
    with lasting_output() as out, warnings.catch_warnings():
        warnings.showwarning = _warn  # type: ignore[assignment]
        _run(main)
        out.flush()
        if out.lost is not None and out.lost.errno != errno.EPIPE:
            _leave(f"standard output: {describe(out.lost)}")


def _warn(message: Warning | str, *where: Any) -> None:
    """Tells a warning on one line, without the place in the program that gives it."""
    print("warning:", " ".join(str(message).split()), file=sys.stderr)


def _run(main: Callable[[], None]) -> None:
    """Runs a main function, and leaves as `run_script` says if it fails."""
    try:
        with interruptible():
            main()
    except InputError as error:
        _leave(str(error))
    except OSError as error:
        _leave(describe(error))
    except Parted as parted:
        _leave(str(parted), tells=parted.tells)
    except Stopped as stop:
        if os.environ.get("RANK", "0") == "0":
            print(stop)
        sys.exit(128 + stop.received)
    except Interrupted as stop:
        # Torchrun sends a signal to those that are left, while they are about to leave.
        if isinstance(stop.__context__, Parted):
            _leave(str(stop.__context__), tells=stop.__context__.tells)
        _leave(_STOPPED.format(stop), 128 + stop.received)
    except KeyboardInterrupt:
        _leave(_STOPPED.format("SIGINT"), 128 + signal.SIGINT)
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        _leave(
            "out of memory: lower --batch-size, --image-size, --channels or --grid, e.g. by half"
        )


def _leave(message: str, code: int = 2, *, tells: bool | None = None) -> None:
    if os.environ.get("RANK", "0") == "0" if tells is None else tells:
        line = f"error: {' '.join(message.split())}"
        print(line, file=sys.stderr)
        _tell_launcher(line)
    sys.exit(code)


def _tell_launcher(line: str) -> None:
    """Has torchrun, if it has started this process, end its own report with a line.

    See `torch.distributed.elastic.multiprocessing.errors`, whose `record` writes a traceback there.
    """
    path = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if path:
        told = {"message": line, "extraInfo": {"timestamp": str(int(time.time()))}}
        with suppress(OSError), open(path, "w", encoding="utf-8") as file:
            json.dump({"message": told}, file)
