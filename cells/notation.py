"""The ways of writing a genotype down.

* JSON, versioned (`Genotype.to_json`, `Genotype.from_json`);
* the text of quark0/darts, `Genotype(normal=[('sep_conv_3x3', 1), …], …)`;
* the string of NAS-Bench-201, `|nor_conv_3x3~0|+|none~0|skip_connect~1|+|…|`;
* those of other programs, only read: see `cells.dialects`.

The two texts may stand among other lines, such as those of a log. The readers are as strict as
those of JSON: they never evaluate anything.
"""

import ast
import codecs
import os
import re
from pathlib import Path
from typing import Any

from cells.dialects import from_cells, from_values
from cells.errors import InputError, unknown
from cells.genotype import Genotype
from cells.input_files import open_regular
from cells.space import SPACES
from cells.strict_json import BRACKETS, MAX_BYTES, TOO_LONG, check_text, load_json, show

FOLDER = Path(__file__).parent.parent / "genotypes"
"""Published and discovered cells, readable by name."""

_DARTS = re.compile(r"\s*(\w+\s*=\s*)?Genotype\s*\(")
_NUMBERED = re.compile(r"\d+-([0-9a-f]{10})\.json")
"""What a search calls the files of its genotypes."""
_COMMENT = re.compile(r"#[^\n]*")
_GENOTYPE = re.compile(r"\bGenotype\s*\(")
_NASBENCH201 = re.compile(r"\|\w+~0\|\+\|\w+~0\|\w+~1\|\+\|\w+~0\|\w+~1\|\w+~2\|")
_DARTS_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat", "connectN", "connects")
"""In the order in which they may stand without names; the last two are GDAS' and empty."""
_DARTS_ALPHABET = re.compile(r"[\w\s()\[\],='\".]*")
_LITERAL_ALPHABET = re.compile(r"[\w\s()\[\]{},:/|~+'\".]*")


def read_genotype(source: str | Path) -> Genotype:
    """Reads a genotype however it is given.

    Args:
        source: the name of a file under `genotypes/` (`"DARTS_V2"`); the path of a file that
            holds one in any notation; or such a text itself.

    Raises:
        InputError: if there is no such file or name, or what it holds is not a genotype.
    """
    if isinstance(source, str) and _is_text(source):
        return _read_text(source)
    shown = _show_path(str(source))
    named = {path.stem: path for path in sorted(FOLDER.glob("*.json"))}
    try:
        path = named.get(str(source), Path(source))
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InputError(TOO_LONG)
        wide = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        genotype = _read_text(content.decode("utf-16" if wide else "utf-8"))
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


def _is_text(source: str) -> bool:
    """Tells a genotype from the name or path of one."""
    start = source.lstrip("\ufeff \t\r\n")[:1]
    if start == "|" or _GENOTYPE.search(source) or _NASBENCH201.search(source):
        return True
    return start in ("[", "(", "{") and not os.path.exists(source)


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

    `NAME = ` may stand before it, its fields may stand without their names, and comments anywhere.
    The concatenation must be of all inner nodes, `range(2, 6)` or the list of them. For what the
    cells may be see `cells.dialects`.

    Raises:
        InputError: for anything else.
    """
    text = _COMMENT.sub("", text)
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
        if len(call.args) > len(_DARTS_FIELDS) or not isinstance(call.func, ast.Name):
            raise bad
        given = [*zip(_DARTS_FIELDS, call.args, strict=False)]
        given += [(str(keyword.arg), keyword.value) for keyword in call.keywords]
        values = {field: _literal(value) for field, value in given}
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise bad from None
    fields = [field for field, _ in given]
    if call.func.id != "Genotype" or len({*fields}) < len(fields):
        raise bad
    if not {*_DARTS_FIELDS[:4]} <= {*fields} <= {*_DARTS_FIELDS}:
        raise bad
    for field in _DARTS_FIELDS[4:]:
        if values.get(field) is not None:
            raise InputError(f"{field} must be None, got {show(values[field])}")
    return from_cells(values, name)


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


def _read_text(text: str) -> Genotype:
    """Reads whatever a text is, or has in its midst."""
    text = text.lstrip("\ufeff")
    start = text.lstrip()[:1]
    plain = _COMMENT.sub("", text).strip()
    if (begun := _DARTS.match(plain)) and plain.endswith(_call(plain, begun.end() - 1)):
        return from_darts(text)
    if start == "|":
        return from_nasbench201(text)
    among_lines = _GENOTYPE.search(text) or _NASBENCH201.search(text)
    if start in ("[", "(", "{") and not (among_lines and not _is_literal(text)):
        values = _load_values(text)
        if not _is_foreign(values):
            return Genotype.from_json(text)
        match values:
            case [str() as single]:
                return from_nasbench201(single)
        return from_values(values)
    return _find_text(text)


def _is_foreign(values: Any) -> bool:
    """Tells what may be another program's from a genotype of this one, if a damaged one."""
    ours = {"format", "version", "space", "cells"}
    return not isinstance(values, dict) or not ours & values.keys()


def _is_literal(text: str) -> bool:
    """Tells values from a log whose lines begin with a bracket."""
    try:
        _load_values(text)
    except InputError:
        return False
    return True


def _find_text(text: str) -> Genotype:
    """Reads the one genotype among other lines, such as those of a log.

    Raises:
        InputError: if there is none, or there are different ones.
    """
    if len(text) > MAX_BYTES:
        raise InputError(TOO_LONG)
    text = _COMMENT.sub("", text)
    found = [_call(text, start.start()) for start in _GENOTYPE.finditer(text)]
    found += [cell[0] for cell in _NASBENCH201.finditer(text)]
    if not found:
        raise InputError(f"neither JSON nor a DARTS text nor a NAS-Bench-201 string: {show(text)}")
    if len(found) > 100:
        raise InputError(f"it holds {len(found)} genotypes: keep the one that is meant")
    genotypes = [from_darts(t) if t[0] == "G" else from_nasbench201(t) for t in found]
    if len({genotype.id for genotype in genotypes}) > 1:
        raise InputError(
            f"it holds {len({genotype.id for genotype in genotypes})} different genotypes, the "
            f"last of them {show(found[-1])}: keep the one that is meant"
        )
    return genotypes[0]


def _call(text: str, start: int) -> str:
    """Returns a text from a place to where the next bracket is closed, or to the end."""
    depth = 0
    for token in BRACKETS.finditer(text, start):
        depth += (token[0] in "([{") - (token[0] in ")]}")
        if depth == 0 and token[0] in ")]}":
            return text[start : token.end()]
    return text[start:]


def _load_values(text: str) -> Any:
    """Reads JSON, or a literal of Python with the same limits.

    Raises:
        InputError: if it is neither.
    """
    try:
        return load_json(text)
    except InputError as error:
        plain = _COMMENT.sub("", text).strip()
        if not _LITERAL_ALPHABET.fullmatch(plain) or not {"'", "(", "N"} & {*plain}:
            raise
        try:
            tree = ast.parse(plain, mode="eval")
            values = ast.literal_eval(tree)
        except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
            raise error from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = [ast.dump(key) for key in node.keys if key is not None]
            if len({*keys}) < len(node.keys):
                raise InputError("a key stands twice in one dict: keep one")
    return values


def _literal(node: ast.expr) -> Any:
    """Value of a list, tuple, string or number, or a `range` of two numbers; runs nothing."""
    match node:
        case ast.Call(ast.Name("range"), [ast.Constant(int(first)), ast.Constant(int(last))], []):
            return range(first, last)
    return ast.literal_eval(node)
