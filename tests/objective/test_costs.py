"""Latencies measured elsewhere: read strictly, fitted, priced by a search."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cells.errors import InputError
from cells.genotype import Genotype
from cells.notation import to_nasbench201
from cells.space import find_space
from nas.cell_search.config import SearchConfig
from nas.cell_search.problem import Problem
from nas.data.datasets import load_data
from nas.objective.costs import latency_table, read_latencies
from nas.runtime.processes import Processes

SPACE = find_space("nasbench201")
CELL = "|skip_connect~0|+|none~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|"
PRICES = (0.0, 0.1, 1.0, 6.0, 0.8)


def measured(path: Path, count: int = 60) -> list[tuple[int, ...]]:
    """Writes down random networks whose operations cost `PRICES` on every edge."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(5, (count, 6), generator=generator).tolist()
    lines = ["genotype,latency"]
    for cell in cells:
        text = to_nasbench201(Genotype.from_choices(SPACE, cell))
        lines.append(f"{text},{3 + sum(PRICES[op] for op in cell)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [tuple(cell) for cell in cells]


def test_every_row_is_read(tmp_path: Path) -> None:
    cells = measured(tmp_path / "phone.csv")
    choices, milliseconds = read_latencies(tmp_path / "phone.csv", SPACE)
    assert [tuple(cell) for cell in choices.tolist()] == cells
    assert milliseconds[0] == pytest.approx(3 + sum(PRICES[op] for op in cells[0]))


def test_genotypes_may_be_files_beside_the_table(tmp_path: Path) -> None:
    Genotype.from_choices(SPACE, [1, 0, 0, 1, 0, 3]).save(tmp_path / "a.json")
    table = tmp_path / "board.csv"
    table.write_text(f"latency,genotype,note\n5.5,a.json,first\n4,{CELL},\n")
    choices, milliseconds = read_latencies(table, SPACE)
    assert choices.tolist() == [[1, 0, 0, 1, 0, 3]] * 2 and milliseconds.tolist() == [5.5, 4.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must begin with the line genotype,latency"),
        ("cell,ms\n", "must begin with the line genotype,latency"),
        (f"genotype,latency\n{CELL},0\n", "line 2: latency must be positive milliseconds, got 0"),
        (f"genotype,latency\n{CELL},fast\n", "line 2: 'fast' is no finite number"),
        (f"genotype,latency\n{CELL}\n", "line 2 has 1 values, not 2"),
        (f"genotype,latency\n{CELL},nan\n", "line 2: 'nan' is no finite number"),
        ("genotype,latency\nno-such-cell,3\n", "no-such-cell"),
        ("genotype,latency\nDARTS_V2,3\n", "space darts, the search of nasbench201"),
        (f"genotype,latency\n{CELL},3\n", "has 1 networks: measure two or more"),
    ],
)
def test_bad_tables_get_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "phone.csv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_latencies(path, SPACE)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_missing_table_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot read .*none\.csv"):
        read_latencies(tmp_path / "none.csv", SPACE)


def test_a_device_is_no_table() -> None:
    with pytest.raises(InputError, match="is a pipe or a device"):
        read_latencies(Path("/dev/zero"), SPACE)


def test_a_search_prices_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "phone.csv"
    measured(path)
    config = SearchConfig(costs=("latency",), latency_file=str(path), channels=2, num_cells=1)
    problem = Problem(
        replace(config, device="cpu"), Processes(0, 1, torch.device("cpu")),
        data=load_data("digits", Path(".")),
    )  # fmt: skip
    table = problem.tables["latency"]
    assert torch.equal(table.table, latency_table(path, SPACE).table)
    assert table.table[0].tolist() == pytest.approx(list(PRICES), abs=0.3)
    assert problem.tables["params"].base == 56  # counted, as ever
