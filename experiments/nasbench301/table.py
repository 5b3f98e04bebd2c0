"""Fronts in the space of DARTS as a table: each record's standing among random cells."""

from collections.abc import Mapping, Sequence

import numpy as np

from experiments.nasbench301.measure import FrontScore

HEAD = (
    "| cells of | percentile | gain, points | least percentile | outside | different | rises |\n"
    "|:--|--:|--:|--:|--:|--:|--:|"
)


def table(scores: Mapping[str, Sequence[FrontScore]]) -> str:
    """Writes Markdown, one row a kind of front.

    Args:
        scores: name of the row -> a front for each seed, at least one.
    """
    return "\n".join([HEAD, *(_row(name, fronts) for name, fronts in scores.items())])


def _row(name: str, fronts: Sequence[FrontScore]) -> str:
    size = len(fronts[0].standings)
    outside = " ".join(str(f.outside) for f in fronts)
    different = " ".join(str(f.different) for f in fronts)
    rises = " ".join(str(f.rises) for f in fronts)
    return (
        f"| {name} | {_spread([f.percentile for f in fronts], 1)} "
        f"| {_spread([f.gain for f in fronts], 2, '+')} "
        f"| {' '.join(f'{f.least:.0f}' for f in fronts)} | {outside} of {size} "
        f"| {different} | {rises} |"
    )


def _spread(values: Sequence[float], digits: int, sign: str = "") -> str:
    """Mean ± sample standard deviation."""
    mean = f"{np.mean(values):{sign}.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"
