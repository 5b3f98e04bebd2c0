"""Tables as they come: separators, indices, texts, gaps, and what they are said to be."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from cells.errors import InputError
from nas.data.examples import load_task
from nas.data.table_form import TableForm, from_values, to_values
from nas.data.tables import CATEGORIES, Column, open_table, read_rows
from nas.runtime.streams import stream

PEOPLE = "\ufeffid;age;city;name;height;bought\n" + "".join(
    f"{row + 1};{'' if row % 7 == 0 else 20 + row % 30};{('Bern', 'NA', 'Zug; alt')[row % 3]!r};"
    f"n{row};{1 + row % 3},{row % 10};{('yes', 'no', '')[row % 3]}\n"
    for row in range(150)
).replace("'", '"')
"""Everything at once: a byte order mark, semicolons, decimal commas, an index, texts, gaps."""


@pytest.fixture
def people(tmp_path: Path) -> Path:
    path = tmp_path / "people.csv"
    path.write_text(PEOPLE, encoding="utf-8")
    return path


def test_a_table_is_told_apart_and_it_is_said(people: Path) -> None:
    task = load_task(str(people), Path())
    assert task.told == (
        "people: values between semicolons, 1,5 is a number",
        "people: 2 columns of numbers, 1 of texts with 2 categories",
        "people: left out: 'id' (it numbers or names the rows), 'name' (more than 100 different "
        "texts)",
        "people: missing values: 'age' 22 (the training mean), 'city' 50 (a category of their own)",
        "people: 50 rows without 'bought' left out",
        "people: 'bought' has 2 classes: classification",
    )
    assert (len(task.train), len(task.test)) == (90, 10)
    assert task.classes == ("no", "yes") and task.outputs == 2 and not task.regression
    assert task.form is not None
    assert [column.name for column in task.form.columns] == ["age", "city", "height"]


def test_features_are_those_of_another_library(people: Path) -> None:
    """The same columns through scikit-learn, fitted to the same training rows."""
    task = load_task(str(people), Path())
    assert task.form is not None
    rows, lines = read_rows(open_table(people), task.form.columns)
    assert lines == list(range(2, 152))
    kept = rows[[row for row in range(150) if row % 3 != 2]]
    order = torch.randperm(100, generator=stream(0, "split", 0)).numpy()
    train, test = kept[order[10:]], kept[order[:10]]
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    texts = OneHotEncoder(categories=[[0.0, 1.0, math.nan]])
    wanted = ColumnTransformer([("n", numbers, [0, 2]), ("t", texts, [1])]).fit(train)
    # Deviations here are those of what is there, not of the filled column.
    there = train[~np.isnan(train[:, 0]), 0]
    for part, found in ((train, task.train.x), (test, task.test.x)):
        theirs = wanted.transform(part)
        age = np.nan_to_num((part[:, 0] - there.mean()) / there.std())
        np.testing.assert_allclose(found[:, 0], age, atol=1e-6)
        np.testing.assert_allclose(found[:, 4], theirs[:, 1], atol=1e-6)
        np.testing.assert_array_equal(found[:, 1:4], theirs[:, 2:])


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "t.csv"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_every_separator_gives_the_same(tmp_path: Path, separator: str) -> None:
    lines = ["a,b,c"] + [f"{row},{row * row / 4},{-row}" for row in range(20)]
    text = "\n".join(lines).replace(",", separator)
    task = load_task(written(tmp_path, text), Path())
    plain = load_task(written(tmp_path, "\n".join(lines)), Path())
    assert torch.equal(task.train.x, plain.train.x) and torch.equal(task.test.y, plain.test.y)
    assert task.form == plain.form
    assert len(task.told) == (2 if separator == "," else 3)


@pytest.mark.parametrize(
    ("first", "kept"),
    [
        (["", *"123456789"], False),
        (["Unnamed: 0", *"abcdefghi"], False),
        (["id", *"123456789"], False),
        (["Index", *"012345678"], False),
        (["id", *"123456798"], True),
        (["time", *"123456789"], True),
    ],
    ids=lambda each: str(each),
)
def test_what_numbers_the_rows_is_no_feature(tmp_path: Path, first: list[str], kept: bool) -> None:
    rows = zip(first, ["x", *map(str, range(9))], ["y", *"513527190"], strict=True)
    task = load_task(written(tmp_path, "\n".join(map(",".join, rows))), Path())
    assert task.input_shape == (2 if kept else 1,)
    assert any("numbers or names the rows" in line for line in task.told) is not kept


@pytest.mark.parametrize(
    ("target", "wanted", "classes"),
    [
        (["one", "two", "three"], "auto", ("one", "three", "two")),
        (["1", "0", "2.0"], "auto", ("0", "1", "2")),
        (["1", "0", "2"], "regression", ()),
        (["1", "0", "2.5"], "auto", ()),
        (["1", "0", "2.5"], "classification", ("0", "1", "2.5")),
        ([str(number) for number in range(11)], "auto", ()),
        (["NA", "7", "10"], "auto", ("7", "10")),
    ],
    ids=str,
)
def test_what_is_classified(
    tmp_path: Path, target: list[str], wanted: str, classes: tuple[str, ...]
) -> None:
    rows = [f"{number},{each}" for number, each in enumerate(target * 6)]
    task = load_task(written(tmp_path, "\n".join(["x,y", *rows])), Path(), task=wanted)
    assert task.classes == classes and task.regression is not bool(classes)
    if classes:
        names = [classes[label] for label in torch.cat([task.train.y, task.test.y]).tolist()]
        given = [f"{float(t):g}" if t[0].isdigit() else t for t in target * 6 if t != "NA"]
        assert sorted(names) == sorted(given)
    guessed = wanted == "auto" and bool(classes) and target[0] != "one"
    assert task.told[-1].endswith("; --task regression takes it for a number") is guessed


def test_a_task_that_the_target_does_not_allow(tmp_path: Path) -> None:
    text = "x,y\n" + "".join(f"{row},t{row}\n" for row in range(8))
    with pytest.raises(InputError, match="'y' of 't' is texts, which cannot be regressed"):
        load_task(written(tmp_path, text), Path(), task="regression")
    text = "x,y\n" + "".join(f"{row},{row}\n" for row in range(CATEGORIES + 1))
    with pytest.raises(InputError, match="has 101 different values, classes are 100 at most"):
        load_task(written(tmp_path, text), Path(), task="classification")
    text = "x,y\n" + "".join(f"{row},t{row}\n" for row in range(CATEGORIES + 1))
    with pytest.raises(InputError, match="has more than 100 different texts: name another"):
        load_task(written(tmp_path, text), Path())
    with pytest.raises(InputError, match="task 'regression' is for a CSV file"):
        load_task("digits", Path("data"), task="regression")


def test_rows_that_cannot_be_read_are_told_one_by_one(people: Path, tmp_path: Path) -> None:
    form = load_task(str(people), Path()).form
    assert form is not None
    other = tmp_path / "rows.csv"
    other.write_text("height,more,city,age\n1.5,,Bern,30\n1.6,,Rom,30\n1.7,,,x\n1.8,,,\n")
    told: list[str] = []
    rows, lines = read_rows(open_table(other), form.columns, lambda e: told.append(str(e)))
    assert lines == [2, 5]
    np.testing.assert_array_equal(rows, [[30, 0, 1.5], [math.nan, math.nan, 1.8]])
    assert "line 3: 'Rom' is no category of column 'city': write one of 'Bern, Zug; alt'" in told[0]
    assert "line 4: 'x' is no number" in told[1]
    other.write_text("height,age\n1.5,30\n")
    with pytest.raises(InputError, match=r"unknown column of .*rows.csv' 'city'"):
        read_rows(open_table(other), form.columns)
    always = [Column("city", ("Bern",))]
    other.write_text("height,city\n1.5,NA\n")
    with pytest.raises(InputError, match="column 'city' is empty, which it never was in training"):
        read_rows(open_table(other), always)


def test_a_form_survives_json_and_damage_is_told(people: Path) -> None:
    form = load_task(str(people), Path()).form
    assert form is not None
    values = json.loads(json.dumps(to_values(form)))
    assert from_values(values) == form
    for change, message in (
        ({"columns": []}, "its columns must be from 1"),
        ({"columns": [values["columns"][0]] * 2}, "must have different names"),
        ({"columns": [values["columns"][0] | {"std": 0.0}]}, "are none of a table"),
        ({"columns": [values["columns"][0] | {"mean": math.nan}]}, "are none of a table"),
        ({"columns": [values["columns"][1] | {"categories": ["a", "a"]}]}, "different names"),
        ({"columns": [3]}, "must be of type dict"),
        ({"target": {"name": "x", "classes": [1], "mean": 0.0, "std": 1.0}}, "of type str"),
        ({"name": None}, "its data's name must be of type str"),
    ):
        with pytest.raises(InputError, match=message):
            from_values(values | change)
    with pytest.raises(InputError, match=r"rows are torch.float32 \(2, 3\), this network takes"):
        form.features(torch.zeros(2, 3))


def test_values_are_in_the_targets_own_unit() -> None:
    values = {"name": "t", "columns": [{"name": "a", "missing": False, "mean": 1.0, "std": 2.0}]}
    target = {"name": "y", "classes": [], "mean": 10.0, "std": 4.0}
    form: TableForm = from_values(values | {"target": target})
    rows = torch.tensor([[5.0], [math.nan]], dtype=torch.float64)
    assert form.features(rows).tolist() == [[2.0], [0.0]]
    assert form.answers(torch.tensor([[0.5], [-1.0]])).tolist() == [12.0, 6.0]


def test_numbers_are_read_as_numpy_reads_them(tmp_path: Path, data_root: Path) -> None:
    path = data_root / "boston.csv"
    if not path.exists():
        pytest.skip("real data wanted: boston.csv is missing")
    table = open_table(path)
    rows, _ = read_rows(table, [Column(name) for name in table.names])
    wanted = np.loadtxt(io.StringIO(path.read_text()), delimiter=",", skiprows=1)
    np.testing.assert_array_equal(rows, wanted)
