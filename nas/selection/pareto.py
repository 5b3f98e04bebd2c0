"""Fronts of accuracy against costs: their members, and the volume they dominate."""

import itertools
import math
from collections.abc import Sequence


def pareto(accuracies: Sequence[float], costs: Sequence[Sequence[float]]) -> list[bool]:
    """Tells which points no other one dominates.

    Args:
        accuracies: of each point, the larger the better.
        costs: of each point, one number per kind of cost, the smaller the better.
    """
    points = [(-a, *c) for a, c in zip(accuracies, costs, strict=True)]

    def dominated(p: tuple[float, ...]) -> bool:
        return any(q != p and all(a <= b for a, b in zip(q, p, strict=True)) for q in points)

    return [not dominated(p) for p in points]


def knee(accuracies: Sequence[float], costs: Sequence[float]) -> int | None:
    """Finds the bend of a front: the member farthest above the line between its two ends.

    Costs count by their logarithms, accuracies as they are, both as shares of their ranges.

    Args:
        accuracies: of the members of a front.
        costs: of each, > 0.

    Returns:
        The number of a member; None where none lies above that line.
    """
    points = sorted(
        (math.log(cost), accuracy, i)
        for i, (accuracy, cost) in enumerate(zip(accuracies, costs, strict=True))
    )
    if len(points) < 3:
        return None
    (left, low, _), (right, high, _) = points[0], points[-1]
    if right == left or high == low:
        return None
    heights = [((y - low) / (high - low) - (x - left) / (right - left), i) for x, y, i in points]
    height, best = max(heights, key=lambda pair: pair[0])
    return best if height > 1e-9 else None


def hypervolume(
    accuracies: Sequence[float],
    costs: Sequence[Sequence[float]],
    *,
    least: float,
    most: Sequence[float],
) -> float:
    """Measures what the points dominate: all that is no better than one of them in anything.

    Exact, by slices along the last cost (Zitzler, Thiele, 1999); with n points and k costs it takes
    O(n^k log n) steps.

    Args:
        accuracies: of each point.
        costs: of each point, k >= 1 numbers.
        least: accuracy below which nothing counts.
        most: costs above which nothing counts, k numbers.

    Returns:
        The volume, in units of accuracy times units of the costs; 0 without points.
    """
    points = [
        (a - least, *(m - c for m, c in zip(most, row, strict=True)))
        for a, row in zip(accuracies, costs, strict=True)
    ]
    return _volume([p for p in points if min(p) > 0])


def _volume(points: list[tuple[float, ...]]) -> float:
    """Volume of the union of the boxes between the origin and each point, (d,) with d >= 1."""
    if not points:
        return 0.0
    if len(points[0]) == 1:
        return max(point[0] for point in points)
    ordered = sorted(points, key=lambda point: -point[-1])
    heights = [*(point[-1] for point in ordered), 0.0]
    if len(points[0]) == 2:  # a staircase
        area, widest = 0.0, 0.0
        for (width, _), upper, lower in zip(ordered, heights, heights[1:], strict=False):
            widest = max(widest, width)
            area += widest * (upper - lower)
        return area
    total = 0.0
    for i, (upper, lower) in enumerate(itertools.pairwise(heights)):
        if upper > lower:
            total += (upper - lower) * _volume([point[:-1] for point in ordered[: i + 1]])
    return total
