"""What is drawn from distributions of operations."""

import pytest
import torch

from cells.errors import InputError
from nas.architecture.distribution import draw_cells


def test_cells_are_not_drawn_from_what_is_no_number() -> None:
    log_probs = torch.full((2, 3, 4), 0.25).log()
    log_probs[1, 2, 3] = float("nan")
    with pytest.raises(InputError, match="not finite any more"):
        draw_cells(log_probs, 5, torch.Generator())
