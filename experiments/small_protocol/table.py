"""The networks of the small protocol by size, beside random cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.chance import Chance


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The networks by size, with what a random cell of that size reaches, in Markdown.

    Random cells are those with two inputs per node, as ours have them. What a cell has above their
    curve stands beside the standard deviation that another random cell of its size would have. A λ
    of DARTS-CC is the price of one parameter.
    """
    points = [(r["params"], a) for r in rows if r["kind"] == "random" for a in r["accuracies"]]
    chance = Chance(points)
    lines = [
        "| cell | λ | parameters | test accuracy, % | above random cells, points |",
        "|:--|--:|--:|--:|--:|",
    ]
    for row in sorted(rows, key=lambda row: (row["kind"], row["params"])):
        mean = float(np.mean(row["accuracies"]))
        ahead = ""
        # The curve ends with the random cells.
        if row["kind"] != "random" and chance.low <= row["params"] <= chance.high:
            error = chance.error([row["params"]])
            ahead = f"{100 * chance.ahead([(row['params'], mean)]):+.2f}"
            ahead += "" if error is None else f" ± {100 * error:.2f}"
        spread = row["accuracies"]
        std = f" ± {100 * float(np.std(spread, ddof=1)):.2f}" if len(spread) > 1 else ""
        lam = "" if row["lam"] is None else f"{row['lam']:.3g}"
        lam += " / parameter" if row["kind"] == "DARTS-CC" else ""
        lines.append(
            f"| {row['kind']} | {lam} | {row['params']:,} | {100 * mean:.2f}{std} | {ahead} |"
        )
    return "\n".join(lines)
