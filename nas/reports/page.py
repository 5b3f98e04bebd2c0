"""The page of a run, `report.html`: one file that needs nothing else, no network above all.

Its parts lie in `web/`: a page of HTML, styles, and scripts that draw what one JSON document says.
Whatever a user has named stands in that document alone, and scripts set it as text. The page's
policy (Content-Security-Policy) lets a browser run these scripts and styles, by their hashes, and
load nothing.
"""

import base64
import functools
import hashlib
import html
import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from cells.output_files import write_atomically
from nas.reports.page_data import search_document
from nas.runtime.metrics import finite
from nas.selection.front import Front

PAGE = "report.html"
SEARCH_SCRIPTS = (
    "base.js", "plot.js", "cell.js", "front.js", "dial.js", "search.js", "steer.js",
)  # fmt: skip


def write_search_page(folder: Path, front: Front, settings: Mapping[str, Any]) -> None:
    """Writes `report.html` into the folder of a search for cells, finished or not.

    Args:
        front: the search's cells, as they are now.
        settings: of the search, as JSON values.

    Raises:
        InputError: if a table of the folder is damaged.
        OSError: naming the file, e.g. if no space is left.
    """
    document = search_document(folder, front, settings)
    page = render("search.html", SEARCH_SCRIPTS, document["run"]["name"], document)
    write_atomically(folder / PAGE, page)


def attempt_page(folder: Path, write: Callable[[], None]) -> None:
    """Writes a page, which is no reason to stop a run.

    Args:
        folder: whose page it is.
        write: writes it.

    Warns:
        UserWarning: if that fails, with what happened.
    """
    try:
        write()
    except Exception as error:
        what = str(error) or type(error).__name__
        again = f"once that is mended: python -m nas report {folder}"
        warnings.warn(f"{folder / PAGE} was not written: {what}; {again}", stacklevel=2)


def render(template: str, scripts: Sequence[str], title: str, document: Mapping[str, Any]) -> bytes:
    """Puts a page together.

    Args:
        template: name of a page in `web/`.
        scripts: names of the scripts there, in their order.
        title: what a browser calls the page; any text.
        document: what the scripts draw, JSON values; numbers that are not finite become null.
    """
    style, script = _part("page.css"), "".join(map(_part, scripts))
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(title),
        "style": style,
        "script": script,
        "data": embedded(document),
    }
    # All at once: what stands in a part is no name of another.
    page = re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _part(template))
    return page.encode("utf-8", "replace")


def embedded(document: Mapping[str, Any]) -> str:
    """Returns JSON that can stand in an element of HTML: no character of it is a bracket there."""
    text = json.dumps(finite(document), allow_nan=False, separators=(",", ":"))  # in ASCII
    return text.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"})


@functools.cache
def _part(name: str) -> str:
    return (files("nas.reports") / "web" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
