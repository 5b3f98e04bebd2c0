"""Durations as people write them: 90s, 45m, 20min, 1h30m."""

import re
from itertools import pairwise

from cells.errors import InputError

SECONDS = {"d": 86400, "h": 3600, "m": 60, "min": 60, "s": 1}
"""Seconds of each unit."""
_PART = re.compile(r"(\d+(?:\.\d+)?)(d|h|min|m|s)")
LONGEST = 366 * 86400
"""Seconds; more is a slip."""


def read_duration(text: str, name: str) -> float:
    """Returns the seconds of a duration.

    Args:
        text: numbers with units, largest first, e.g. `1h30m`.
        name: what it is called in the message.

    Raises:
        InputError: if it is none, or not from a second to a year.
    """
    joined = text.lower().replace(" ", "")
    parts = _PART.findall(joined)
    units = [SECONDS[unit] for _, unit in parts]
    falls = all(first > later for first, later in pairwise(units))
    seconds = sum(float(number) * unit for (number, _), unit in zip(parts, units, strict=True))
    whole = "".join(number + unit for number, unit in parts) == joined
    if not (parts and whole and falls and 1 <= seconds <= LONGEST):
        raise InputError(
            f"{name} must be a duration from a second to a year, such as 90s, 45m or 1h30m, "
            f"got {text!r}"
        )
    return seconds


def show_duration(seconds: float) -> str:
    """Returns a duration as people read it: two units at most."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"
