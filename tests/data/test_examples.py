"""Tables from CSV files, and images as numbers in [0, 1]."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from cells.errors import InputError
from nas.data.examples import hold_out, load_task
from nas.data.table_parts import part_rows
from nas.data.tables import Column


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_images_are_scaled_to_one() -> None:
    task = load_task("digits", Path("data"))
    assert task.input_shape == (1, 8, 8) and task.outputs == 10 and not task.regression
    assert float(task.train.x.min()) == 0.0 and float(task.train.x.max()) == 1.0
    assert task.train.y.dtype == torch.int64 and task.target_std == 1.0


def test_a_table_is_scaled_by_its_training_part() -> None:
    generator = np.random.default_rng(0)
    rows = np.column_stack([generator.normal(5, 3, 200), np.full(200, 7.0), np.arange(200.0)])
    columns = [Column("a"), Column("b"), Column("c")]
    parts = part_rows("t", rows, columns, 2, 0)
    assert len(parts.train) == 180 and len(parts.test) == 20
    assert parts.train.x.shape == (180, 2) and parts.form.regression
    assert float(parts.train.x[:, 0].mean()) == pytest.approx(0, abs=1e-6)
    assert float(parts.train.x[:, 0].std(correction=0)) == pytest.approx(1)
    assert bool((parts.train.x[:, 1] == 0).all())
    target = parts.form.target
    both = torch.cat([parts.train.y, parts.test.y]).double() * target.std + target.mean
    assert both.sort().values.tolist() == pytest.approx(list(range(200)), abs=1e-3)
    other = part_rows("t", rows, columns, 2, 1)
    assert not torch.equal(parts.test.y, other.test.y)


def test_the_target_is_the_column_that_is_named(tmp_path: Path) -> None:
    text = "a,b,c\n" + "".join(f"{i},{i * i},{-i}\n" for i in range(20))
    path = write(tmp_path / "table.csv", text)
    last, named = load_task(path, tmp_path), load_task("table.csv", tmp_path, target="b")
    assert last.target_mean < 0 < named.target_mean
    assert named.name == "table"


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("a,b\n1,2\n", None, "has too little"),
        ("1,2\n3,4\n5,6\n7,9\n", None, "the first line of .* is numbers, which would be lost"),
        ("a,b\n1,2\n3,x\n" + "4,5\n" * 10, None, "line 3: 'x' is no number"),
        ("a,b\n1,2\n3\n4,5\n", None, "line 3 has 1 values, not 2: complete"),
        ("a,b\n1,2\n3,inf\n4,5\n", None, "line 3: 'inf' is no number up to"),
        ("a,b\n1,?\n3,nan\n4,\n", None, "the target 'b' of 'table' has no values: name another"),
        ("a,b\n1,?\n3,nan\n4,1\n", None, "'table' has 1 rows with a target: 3 are needed"),
        ("5.1,x\n1,x\n3,y\n4,x\n", None, "the first line of .* is numbers, which would be lost"),
        ("39,x\n1,x\n3,y\n4,x\n", None, "looks like a row, 'x' stands below as well: put a line"),
        ("a,b\n1,2\n3,2\n4,2\n5,2\n", None, "the target of 'table' is the same in all rows"),
        ("a,b\n1,2\n3,4\n4,5\n", "c", "unknown column of .* 'c'"),
        ("a,b\n1,2\n3,1e200\n4,5\n", None, r"line 3: '1e200' is no number up to 1e\+100: mend"),
        ("a,a\n1,2\n3,4\n4,5\n", None, "has two columns 'a': rename one"),
        ('a,b\n1,2\n"3"x,4\n4,5\n', None, "line 3: .* mend that line"),
        ("a,b\n" + "3,4\n" * 11 + "\0,1\n", None, r"line 13: '\\x00' is no number"),
    ],
)
def test_a_bad_table_gets_one_line(
    tmp_path: Path, text: str, target: str | None, message: str
) -> None:
    path = write(tmp_path / "table.csv", text)
    with pytest.raises(InputError, match=message):
        load_task(path, tmp_path, target=target)


def test_values_that_no_float_holds_once_scaled_are_refused(tmp_path: Path) -> None:
    text = "a,b\n" + "".join(f"{i}e-90,{i}\n" for i in range(20))
    for row in range(20):
        lines = text.splitlines()
        lines[row + 1] = f"1e90,{row}"
        path = write(tmp_path / "table.csv", "\n".join(lines))
        try:
            assert bool(load_task(path, tmp_path).test.x.isfinite().all())
        except InputError as error:
            assert "more than 1e38 deviations" in str(error)
            return
    raise AssertionError("no row was in the test part")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name, told in (("pipe", "a pipe"), ("folder", "a folder"), ("zero", "a device")):
        with pytest.raises(InputError, match=rf"{name}\.csv' is .*{told.split()[1]}"):
            load_task(str(tmp_path / f"{name}.csv"), tmp_path)


def test_what_does_not_exist_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file or folder: 'none.csv', looked for in"):
        load_task("none.csv", tmp_path)
    with pytest.raises(InputError, match="leave it out for images"):
        load_task("digits", tmp_path, target="a")


def test_the_validation_part_is_held_out_of_training() -> None:
    whole = load_task("digits", Path("data"))
    parts = load_task("digits", Path("data"), val_fraction=0.25)
    assert whole.val is None and hold_out(whole, 0.0, 0) is whole
    assert parts.val is not None and len(parts.val) == round(0.25 * len(whole.train))
    rows = torch.cat([parts.train.x, parts.val.x]).flatten(1).numpy()
    wanted = whole.train.x.flatten(1).numpy()
    assert np.array_equal(rows[np.lexsort(rows.T)], wanted[np.lexsort(wanted.T)])
    assert torch.equal(parts.test.x, whole.test.x)
    other = load_task("digits", Path("data"), val_fraction=0.25, split_seed=1)
    assert other.val is not None and not torch.equal(other.val.y, parts.val.y)
    with pytest.raises(InputError, match=r"val_fraction 0.0001 of 1438 training examples leaves"):
        hold_out(whole, 0.0001, 0)
