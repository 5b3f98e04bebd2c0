"""Strict JSON: what `json` reads is read alike, and what its leniencies let pass is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cells.errors import InputError
from cells.strict_json import layout, load_json, show, typed

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20) + 1, 10**20 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40)
)
nested = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(), scalars, max_size=3)
values = nested | st.lists(nested, max_size=3) | st.dictionaries(st.text(), nested, max_size=3)


@given(values)
def test_reads_as_json_does(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2)):
        assert load_json(text) == value


@given(values)
def test_layout_keeps_the_value(value: object) -> None:
    assert json.loads(layout(value)) == value


def test_layout_by_hand() -> None:
    short = [1] * 26  # 78 characters, 80 with the indent
    assert layout(short) == "[\n" + ",\n".join(["  1"] * 26) + "\n]"  # the outermost never fits
    assert layout({"a": short}) == '{\n  "a": ' + json.dumps(short) + "\n}"
    lines = ["    10"] + ["    1"] * 25
    assert layout({"λ": [10, *short[1:]]}) == '{\n  "λ": [\n' + ",\n".join(lines) + "\n  ]\n}"


@pytest.mark.parametrize(
    "text, match",
    [
        ("{'space': 1}", "not JSON: .*, 1:2"),
        ('{"a": [1,\n 2', "not JSON: .*, 2:3"),
        ("", "not JSON"),
        ("1 2", "not JSON"),
        ('"a\nb"', "not JSON"),
        ("NaN", "must not hold 'NaN'"),
        ('{"a": -Infinity}', "must not hold '-Infinity'"),
        ("[1e999]", "must not hold '1e999'"),
        ("1" * 21, "to 20 digits"),
        ("-" + "1" * 21, "to 20 digits"),
        ("1" * 5000, "to 20 digits"),
        ('{"a": 1, "b": 2, "a": 1}', "'a' stands twice"),
        ('[{"b": {"a": 1, "\\u0061": 2}}]', "'a' stands twice"),
        (r'"\ud800"', "lone surrogates"),
        (r'{"\udfff": 1}', "lone surrogates"),
        ('"\ud800"', "lone surrogates"),
        ("[" * 9 + "]" * 9, "deeper than 8"),
        ('{"a":' * 9 + "1" + "}" * 9, "deeper than 8"),
        ("[" * 50_000, "deeper than 8"),
        ('"' + "x" * 65535 + '"', "64 KiB"),
        ('"' + "λ" * 32768 + '"', "64 KiB"),
    ],
)
def test_what_is_refused(text: str, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        load_json(text)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 300


def test_the_bounds_themselves_are_read() -> None:
    assert load_json("[" * 8 + "]" * 8) == [[[[[[[[]]]]]]]]
    assert load_json("-" + "9" * 20) == 1 - 10**20
    assert load_json('"' + "x" * 65534 + '"') == "x" * 65534
    assert load_json('"' + "λ" * 32767 + '"') == "λ" * 32767
    assert load_json(r'"\ud83d\ude00"') == "😀"  # a pair of surrogates is a character


def test_brackets_in_strings_are_not_nesting() -> None:
    text = "[" * 20 + '"\\' + "{" * 20
    assert load_json(json.dumps([text])) == [text]


def test_a_truth_value_is_no_number() -> None:
    assert typed(1, int, "seed") == 1
    with pytest.raises(InputError, match="seed must be of type int, got True"):
        typed(True, int, "seed")


def test_show_fits_a_message() -> None:
    assert show("two\nlines") == r"'two\nlines'"
    assert show([0] * 1000) == "[" + "0, " * 26 + "…"


def test_show_looks_at_no_more_than_it_shows() -> None:
    shared: list[object] = [1]
    for _ in range(60):
        shared = [shared] * 100  # 10¹²⁰ items
    assert show(shared) == "[" * 61 + "1], [1], [1], [1],…"
    endless: list[object] = []
    endless.append(endless)
    assert show({"a": endless}) == "{'a': " + "[" * 73 + "…"
    assert show(10**5000) == "a whole number of 16610 bits"
    assert show((1,)) == "(1,)" and show({"a": ["b", None]}) == repr({"a": ["b", None]})
