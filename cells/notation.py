"""The four ways of writing a genotype down.

* JSON, versioned (`Genotype.to_json`, `Genotype.from_json`);
* the text of quark0/darts, `Genotype(normal=[('sep_conv_3x3', 1), …], …)`;
* the string of NAS-Bench-201, `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|…|`;
* the lists of Intelligent-Systems-Phystech/DARTS-CC, `[[[6, 7], …], [[5, 3], …]]`, only read.

The readers are as strict as those of JSON: they never evaluate anything.
"""

import ast
import re
from pathlib import Path
from typing import Any

from cells.errors import InputError, unknown
from cells.genotype import Genotype, read_edge
from cells.input_files import open_regular
from cells.space import SPACES
from cells.strict_json import MAX_BYTES, TOO_LONG, check_text, load_json, show, typed

FOLDER = Path(__file__).parent.parent / "genotypes"
"""Published and discovered cells, readable by name."""

_DARTS = re.compile(r"\s*(\w+\s*=\s*)?Genotype\s*\(")
_NUMBERED = re.compile(r"\d+-([0-9a-f]{10})\.json")
"""What a search calls the files of its genotypes."""
_DARTS_CC_OPS = (*SPACES["darts"].ops[1:], "none")
_DARTS_ALPHABET = re.compile(r"[\w\s()\[\],='\"]*")


def read_genotype(source: str | Path) -> Genotype:
    """Reads a genotype however it is given.

    Args:
        source: the name of a file under `genotypes/` (`"DARTS_V2"`); the path of a file that
            holds JSON, a DARTS text, a NAS-Bench-201 string or the lists of DARTS-CC; or a DARTS
            text or NAS-Bench-201 string itself.

    Raises:
        InputError: if there is no such file or name, or what it holds is not a genotype.
    """
    if isinstance(source, str) and (_DARTS.match(source) or source.lstrip().startswith("|")):
        return _read_text(source)
    shown = _show_path(str(source))
    named = {path.stem: path for path in sorted(FOLDER.glob("*.json"))}
    try:
        path = named.get(str(source), Path(source))
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(TOO_LONG)
        genotype = _read_text(content.decode("utf-8"))
        told = _NUMBERED.fullmatch(path.name)
        if told and told[1] != genotype.id:
            raise InputError(
                f"it holds the genotype {genotype.id}, not the one of its name: restore a copy"
            )
        return genotype
    except FileNotFoundError:
        if named and Path(source).name == str(source) and not Path(source).suffix:
            raise unknown("genotype file or name", str(source)[:80], named) from None
        raise InputError(f"no genotype file {shown}") from None
    except UnicodeDecodeError:
        raise InputError(f"{shown} is a binary file, not a genotype") from None
    except OSError as error:
        raise InputError(f"cannot read genotype {shown}: {error.strerror}") from None
    except InputError as error:
        raise InputError(f"{shown}: {error}") from None


def _show_path(path: str) -> str:
    """Returns a path on one line; a long one is cut in its middle, as its end names the file."""
    text = repr(path)
    return text if len(text) <= 120 else f"{text[:39]}…{text[-80:]}"


def to_darts(genotype: Genotype) -> str:
    """Returns the text of quark0/darts; `from_darts` gives the same cells back.

    Raises:
        InputError: if the genotype is not of the DARTS space.
    """
    if genotype.space != "darts":
        raise InputError(f"a genotype of {genotype.space!r} has no DARTS text: 'darts' is needed")
    fields = []
    for kind in SPACES["darts"].kinds:
        edges = [f"({op!r}, {source})" for node in genotype.cells[kind] for op, source in node]
        fields.append(f"{kind}=[{', '.join(edges)}], {kind}_concat=range(2, 6)")
    return f"Genotype({', '.join(fields)})"


