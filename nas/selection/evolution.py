"""Regularised evolution of cells (Real, Aggarwal, Huang, Le 2019), for one aim or several at once.

A queue of cells. At every step a few of them are drawn, one that none of the few dominates is
mutated on one edge, its child joins the queue, and the oldest cell, not the worst, dies.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import final

from cells.sampling import Choices, mutate, random_cell
from cells.space import SearchSpace
from nas.selection.pareto import pareto

POPULATION, TOURNAMENT = 64, 8
"""Cells in the queue; cells that are drawn from it to find a parent."""
TRIES = 20
"""Steps for each score wanted: children that are known already cost none."""


@final
class Evolution:
    """One evolution.

    Attributes:
        queue: the cells that live, the oldest first.
        scores: what every cell that ever lived was worth, in the order they were first seen.
    """

    def __init__(
        self,
        space: SearchSpace,
        score: Callable[[Choices], tuple[float, ...]],
        draw: random.Random,
        *,
        population: int = POPULATION,
        tournament: int = TOURNAMENT,
        connected: bool = True,
    ) -> None:
        """
        Args:
            score: what is minimised: a loss and, if there are any, costs. Called once for a cell.
            draw: source of all draws.
            connected: whether cells whose output does not depend on their inputs are left out.
        """
        self.space = space
        self.draw = draw
        self.population = population
        self.tournament = tournament
        self.connected = connected
        self.queue: deque[Choices] = deque(maxlen=population)
        self.scores: dict[Choices, tuple[float, ...]] = {}
        self._score = score

    def step(self) -> Choices:
        """Adds a cell to the queue: a random one until it is full, then a parent's child.

        Returns:
            The cell.
        """
        if len(self.queue) < self.population:
            child = random_cell(self.space, self.draw, connected=self.connected)
        else:
            child = mutate(self.space, self.parent(), self.draw, connected=self.connected)
        if child not in self.scores:
            self.scores[child] = self._score(child)
        self.queue.append(child)  # the oldest falls out at the other end
        return child

    def parent(self) -> Choices:
        """Holds a tournament; returns, at random, a cell that none of the few drawn dominates."""
        few = [self.queue[self.draw.randrange(len(self.queue))] for _ in range(self.tournament)]
        points = [self.scores[cell] for cell in few]
        members = pareto([-loss for loss, *_ in points], [costs for _, *costs in points])
        best = [cell for cell, member in zip(few, members, strict=True) if member]
        return best[self.draw.randrange(len(best))]

    def run(self, count: int) -> dict[Choices, tuple[float, ...]]:
        """Goes on until `count` cells have been scored, or no new ones seem to come.

        Returns:
            `scores`.
        """
        for _ in range(TRIES * count):
            if len(self.scores) >= count:
                break
            self.step()
        return self.scores
