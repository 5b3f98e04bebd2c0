"""The measure of fronts in the space of DARTS: its surrogate, its random cells, its records."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cells.errors import InputError
from cells.genotype import Genotype
from cells.notation import read_genotype
from experiments.nasbench301.measure import Crowd, FrontScore, Standing
from experiments.nasbench301.searches import cells_on_record, pairs_tau
from experiments.nasbench301.surrogate import FILE, SPACE, Surrogate, params_table, supported
from experiments.nasbench301.table import table

SKIP = SPACE.ops.index("skip_connect")


@pytest.fixture(scope="module")
def surrogate(data_file: Callable[[str], Path]) -> Surrogate:
    return Surrogate(data_file(FILE).parent)


@pytest.fixture(scope="module")
def crowd(surrogate: Surrogate) -> Crowd:
    return Crowd(surrogate, 4000)


def test_a_missing_file_of_labels_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"set NAS_DATA to the folder that holds {FILE}"):
        Surrogate(tmp_path)


def test_parameters_are_those_of_the_file(
    surrogate: Surrogate, data_file: Callable[[str], Path]
) -> None:
    with gzip.open(data_file(FILE), "rt", encoding="utf-8") as file:
        counted = [int(row["params_32x8"]) for row in csv.DictReader(file)]
    params = params_table(32)
    assert [params.total(cell) for cell in surrogate.cells[:200]] == counted[:200]


def test_the_surrogate_is_as_good_as_its_readme_says(surrogate: Surrogate) -> None:
    quality = surrogate.quality()
    assert quality.r2 == pytest.approx(0.91, abs=0.01)
    assert quality.tau == pytest.approx(0.81, abs=0.01)
    assert quality.rmse == pytest.approx(0.18, abs=0.01)


@pytest.mark.parametrize(
    ("name", "gain"), [("DARTS_V1", 1.38), ("DARTS_V2", 1.32), ("PC_DARTS_cifar", 1.14)]
)
def test_published_cells_stand_where_others_found_them(
    crowd: Crowd, name: str, gain: float
) -> None:
    standing = crowd.standing(read_genotype(name).choices())
    assert standing is not None
    assert standing.percentile > 99
    assert standing.gain == pytest.approx(gain, abs=0.1)


def _all_of(op: int, free: int) -> tuple[int, ...]:
    """A cell whose first edges carry a convolution, and its last `free` ones the operation."""
    cell = [SPACE.none] * SPACE.num_edges
    kept = [row for rows in SPACE.incoming for row in rows[:2]]
    for row in kept:
        cell[row] = SPACE.ops.index("sep_conv_3x3")
    for row in kept[len(kept) - free :]:
        cell[row] = op
    return tuple(cell)


def test_cells_that_no_label_resembles_have_no_figure(crowd: Crowd) -> None:
    assert supported(_all_of(SKIP, 7)) and not supported(_all_of(SKIP, 8))
    pool = SPACE.ops.index("avg_pool_3x3")
    assert supported(_all_of(pool, 13)) and not supported(_all_of(pool, 14))
    assert crowd.standing(_all_of(SKIP, 16)) is None
    score = crowd.score([_all_of(SKIP, 0), _all_of(SKIP, 16), _all_of(SKIP, 16)])
    assert (score.outside, score.different, score.rises) == (2, 2, 0)
    assert score.params[0] > score.params[1]


def test_rare_sizes_get_neighbours_of_their_own(surrogate: Surrogate) -> None:
    """Of few uniform cells none is near the least expensive ones that labels cover."""
    few = Crowd(surrogate, 50)
    cheap = _all_of(SPACE.ops.index("max_pool_3x3"), 13)
    standing = few.standing(cheap)
    assert standing is not None and 0 <= standing.percentile <= 100
    assert few.standing(cheap) == standing  # what was drawn for it is kept


def test_tau_within_equal_size_ignores_size() -> None:
    """Scores that order by size alone are right overall and worth nothing among equals."""
    sizes = np.repeat([100.0, 200.0, 400.0], 2)
    truth = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert pairs_tau(truth, truth, sizes, np.inf) == 1
    assert pairs_tau(sizes, truth, sizes, 0.05) == 0
    assert pairs_tau(-truth, truth, sizes, 0.05) == -1
    wrong_within = np.array([2.0, 1.0, 4.0, 3.0, 6.0, 5.0])
    assert pairs_tau(wrong_within, truth, sizes, 0.05) == -1
    assert pairs_tau(wrong_within, truth, sizes, np.inf) == pytest.approx(9 / 15)


def test_a_record_is_a_list_of_genotypes(crowd: Crowd, tmp_path: Path) -> None:
    names = ("PC_DARTS_cifar", "DARTS_V1", "DARTS_V2")
    values = [json.loads(read_genotype(name).to_json()) for name in names]
    file = tmp_path / "front.json"
    file.write_text(json.dumps({"genotypes": values}), encoding="utf-8")
    cells = cells_on_record(file)
    assert cells == [Genotype.from_json(json.dumps(value)).choices() for value in values]
    score = crowd.score(cells)
    assert (score.outside, score.different, score.rises) == (0, 3, 1)
    assert score.least == min(standing.percentile for standing in score.known)


def test_the_table_has_a_front_a_row() -> None:
    front = FrontScore([Standing(90.0, 0.5), None, Standing(70.0, 0.25)], [3, 2, 1], 3)
    other = FrontScore([Standing(80.0, 0.5)] * 3, [1, 2, 3], 1)
    row = table({"ours": [front, other]}).splitlines()[-1]
    assert row == "| ours | 80.0 ± 0.0 | +0.44 ± 0.09 | 70 80 | 1 0 of 3 | 3 1 | 0 2 |"
