"""The λ with the least validation loss, through the hypernetwork of a finished search.

    python -m nas tune runs/mlp

moves λ down the validation loss, for every run by itself, and writes the network at it. That is the
global way of Lorraine and Duvenaud (2018); a search with `--tune local` has learned its λ already.
No weight is trained here, and no test data are read.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cells.errors import InputError
from nas.data.examples import Task
from nas.optim.best_response import descend, hypergradient
from nas.weight_search.config import NONE
from nas.weight_search.evidence import BATCH, mean_nll, validation
from nas.weight_search.networks import Generated

RATE = 0.05
"""First step of log λ."""
STEPS = 100
"""Steps of the descent."""


def tune(generated: Generated, task: Task) -> Tensor:
    """Finds the λ of each run that validates best, (runs,) float64.

    The descent begins at the λ of the search's grid whose validation loss is least.

    Raises:
        InputError: if there is no validation part, no hypernetwork, or no range of λ.
    """
    config, lam_range = generated.config, generated.lam_range
    if config.hypernet == NONE:
        raise InputError(
            "networks by themselves have no way from one λ to the next: search with a "
            "hypernetwork, or read val_nll in front.csv"
        )
    if task.val is None:
        raise InputError(
            "this search held no examples out of its training: search once more with "
            "--val-fraction 0.2"
        )
    if generated.tuned is not None:
        return generated.tuned
    (low,), (high,) = lam_range.low, lam_range.high
    if low == high:
        raise InputError(f"this search has λ = {low} alone: search a range")
    val = task.val.to(next(generated.hypernet.parameters()).device)

    def slope(unit_lams: Tensor) -> tuple[Tensor, Tensor]:
        found = [torch.zeros_like(unit_lams), torch.zeros_like(unit_lams)]
        for part in val.split(BATCH):

            def loss(units: Tensor, part: Any = part) -> Tensor:
                posteriors = generated.hypernet(units[:, None].to(val.x.device))
                return mean_nll(generated.chain, posteriors, part)[:, 0]

            for total, value in zip(found, hypergradient(loss, unit_lams), strict=True):
                total += value.to(total) * len(part) / len(val)
        return found[0], found[1]

    lams = lam_range.grid(config.grid)
    losses = validation(task, generated.chain, generated.at(lams[:, 0].tolist()))["val_nll"]
    start = lam_range.unit(lams)[losses.argmin(dim=1).cpu(), 0]
    rate = RATE / math.log(high / low)
    best, _ = descend(slope, start, rate=rate, steps=STEPS)
    return lam_range.lam(best[:, None])[:, 0]


def tuned_rows(generated: Generated, lams: Tensor, task: Task) -> list[dict[str, Any]]:
    """Makes a row for each run: its seed, its λ, and what `validation` returns there.

    Args:
        lams: (runs,) float64.
    """
    unit_lams = generated.lam_range.unit(lams[:, None]).float()
    device = next(generated.hypernet.parameters()).device
    with torch.no_grad():
        posteriors = generated.hypernet(unit_lams.to(device))
    found = validation(task, generated.chain, posteriors)
    return [
        {"seed": generated.config.seed + run, "lam": lam}
        | {name: float(value[run, 0]) for name, value in found.items()}
        for run, lam in enumerate(lams.tolist())
    ]


def describe(rows: Sequence[dict[str, Any]], generated: Generated) -> list[str]:
    """Describes each of `tuned_rows` in a line, and says where λ met an end of its range."""
    last = "val_rmse" if "val_rmse" in rows[0] else "val_accuracy"
    lines = [
        f"seed {row['seed']}: λ = {row['lam']:.4g}, validation loss {row['val_nll']:.4f} nats, "
        f"validation {last.removeprefix('val_')} {row[last]:.4f}"
        for row in rows
    ]
    for lam in {row["lam"] for row in rows} & {*generated.lam_range.low, *generated.lam_range.high}:
        lines.append(f"λ = {lam:g} is an end of the range: a wider one may hold a better λ")
    return lines
