"""The record of a run for TensorBoard, beside metrics.jsonl: tensorboard --logdir runs."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cells.errors import InputError

FOLDER = "tensorboard"
"""Of the event files, in a run folder."""


class Board:
    """Event files of a training."""

    def __init__(self, folder: Path, step: int) -> None:
        """
        Args:
            folder: of the event files; made if it is not there.
            step: up to which there may be events already; later ones are of steps that are redone.
        """
        from torch.utils.tensorboard import SummaryWriter  # here, as it takes seconds

        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def append(self, row: dict[str, Any]) -> None:
        """Adds the numbers of a row; those of a list, as at both ends of λ, by their place."""
        for name, value in row.items():
            values = {name: value}
            if isinstance(value, list):
                values = {f"{name}/{place}": each for place, each in enumerate(value)}
            for tag, each in values.items():
                if name != "step" and isinstance(each, int | float):
                    self._writer.add_scalar(tag, each, row["step"])
        self._writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()


def require_board(wanted: bool) -> None:
    """Makes sure, before any step, that events can be written if they are wanted.

    Raises:
        InputError: if the package is missing.
    """
    if wanted and find_spec("tensorboard") is None:
        raise InputError(
            "tensorboard is not installed: pip install 'lambda-nas[tensorboard]', or leave "
            "--tensorboard out"
        )


def board(wanted: bool, folder: Path, step: int) -> Board | None:
    """Returns the board of a training in a folder, None if none is wanted."""
    return Board(folder, step) if wanted else None
