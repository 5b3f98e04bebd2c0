"""Curves on a page: small plots of what a table has along one of its values."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")

POINTS_OF_A_CURVE = 200


def panels(
    rows: Sequence[Mapping[str, Any]],
    along: str,
    series: Mapping[str, Sequence[tuple[str, str, int | None]]],
    end: float | None = None,
) -> list[dict[str, Any]]:
    """Makes small plots of a table, each with a few curves; what the table lacks is left out.

    Args:
        rows: values by name; long tables are thinned.
        along: name of the value that lies along the horizontal axis.
        series: for each title the curves: what each is called, the name of its values, and which
            of them it is where these are lists.
        end: where the horizontal axis ends, if not with the last row.
    """
    rows = thinned([row for row in rows if along in row], POINTS_OF_A_CURVE)
    found = []
    for title, curves in series.items():
        drawn = [
            {"name": called, "values": [_value(row.get(name), index) for row in rows]}
            for called, name, index in curves
        ]
        drawn = [c for c in drawn if any(value is not None for value in c["values"])]
        if drawn:
            at = [row[along] for row in rows]
            found.append({"title": title, "along": along, "at": at, "end": end, "curves": drawn})
    return found


def thinned(items: Sequence[Item], most: int) -> list[Item]:
    """Returns at most so many (>= 2) items, evenly spaced, the first and the last among them."""
    if len(items) <= most:
        return [*items]
    return [items[i * (len(items) - 1) // (most - 1)] for i in range(most)]


def _value(found: Any, index: int | None) -> float | None:
    if index is not None and type(found) is list and found:
        found = found[index]
    return float(f"{found:.5g}") if type(found) in (int, float) else None
