"""Results of parts of an experiment, each made once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas.runs import write_json


def recorded(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a JSON file holds, made and written before if there is none."""
    if not path.exists():
        write_json(path, make())
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result
