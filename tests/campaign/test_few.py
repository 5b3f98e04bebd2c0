"""A few faults of each sort, for `make test`; `make campaign` has the others."""

from collections.abc import Callable
from typing import Any

import pytest
import test_full_disk
import test_kills
import test_not_finite
import test_races
import test_stopping
from many import FAULTS
from trials import Trials

FEW: tuple[tuple[Callable[..., None], tuple[Any, ...]], ...] = (
    (test_kills.test_a_killed_run_ends_bitwise_the_same, ("cells of nasbench201",)),
    (test_kills.test_a_killed_run_ends_bitwise_the_same, ("two seeds",)),
    (test_kills.test_a_killed_run_ends_bitwise_the_same, ("mlp",)),
    (test_races.test_of_several_at_once_one_owns_the_folder, ("mlp", True)),
    (test_full_disk.test_a_full_disk_takes_one_line_and_nothing_else, ("mlp",)),
    (test_stopping.test_a_signal_at_any_moment, ("two seeds",)),
    (test_not_finite.test_no_number_that_is_none_is_ever_saved, ("cells of nasbench201",)),
)


@pytest.mark.skipif(FAULTS > 0, reason="the whole campaign has them")
@pytest.mark.parametrize(("test", "args"), FEW)
def test_a_few(test: Callable[..., None], args: tuple[Any, ...], trials: Trials) -> None:
    test(*args, trials)
