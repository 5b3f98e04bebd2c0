"""The best known cell within a budget: retrained ones first, and the next steps beside it."""

import math
from pathlib import Path
from typing import Any

import pytest

from cells.errors import InputError
from nas.reports.answer import answer, in_words, known_cells
from nas.reports.report import read_rows
from nas.runtime.files import write_csv


def cell(params: float, accuracy: float, retrained: float | None = None) -> dict[str, Any]:
    return {
        "params": params, "latency": params / 1e3, "val_accuracy": accuracy, "retrained": retrained,
        "retrained_std": None,
    }  # fmt: skip


ROWS = [cell(5850, 0.9569), cell(6970, 0.9499), cell(2000, 0.7), cell(9000, 0.96)]


@pytest.mark.parametrize(
    ("bounds", "best", "down", "up"),
    [
        ({"params": 7000}, 0, 2, 3),  # not the one that costs most
        ({"params": 5849}, 2, None, 0),
        ({"params": 1e9}, 3, 0, None),
        ({"params": 1e9, "latency": 6}, 0, 2, 3),
    ],
)
def test_the_best_within_a_budget(
    bounds: dict[str, float], best: int, down: int | None, up: int | None
) -> None:
    found = answer(ROWS, bounds)
    assert found is not None
    assert found.best is ROWS[best]
    assert found.down is (None if down is None else ROWS[down])
    assert found.up is (None if up is None else ROWS[up])


def test_retrained_accuracy_counts_before_that_of_shared_weights() -> None:
    rows = [cell(10, 0.9), cell(9, 0.8, 0.95), cell(8, 0.7, 0.99), cell(20, 0.6, 0.999)]
    found = answer(rows, {"params": 10})
    assert found is not None
    assert (found.best, found.down, found.up) == (rows[2], None, rows[3])


def test_nothing_fits_and_unknown_costs() -> None:
    assert answer(ROWS, {"params": 1999}) is None
    with pytest.raises(InputError, match="unknown cost 'parms': did you mean 'params'"):
        answer(ROWS, {"parms": 1})


def test_words_have_units() -> None:
    row = cell(12345, 0.91, 0.987) | {"retrained_std": 0.001}
    assert in_words(row) == (
        "12,345 parameters, 12.345 ms, 98.70 ± 0.10 % test accuracy, retrained, "
        "91.00 % validation accuracy, shared weights"
    )


def test_what_is_known_of_each_cell(run_folder: Path, tmp_path: Path) -> None:
    for path in ("front.csv", "SHA256SUMS"):
        (tmp_path / path).write_bytes((run_folder / path).read_bytes())
    (tmp_path / "genotypes").symlink_to(run_folder / "genotypes")
    rows = read_rows(tmp_path)
    assert all(row["retrained"] is None for row in known_cells(tmp_path))
    trained = [{"file": rows[1]["file"], "mean": 0.98, "std": ""}]
    write_csv(tmp_path / "retrained.csv", trained)
    found = known_cells(tmp_path)
    assert [row["retrained"] for row in found[:2]] == [None, 0.98]
    assert math.isclose(found[0]["val_accuracy"], rows[0]["val_accuracy"])
    (tmp_path / "retrained.csv").write_text("file\nx\n")
    with pytest.raises(InputError, match="retrain the family again"):
        known_cells(tmp_path)
