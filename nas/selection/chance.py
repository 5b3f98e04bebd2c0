"""Random cells to compare a front with: what chance has at equal cost."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cells.sampling import Choices, random_cells_over
from nas.runtime.streams import stream
from nas.selection.finalists import LEAST
from nas.selection.front import Front


def draw_chance(
    front: Front, rows: Sequence[Mapping[str, Any]], count: int
) -> list[tuple[str, Choices]]:
    """Draws random cells evenly over the costs of a front's cells.

    With several costs each has its share: cells evenly over the logarithm of that cost, from the
    least to the most expensive cell of the front, and equally likely where it is equal. Candidates
    that the search has removed are left out: their weights were not trained to the end.

    Args:
        rows: cells of the front, with their costs by name.
        count: how many are wanted, >= 0.

    Returns:
        For each the cost over which it was drawn, and the cell.
    """
    draw = random.Random(stream(front.seed, "chance", 0).initial_seed())
    found: list[tuple[str, Choices]] = []
    for place, name in enumerate(front.costs):
        number = len(range(place, count, len(front.costs)))
        spent = positive([row[name] for row in rows])
        costs = np.geomspace(min(spent), max(spent), number).tolist()
        kept, table = front.distribution.kept, front.tables[name]
        cells = random_cells_over(front.space, table, costs, draw, kept=kept)
        found += [(name, cell) for cell in cells]
    return found


def positive(costs: Sequence[float]) -> list[float]:
    """Raises small costs to a share of the largest, as a fit may say that a cell costs nothing."""
    least = LEAST * max(costs) or 1.0
    return [max(cost, least) for cost in costs]
