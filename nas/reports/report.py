"""What a finished search leaves in its folder: table, genotypes, pictures."""

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from cells.errors import InputError
from cells.input_files import MIB
from cells.output_files import write_atomically
from cells.sampling import Choices
from cells.strict_json import show
from cells.supernet import Supernet
from nas.data.augmentation import normalise, shrink
from nas.data.batches import Split
from nas.data.config import ACCURACY, BALANCED_ACCURACY
from nas.data.datasets import ImageData
from nas.reports.cell_graph import draw_genotype, draw_supernet
from nas.reports.chance import CHANCE, chance_rows
from nas.reports.diagnostics import diagnose
from nas.reports.front_plot import draw_front
from nas.reports.latency import LATENCY, WHOLE, Timer, measured_rows, read_calibration
from nas.reports.retrained import points, read_retrained
from nas.runtime.confusion import balanced_accuracy, confusion
from nas.runtime.files import csv_bytes, require_folder
from nas.runtime.metrics import Average, accuracy
from nas.runtime.sums import check_sums, write_sums
from nas.runtime.tables import number, read_table
from nas.selection.front import Front
from nas.selection.pareto import pareto

FRONT = "front.csv"
MAX_BYTES = 16 * MIB
"""Of front.csv, and of a genotype."""
FORMER = ("accuracy", "rmse", "accuracy_std", "rmse_std")
"""Columns of before, which did not say on which images."""


