"""Strict JSON for genotypes: text is bounded before it is parsed, values are checked after.

Files come from strangers, so whatever is not fully understood is refused with one line.
"""

import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from cells.errors import InputError

MAX_BYTES = 64 * 1024
MAX_DEPTH = 8
TOO_LONG = f"a genotype must not be longer than {MAX_BYTES // 1024} KiB"

BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[][(){}]', re.DOTALL)
"""A string, or one bracket."""


def load_json(text: str) -> Any:
    """Reads JSON, and refuses NaN, infinity, duplicate keys and lone surrogates.

    Raises:
        InputError: for those, for what is not JSON, and as `check_text`.
    """
    check_text(text)
    try:
        data = json.loads(
            text,
            parse_constant=_number,
            parse_float=_number,
            parse_int=_number,
            object_pairs_hook=unique_keys,
        )
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}, {error.lineno}:{error.colno}") from None
    except UnicodeEncodeError:
        raise InputError("a genotype must not hold lone surrogates: \\ud800 to \\udfff") from None
    return data


def check_text(text: str) -> None:
    """Limits length and depth before a parser runs: it recurses, and long numbers are slow.

    Raises:
        InputError: beyond `MAX_BYTES` of UTF-8, or `MAX_DEPTH` brackets inside one another.
    """
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise InputError(TOO_LONG)
    depth = 0
    for token in BRACKETS.finditer(text):
        depth += {"[": 1, "(": 1, "{": 1, "]": -1, ")": -1, "}": -1}.get(token[0], 0)
        if depth > MAX_DEPTH:
            raise InputError(f"a genotype must not be nested deeper than {MAX_DEPTH}")


def typed(value: Any, kind: type, what: str) -> Any:
    """Returns `value`, which the message calls `what`.

    Raises:
        InputError: if it is not exactly of type `kind`.
    """
    if type(value) is not kind:  # True is no integer here
        raise InputError(f"{what} must be of type {kind.__name__}, got {show(value)}")
    return value


def show(value: object) -> str:
    """Returns a value on one line, short enough for a message, however large it is.

    A container may hold itself a million times: no more of it is looked at than is shown.
    """
    text = "".join(islice(_parts(value), 80))
    return text if len(text) <= 80 else text[:79] + "…"


def _parts(value: object) -> Iterator[str]:
    """`repr` in parts, so that it need not come to its end."""
    if isinstance(value, list | tuple | dict):
        brackets = {list: ("[", "]"), tuple: ("(", ")")}
        opening, closing = brackets.get(type(value), ("{", "}"))
        yield opening
        for number, item in enumerate(value):
            yield from (", ",) if number else ()
            yield from _parts(item)
            if isinstance(value, dict):
                yield ": "
                yield from _parts(value[item])
        yield "," + closing if isinstance(value, tuple) and len(value) == 1 else closing
    elif isinstance(value, str | bytes):
        yield repr(value[:80])
    elif isinstance(value, int) and value.bit_length() > 256:
        yield f"a whole number of {value.bit_length()} bits"
    elif value is None or isinstance(value, bool | int | float | range):
        yield repr(value)
    else:
        yield f"a {type(value).__name__}"


def layout(value: Any, indent: int = 0) -> str:
    """Returns JSON with one item per line where the whole would not fit on one."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or (indent and indent + len(flat) <= 80):
        return flat
    inner = "\n" + " " * (indent + 2)
    if isinstance(value, list):
        items = [layout(item, indent + 2) for item in value]
    else:
        items = [f"{layout(key)}: {layout(item, indent + 2)}" for key, item in value.items()]
    return f"{flat[0]}{inner}{f',{inner}'.join(items)}{inner[:-2]}{flat[-1]}"


def _number(text: str) -> int | float:
    if re.fullmatch(r"-?\d{1,20}", text):
        return int(text)
    if text.lstrip("-").isdigit() or not math.isfinite(float(text)):
        raise InputError(f"a genotype must not hold {show(text)}: numbers are finite, to 20 digits")
    return float(text)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Makes a JSON object, whose keys must differ; an `object_pairs_hook` of `json`."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InputError(f"key {show(key)} stands twice in one JSON object: keep one")
        found[key] = value
    return found
