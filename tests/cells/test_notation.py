"""Notations: published cells, round trips through every one, and what bad text gets."""

import json
import re
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given
from test_genotype import darts_genotypes, nasbench_genotypes, refused

from cells import notation as module
from cells.dialects import from_darts_cc
from cells.genotype import Genotype
from cells.notation import (
    FOLDER,
    from_darts,
    from_nasbench201,
    read_genotype,
    to_darts,
    to_nasbench201,
)
from cells.space import SPACES

# quark0/darts, cnn/genotypes.py.
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))"
)
NASBENCH = (
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"  # 6 edges
)


def test_published_darts_v2() -> None:
    genotype = read_genotype("DARTS_V2")
    sep, dil, pool, skip = "sep_conv_3x3", "dil_conv_3x3", "max_pool_3x3", "skip_connect"
    assert genotype.cells == {
        "normal": (((sep, 0), (sep, 1)),) * 2 + (((sep, 1), (skip, 0)), ((skip, 0), (dil, 2))),
        "reduce": (
            ((pool, 0), (pool, 1)),
            ((skip, 2), (pool, 1)),
            ((pool, 0), (skip, 2)),
            ((skip, 2), (pool, 1)),
        ),
    }
    assert to_darts(genotype) == DARTS_V2


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_file_reads_and_is_as_saved(path: Path) -> None:
    assert read_genotype(path).to_json() == path.read_text(encoding="utf-8")


@given(darts_genotypes())
def test_darts_round_trip(genotype: Genotype) -> None:
    text = to_darts(genotype)
    assert from_darts(text).cells == genotype.cells
    assert to_darts(from_darts(text)) == text
    # quark0/darts evaluates the text with this tuple.
    theirs = namedtuple("Genotype", "normal normal_concat reduce reduce_concat")
    value = eval(text, {"Genotype": theirs})
    for kind in ("normal", "reduce"):
        assert getattr(value, kind) == [edge for node in genotype.cells[kind] for edge in node]
        assert list(getattr(value, f"{kind}_concat")) == [2, 3, 4, 5]
    assert from_darts(str(value)) == from_darts(text)


@given(nasbench_genotypes())
def test_nasbench201_round_trip(genotype: Genotype) -> None:
    text = to_nasbench201(genotype)
    assert from_nasbench201(text).cells == genotype.cells
    ops = re.findall(r"(\w+)~", text)  # the string lists the rows of the table in their order
    assert genotype.choices() == tuple(SPACES["nasbench201"].ops.index(op) for op in ops)


def test_nasbench201_edges_by_hand() -> None:
    assert from_nasbench201(NASBENCH).cells == {
        "cell": (
            (("nor_conv_3x3", 0),),
            (("skip_connect", 1),),
            (("avg_pool_3x3", 0), ("nor_conv_1x1", 2)),
        )
    }
    assert to_nasbench201(from_nasbench201(NASBENCH)) == NASBENCH


# The lists of DARTS-CC: models/cnn/search_cnn.py has the order of operations and of cells.
DARTS_CC = "[[[0, 7], [7, 7, 7], [1, 7, 2, 7], [7, 7, 7, 7, 7]], [[3, 4], [5, 6, 0], [7, 7, 7, 7],"
DARTS_CC += " [1, 2, 3, 4, 5]]]"


def test_darts_cc_lists_by_hand() -> None:
    genotype = from_darts_cc(DARTS_CC)
    assert genotype.space == "darts_free"
    assert genotype.cells == {
        "normal": (
            (("sep_conv_3x3", 0), ("sep_conv_5x5", 1)),
            (("dil_conv_3x3", 0), ("dil_conv_5x5", 1), ("max_pool_3x3", 2)),
            (),
            (
                ("avg_pool_3x3", 0),
                ("skip_connect", 1),
                ("sep_conv_3x3", 2),
                ("sep_conv_5x5", 3),
                ("dil_conv_3x3", 4),
            ),
        ),
        "reduce": (
            (("max_pool_3x3", 0),),
            (),
            (("avg_pool_3x3", 0), ("skip_connect", 2)),
            (),
        ),
    }


def test_read_genotype_reads_the_files_of_darts_cc(tmp_path: Path) -> None:
    golden = json.loads((Path(__file__).parents[1] / "golden" / "darts_cc.json").read_text())
    for row in golden["cells"]:
        path = tmp_path / f"{row['name']}.json"
        path.write_text(json.dumps([row["reduce"], row["normal"]]))
        numbers = [number for node in row["normal"] + row["reduce"] for number in node]
        columns = [(number + 1) % 8 for number in numbers]  # here `none` comes first, there last
        assert list(read_genotype(path).choices()) == columns


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[]", "not the lists"),
        ("[[], []]", "not the lists"),
        ('{"reduce": []}', "of type list|not the lists"),
        (DARTS_CC[:-1] + ", []]", "not the lists"),
        (DARTS_CC.replace("[0, 7]", "[0, 7, 7]"), "node 2 of cell 'reduce' wants 2 operations"),
        (DARTS_CC.replace("[0, 7]", "7"), "node of cell 'reduce' must be of type list, got 7"),
        (DARTS_CC.replace("[3, 4]", "[3, 8]"), "operation 8 of cell 'normal' is unknown: 0 to 7"),
        (DARTS_CC.replace("[3, 4]", "[3, -1]"), "operation -1 of cell 'normal' is unknown"),
        (DARTS_CC.replace("[3, 4]", "[3, true]"), "operation must be of type int, got True"),
        (DARTS_CC.replace("[3, 4]", "[3, 4.0]"), "operation must be of type int, got 4.0"),
        (DARTS_CC[:-1], "not JSON"),
    ],
)
def test_bad_lists_of_darts_cc_are_refused(text: str, match: str) -> None:
    refused(match, from_darts_cc, text)


