"""A lack of memory is told with the batch size that fits, which is found by trial."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cells.errors import InputError
from nas.cell_search.config import SearchConfig
from nas.cell_search.searcher import Searcher
from nas.retraining.config import RetrainConfig, read_retraining
from nas.retraining.job import Job
from nas.retraining.run import retrain_each
from nas.retraining.trainer import Trainer
from nas.run import search
from nas.runtime.memory import advising

LACKS = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
)
CELL = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"


def room(most: int, tried: list[int], error: Exception = LACKS[0]) -> Callable[[int], None]:
    def attempt(batch_size: int) -> None:
        tried.append(batch_size)
        if batch_size > most:
            raise error

    return attempt


@pytest.mark.parametrize("error", LACKS, ids=lambda error: type(error).__name__)
def test_half_the_batch_is_tried_until_it_fits(error: Exception) -> None:
    tried: list[int] = []
    attempt = room(20, tried, error)
    with pytest.raises(InputError, match=r"batch size of 100: 12 fits, .* --batch-size 12$"):
        advising(lambda: attempt(100), 100, attempt)
    assert tried == [100, 50, 25, 12]
    with pytest.raises(InputError, match=r"1 does not fit, either: .* lower --image-size"):
        advising(lambda: attempt(100), 100, room(0, tried, error))
    assert advising(lambda: 7, 100, attempt) == 7


def test_other_errors_stay_as_they_are() -> None:
    def fail() -> None:
        raise RuntimeError("shapes")

    with pytest.raises(RuntimeError, match="shapes"):
        advising(fail, 8, lambda size: None)
    with pytest.raises(RuntimeError, match="shapes"):
        advising(lambda: room(0, [])(8), 8, lambda size: fail())


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches of more than 40 find no memory; returns those that were tried."""
    tried: list[int] = []
    attempt = room(40, tried)
    for kind in (Searcher, Trainer):
        advance = kind.advance

        def limited(self: Searcher | Trainer, advance: Callable = advance) -> None:
            attempt(self.config.batch_size)
            advance(self)

        monkeypatch.setattr(kind, "advance", limited)
    return tried


def test_a_search_tells_what_fits(crowded: list[int], tmp_path: Path) -> None:
    config = SearchConfig(
        data="digits", space="nasbench201", channels=4, num_cells=1, batch_size=128, threads=1,
        device="cpu",
    )  # fmt: skip
    with pytest.raises(InputError, match="batch size of 128: 32 fits"):
        search(config, tmp_path / "run")
    assert crowded == [128, 64, 32]


def test_retrainings_tell_what_fits_side_by_side(crowded: list[int], tmp_path: Path) -> None:
    config = RetrainConfig(
        genotype=CELL,
        data="digits",
        channels=4,
        num_cells=1,
        batch_size=128,
        epochs=2,
        device="cpu",
    )
    folder = tmp_path / "run"
    for resume in (False, True):
        job = Job(read_retraining(folder) if resume else config, folder, resume)
        crowded.clear()
        with pytest.raises(InputError, match="batch size of 128: 32 fits"):
            list(retrain_each([job], at_once=2))
        assert crowded == [128, 64, 32, 32]