def from_darts(text: str) -> Genotype:
    """Reads `Genotype(normal=[…], normal_concat=…, reduce=[…], reduce_concat=…)`.

    `NAME = ` may stand before it. The concatenation must be of all inner nodes, `range(2, 6)` or
    the list of them.

    Raises:
        InputError: for anything else.
    """
    check_text(text)
    bad = InputError(f"not a DARTS text 'Genotype(normal=[…], …)': {show(text)}")
    if not _DARTS_ALPHABET.fullmatch(text):
        raise bad
    try:
        body = ast.parse(text.strip()).body
        match body:
            case [ast.Expr(ast.Call() as call)]:
                name = None
            case [ast.Assign([ast.Name(str() as name)], ast.Call() as call)]:
                pass
            case _:
                raise bad
        values = {keyword.arg: _literal(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise bad from None
    names = ["normal", "normal_concat", "reduce", "reduce_concat"]
    is_genotype = isinstance(call.func, ast.Name) and call.func.id == "Genotype"
    if not is_genotype or call.args or sorted(str(k.arg) for k in call.keywords) != names:
        raise bad
    space = SPACES["darts"]
    cells = {}
    for kind in space.kinds:
        concat = values[f"{kind}_concat"]
        if concat not in (range(2, 6), [2, 3, 4, 5], (2, 3, 4, 5)):
            raise InputError(f"{kind}_concat must be range(2, 6), got {show(concat)}")
        edges = [read_edge(edge) for edge in typed(values[kind], list, kind)]
        if len(edges) != 8:
            raise InputError(f"cell {kind!r} must have 8 edges, two per node, got {len(edges)}")
        cells[kind] = tuple(tuple(edges[i : i + 2]) for i in range(0, 8, 2))
    return Genotype("darts", cells, name=name)


def to_nasbench201(genotype: Genotype) -> str:
    """Returns the NAS-Bench-201 string, edges by source, `none` written out.

    Raises:
        InputError: if the genotype is not of the NAS-Bench-201 space.
    """
    if genotype.space != "nasbench201":
        raise InputError(
            f"a genotype of {genotype.space!r} has no NAS-Bench-201 string: 'nasbench201' is needed"
        )
    nodes = []
    for target, edges in enumerate(genotype.cells["cell"], 1):
        ops = {edge.source: edge.op for edge in edges}
        nodes.append("".join(f"|{ops.get(i, 'none')}~{i}" for i in range(target)) + "|")
    return "+".join(nodes)


def from_nasbench201(text: str) -> Genotype:
    """Reads `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.

    Raises:
        InputError: for anything else.
    """
    check_text(text)
    space = SPACES["nasbench201"]
    form = r"\+".join(
        r"\|" + "".join(rf"([^|~+]*)~{i}\|" for i in range(j))
        for j in range(1, space.num_nodes + 1)
    )
    found = re.fullmatch(form, text.strip())
    if not found:
        raise InputError(
            f"not a NAS-Bench-201 string '|op~0|+|op~0|op~1|+|op~0|op~1|op~2|': {show(text)}"
        )
    for op in found.groups():
        if op not in space.ops:
            raise unknown("operation", op, space.ops)
    return Genotype.from_choices(space, [space.ops.index(op) for op in found.groups()])


def from_darts_cc(text: str) -> Genotype:
    """Reads `[reduce, normal]`: for each inner node the operation on the edge from every state.

    A node's list has an index into `_DARTS_CC_OPS` for each earlier state, the two inputs first.

    Raises:
        InputError: for anything else.
    """
    bad = InputError(f"not the lists [reduce, normal] of DARTS-CC: {show(text)}")
    match load_json(text):
        case [list(reduce), list(normal)]:
            pass
        case _:
            raise bad
    space = SPACES["darts_free"]
    cells = {"normal": normal, "reduce": reduce}
    choices = []
    for kind in space.kinds:
        if len(cells[kind]) != space.num_nodes:
            raise bad
        for target, node in enumerate(cells[kind], space.num_inputs):
            if len(typed(node, list, f"a node of cell {kind!r}")) != target:
                raise InputError(
                    f"node {target} of cell {kind!r} wants {target} operations, got {len(node)}"
                )
            for number in node:
                if not 0 <= typed(number, int, "an operation") < len(_DARTS_CC_OPS):
                    raise InputError(
                        f"operation {number} of cell {kind!r} is unknown: 0 to 7 are "
                        + ", ".join(_DARTS_CC_OPS)
                    )
                choices.append(space.ops.index(_DARTS_CC_OPS[number]))
    return Genotype.from_choices(space, choices)


def _read_text(text: str) -> Genotype:
    if _DARTS.match(text):
        return from_darts(text)
    if text.lstrip().startswith("|"):
        return from_nasbench201(text)
    if text.lstrip().startswith("["):
        return from_darts_cc(text)
    if text.lstrip().startswith("{"):
        return Genotype.from_json(text)
    raise InputError(f"neither JSON nor a DARTS text nor a NAS-Bench-201 string: {show(text)}")


def _literal(node: ast.expr) -> Any:
    """Value of a list, tuple, string or number, or a `range` of two numbers; runs nothing."""
    match node:
        case ast.Call(ast.Name("range"), [ast.Constant(int(first)), ast.Constant(int(last))], []):
            return range(first, last)
    return ast.literal_eval(node)
