"""Learning rates in the course of a run."""

import math


def cosine(start: float, end: float, progress: float) -> float:
    """Returns half a cosine from `start` at a progress of 0 to `end` at 1 (Loshchilov 2017)."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