@torch.no_grad()
def supernet_accuracy(
    supernet: Supernet,
    choices: Sequence[int],
    split: Split,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    batch_size: int = 250,
    shrunk: int = 1,
    metric: str = ACCURACY,
) -> float:
    """Returns the accuracy in [0, 1] of a discrete architecture with the supernet's weights.

    Normalisation uses the statistics of each batch, so that batches must be mixed (`draw_part`);
    they are made of nearly equal size. The means of Gaussian weights are used. With `shrunk` the
    supernet sees means of that many by that many pixels. Another metric of
    `nas.data.config.METRICS` may be asked for.
    """
    training = supernet.training
    supernet.eval()
    average, counts = Average(), list[Tensor]()
    number = -(-len(split) // batch_size)
    parts = zip(split.images.tensor_split(number), split.labels.tensor_split(number), strict=True)
    for images, y in parts:
        logits = supernet.discrete(shrink(normalise(images, mean, std), shrunk), choices)
        average.add(float(accuracy(logits, y)), len(y))
        counts.append(confusion(logits, y))
    supernet.train(training)
    if metric == BALANCED_ACCURACY:
        return balanced_accuracy(torch.stack(counts).sum(dim=0))
    return average.mean


def front_rows(
    front: Front, lams: Tensor, scores: Mapping[tuple[int, ...], float]
) -> list[dict[str, Any]]:
    """Makes one row per cell of the front, in order of λ, equal cells merged.

    `lams` counts the λs of the grid that give the cell, `rises_…` those of them at which the cost
    is higher than at the λ before; `floor_…` and `ceiling_…` mark the least, and the most,
    expensive cells of the space; `parameter_free` is the share of its edges without parameters.

    Args:
        lams: (n, num_costs) float64, the grid of λs.
        scores: validation accuracy of every discrete architecture on it.
    """
    probs = front.log_probs(lams).exp()
    found = diagnose(front, lams)
    cells = [tuple(c) for c in found.choices.tolist()]
    rows: list[dict[str, Any]] = []
    for choices in dict.fromkeys(cells):
        where = [i for i, other in enumerate(cells) if other == choices]
        first, last = where[0], where[-1]
        names = front.costs
        genotype = front.genotype(lams[first].tolist(), choices)
        rows.append(
            {f"lam_{n}": float(lams[first, k]) for k, n in enumerate(names)}
            | {f"lam_last_{n}": float(lams[last, k]) for k, n in enumerate(names)}
            | {f"expected_{n}": float(t.expected(probs[first])) for n, t in front.tables.items()}
            | {n: t.total(choices) for n, t in front.tables.items()}
            | {
                "lams": len(where),
                "entropy": float(found.entropy[first]),
                "parameter_free": float(found.parameter_free[first]),
            }
            | {f"rises_{n}": int(found.rises[n][where].sum()) for n in names}
            | {f"floor_{n}": bool(found.floor[n][first]) for n in names}
            | {f"ceiling_{n}": bool(found.ceiling[n][first]) for n in names}
            | {
                "val_accuracy": scores[choices],
                "genotype": genotype.id,
                "file": f"genotypes/{len(rows):02d}-{genotype.id}.json",
            }
        )
    members = pareto([r["val_accuracy"] for r in rows], [[r[n] for n in names] for r in rows])
    return [{**row, "pareto": member} for row, member in zip(rows, members, strict=True)]


def write_report(
    folder: Path,
    front: Front,
    supernets: Sequence[Supernet],
    images: Split,
    data: ImageData,
    *,
    grid: int,
    shrunk: int = 1,
    chance: int = 0,
    timer: Timer | None = None,
    metric: str = ACCURACY,
    pictures: bool = True,
) -> list[dict[str, Any]]:
    """Scores every cell of the front and writes front.csv, chance.csv, latency.csv, genotypes/,
    cells/, front.svg and SHA256SUMS.

    Args:
        supernets: whose accuracies are averaged.
        images: on which cells are scored, on the supernets' device, in a random order.
        data: whose part they are.
        grid: λs, evenly spaced in log λ.
        shrunk, metric: see `supernet_accuracy`.
        chance: random cells that are scored beside them; without any there is no chance.csv.
        timer: measures a few networks of the front as a whole; without it there is no
            latency.csv.
        pictures: whether to draw any.

    Returns:
        The rows of front.csv.
    """

    @functools.cache
    def score(choices: Choices) -> float:
        return fmean(
            supernet_accuracy(
                supernet, choices, images, data.mean, data.std, shrunk=shrunk, metric=metric
            )
            for supernet in supernets
        )

    lams = front.lam_range.grid(grid)
    # In the order of λ, as the rows.
    cells = dict.fromkeys(tuple(c) for c in front.choices(lams).tolist())
    rows = front_rows(front, lams, {choices: score(choices) for choices in cells})
    others = chance_rows(front, rows, score, chance)
    (folder / "genotypes").mkdir(exist_ok=True)
    (folder / "cells").mkdir(exist_ok=True)
    written = {FRONT: csv_bytes(rows)}
    if others:
        written[CHANCE] = csv_bytes(others)
    genotypes = [
        front.genotype([row[f"lam_{n}"] for n in front.costs], choices)
        for row, choices in zip(rows, cells, strict=True)
    ]
    if timer is not None:
        written[LATENCY] = csv_bytes(measured_rows(rows, genotypes, timer))
    for row, genotype in zip(rows, genotypes, strict=True):
        path = folder / row["file"]
        genotype.save(path)
        written[row["file"]] = path.read_bytes()
        if pictures:
            draw_genotype(genotype, folder / "cells" / path.stem)
    if pictures:
        _draw_ends(folder, front, lams[[0, -1]])
        trained = points(rows, read_retrained(folder), front.costs)
        draw_front(rows, folder / "front.svg", front.costs, trained, others)
    write_sums(folder, written)
    for name in (CHANCE, LATENCY, FRONT):  # the front last: now it is whole
        if name in written:
            write_atomically(folder / name, written[name])
    return rows


def _draw_ends(folder: Path, front: Front, lams: Tensor) -> None:
    """Draws the supernet's cells at the lowest and the highest λ, (2, num_costs)."""
    for name, probs in zip(("lowest", "highest"), front.log_probs(lams).exp(), strict=True):
        draw_supernet(front.space, probs, folder / "cells" / f"supernet-{name}-lam")


def read_rows(run: Path) -> list[dict[str, Any]]:
    """Reads `front.csv`: numbers as floats, `True` and `False` as bools.

    What was `accuracy` before is `val_accuracy`, or `train_accuracy` where weights were searched.
    Where whole networks were measured, `whole_latency` is what the cell's would take.

    Raises:
        InputError: if the run has no front yet, or not the one that was written.
    """
    path = require_folder(run) / FRONT
    if not path.is_file():
        raise InputError(f"{path} does not exist: finish the search with --resume {run}")
    check_sums(run, MAX_BYTES)
    names, lines = read_table(path, MAX_BYTES)
    part = "train" if "lam" in names else "val"
    names = [f"{part}_{name}" if name in FORMER else name for name in names]
    costs = [name.removeprefix("lam_last_") for name in names if name.startswith("lam_last_")]
    wanted = [] if "lam" in names else ["val_accuracy", "genotype", "file", "pareto"]
    wanted += [f"{start}{cost}" for cost in costs for start in ("", "lam_")]
    missing = sorted({*wanted} - {*names})
    if missing or not (costs or "lam" in names):
        what = f"no column {missing[0]!r}" if missing else "no columns of a front"
        raise InputError(f"{path} has {what}: write it again with --resume {run}")
    rows = [
        {name: _value(name, text, where) for name, text in zip(names, line, strict=True)}
        for where, line in lines
    ]
    if not rows:
        raise InputError(f"{path} has no rows: write it again with --resume {run}")
    calibration = read_calibration(run)
    for row in rows:
        if calibration is not None and "latency" in row:
            row[WHOLE] = calibration.whole(row["latency"])
        if "file" in row and not re.fullmatch(
            rf"genotypes/\d+-{row['genotype']}\.json", row["file"]
        ):
            raise InputError(
                f"{path} names {show(row['file'])} for the genotype {row['genotype']}: write it "
                f"again with --resume {run}"
            )
    return rows


def _value(name: str, text: str, where: str) -> Any:
    """Reads a value by the name of its column."""
    if name == "file":
        return text
    if name == "genotype":
        if not re.fullmatch("[0-9a-f]{10}", text):
            raise InputError(f"{where}: {show(text)} is no genotype's id: restore a copy")
        return text
    if name == "pareto" or name.startswith(("floor_", "ceiling_")):
        if text not in ("True", "False"):
            raise InputError(f"{where}: {name} is True or False, not {show(text)}: restore a copy")
        return text == "True"
    return number(text, where)