def test_read_genotype_takes_every_form(tmp_path: Path) -> None:
    published = read_genotype("DARTS_V2")
    for text in (
        DARTS_V2,
        f"DARTS_V2 = {DARTS_V2}\n",
        DARTS_V2.replace("range(2, 6)", "[2, 3, 4, 5]").replace(", ", ",\n  "),
        published.to_json(),
    ):
        path = tmp_path / "cell.txt"
        path.write_text(text, encoding="utf-8")
        assert read_genotype(path).cells == published.cells
        assert read_genotype(str(path)).cells == published.cells
    assert read_genotype(DARTS_V2).cells == published.cells
    assert read_genotype(DARTS_V2).id == published.id
    assert read_genotype(f"BEST = {DARTS_V2}").name == "BEST"
    path.write_text(NASBENCH + "\n")
    assert read_genotype(path) == read_genotype(NASBENCH) == from_nasbench201(NASBENCH)


@pytest.mark.parametrize(
    "text, match",
    [
        (DARTS_V2.replace("sep_conv_3x3", "sep_conv_7x7", 1), "did you mean 'sep_conv_"),
        (DARTS_V2.replace("range(2, 6)", "range(2, 5)", 1), r"normal_concat must be range\(2, 6\)"),
        (DARTS_V2.replace("range(2, 6)", "range(0, 1000000000000)"), "normal_concat must be"),
        (DARTS_V2.replace("range(2, 6)", "[2, 3]", 1), "normal_concat must be"),
        (DARTS_V2.replace("('sep_conv_3x3', 0), ", "", 1), "must have 8 edges, .* got 7"),
        (DARTS_V2.replace("0)", "1)", 1), "reads a state twice"),
        (DARTS_V2.replace("0)", "True)", 1), "an edge must be"),
        (DARTS_V2.replace("normal=[", "normal=3, x=[", 1), "not a DARTS text"),
        (DARTS_V2.replace("reduce=[", "normal=[", 1), "not a DARTS text"),
        (DARTS_V2.replace("range(2, 6)", "open('x')", 1), "not a DARTS text"),
        (DARTS_V2.replace("0)", "__import__('os'))", 1), "not a DARTS text"),
        (DARTS_V2.replace("0)", "-0)", 1), "not a DARTS text"),
        (DARTS_V2[:-1], "not a DARTS text"),
        (f"{DARTS_V2}\n{DARTS_V2.replace('1)', '0)', 1)[:-1]}", "not a DARTS text|state twice"),
        ("Genotype(**x)", "not a DARTS text"),
        ("Genotype(" + "not " * 15000 + "x)", "not a DARTS text"),
        ("Genotype(" + "[" * 60000, "deeper than 8"),
        ("Genotype(" + " " * 70000, "64 KiB"),
        (NASBENCH.replace("nor_conv_3x3", "nor_conv_3x4"), "did you mean 'nor_conv_3x3'"),
        (NASBENCH.replace("none~0", "none~1"), "not a NAS-Bench-201 string"),
        (NASBENCH[:-5], "not a NAS-Bench-201 string"),
        (NASBENCH + "+|none~0|", "not a NAS-Bench-201 string"),
        ("|" * 70000, "64 KiB"),
    ],
)
def test_bad_text_is_refused(text: str, match: str) -> None:
    refused(match, read_genotype, text)


def test_text_of_the_other_space_is_refused() -> None:
    refused("'nasbench201' has no DARTS text", to_darts, from_nasbench201(NASBENCH))
    refused("'darts' has no NAS-Bench-201", to_nasbench201, read_genotype("DARTS_V2"))


def test_unreadable_sources_are_refused(tmp_path: Path) -> None:
    huge, binary, prose = (tmp_path / name for name in ("huge.json", "binary", "two\nlines.txt"))
    with huge.open("wb") as file:
        for _ in range(50):
            file.write(b"[" * 1_000_000)
    binary.write_bytes(b"\x89PNG\r\n\x1a\n")
    prose.write_text("a cell\nof mine")
    refused("huge.json.* longer than 64 KiB", read_genotype, huge)
    refused("is a binary file", read_genotype, binary)
    refused(r"two\\nlines.txt.*neither JSON nor .* 'a cell", read_genotype, prose)
    refused("is a folder", read_genotype, tmp_path)
    refused("no genotype file .*missing.json", read_genotype, tmp_path / "missing.json")
    refused("cannot read genotype .*Not a directory", read_genotype, prose / "x.json")
    refused("genotype file or name 'DARTS_V3': did you mean 'DARTS_V", read_genotype, "DARTS_V3")
    refused("is not a path", read_genotype, "a\0b")
    refused("cannot read genotype .*too long", read_genotype, "x" * 100_000)


def test_a_long_path_is_shown_with_the_name_of_its_file(tmp_path: Path) -> None:
    missing = tmp_path / ("folder" * 20) / ("folder" * 20) / "cell.json"
    refused("no genotype file '/.{30,40}….{50,90}/cell.json'$", read_genotype, missing)


def test_names_are_not_found_without_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FOLDER", tmp_path / "absent")
    refused("no genotype file 'DARTS_V2'", read_genotype, "DARTS_V2")
