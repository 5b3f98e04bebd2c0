"""What to do when memory has run out: the batch size that fits, found by trial."""

import gc
import os
from collections.abc import Callable
from typing import TypeVar

from cells.errors import InputError

Result = TypeVar("Result")


def lacks_memory(error: Exception) -> bool:
    """Tells whether memory has run out; what torch raises on a CPU is known by its text alone."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "not enough memory" in str(error)
        or "can't allocate memory" in str(error)
    )


def advising(
    run: Callable[[], Result], batch_size: int, attempt: Callable[[int], object]
) -> Result:
    """Returns what `run` returns, or tells, if memory runs out, which batch size would fit.

    Args:
        batch_size: that of `run`.
        attempt: takes a step with another batch size; raises if memory runs out.

    Raises:
        InputError: instead of the errors of a lack of memory.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # a trial would need all processes
        return run()
    try:
        return run()
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
    # By now the error is gone, and with it what its traceback held.
    size = batch_size // 2
    while size and not _fits(attempt, size):
        size //= 2
    raise InputError(
        f"out of memory with a batch size of {batch_size}: "
        + (
            f"{size} fits, begin a new run with --batch-size {size}"
            if size
            else "1 does not fit, "
            "either: begin a new run with a lower --image-size, --channels or --num-cells"
        )
    )


def _fits(attempt: Callable[[int], object], size: int) -> bool:
    import torch  # here, as scripts import this before they heed signals

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        attempt(size)
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        return False
    return True
