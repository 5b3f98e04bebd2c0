"""What a finished search leaves in its folder: table, genotypes, pictures."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from cells.errors import InputError
from cells.supernet import Supernet
from nas.data.augmentation import normalise, shrink
from nas.data.batches import Split
from nas.data.datasets import ImageData
from nas.reports.cell_graph import draw_genotype, draw_supernet_cell
from nas.reports.diagnostics import diagnose
from nas.reports.front_plot import draw_front
from nas.runtime.files import require_folder, write_csv
from nas.runtime.metrics import Average, accuracy
from nas.selection.front import Front
from nas.selection.pareto import pareto


@torch.no_grad()
def supernet_accuracy(
    supernet: Supernet,
    choices: Sequence[int],
    split: Split,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    batch_size: int = 250,
    shrunk: int = 1,
) -> float:
    """Returns the accuracy in [0, 1] of a discrete architecture with the supernet's weights.

    Normalisation uses the statistics of each batch, so that batches must be mixed (`draw_part`);
    they are made of nearly equal size. The means of Gaussian weights are used. With `shrunk` the
    supernet sees means of that many by that many pixels.
    """
    training = supernet.training
    supernet.eval()
    average = Average()
    number = -(-len(split) // batch_size)
    parts = zip(split.images.tensor_split(number), split.labels.tensor_split(number), strict=True)
    for images, y in parts:
        logits = supernet.discrete(shrink(normalise(images, mean, std), shrunk), choices)
        average.add(float(accuracy(logits, y)), len(y))
    supernet.train(training)
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
        scores: accuracy of every discrete architecture on it.
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
                "accuracy": scores[choices],
                "genotype": genotype.id,
                "file": f"genotypes/{len(rows):02d}-{genotype.id}.json",
            }
        )
    members = pareto([r["accuracy"] for r in rows], [[r[n] for n in names] for r in rows])
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
) -> list[dict[str, Any]]:
    """Scores every cell of the front and writes front.csv, genotypes/, cells/ and front.svg.

    Args:
        supernets: whose accuracies are averaged.
        images: on which cells are scored, on the supernets' device, in a random order.
        data: whose part they are.
        grid: λs, evenly spaced in log λ.
        shrunk: see `supernet_accuracy`.

    Returns:
        The rows of front.csv.
    """
    lams = front.lam_range.grid(grid)
    scores = {  # in the order of λ, as the rows
        choices: fmean(
            supernet_accuracy(supernet, choices, images, data.mean, data.std, shrunk=shrunk)
            for supernet in supernets
        )
        for choices in dict.fromkeys(tuple(c) for c in front.choices(lams).tolist())
    }
    rows = front_rows(front, lams, scores)
    (folder / "genotypes").mkdir(exist_ok=True)
    (folder / "cells").mkdir(exist_ok=True)
    for row, choices in zip(rows, scores, strict=True):
        genotype = front.genotype([row[f"lam_{n}"] for n in front.costs], choices)
        path = folder / row["file"]
        genotype.save(path)
        draw_genotype(genotype, folder / "cells" / path.stem)
    ends = front.log_probs(lams[[0, -1]]).exp()
    for name, probs in zip(("lowest", "highest"), ends, strict=True):
        for kind in front.space.kinds:
            stem = folder / "cells" / f"supernet-{name}-lam.{kind}"
            draw_supernet_cell(front.space, kind, probs, stem)
    cost = front.costs[0]
    draw_front([{**row, "lam": row[f"lam_{cost}"]} for row in rows], folder / "front.svg", cost)
    write_csv(folder / "front.csv", rows)  # last: the front is whole
    return rows


def read_rows(run: Path) -> list[dict[str, Any]]:
    """Reads `front.csv`: numbers as floats, `True` and `False` as bools.

    Raises:
        InputError: if the run has no front yet.
    """
    path = require_folder(run) / "front.csv"
    if not path.is_file():
        raise InputError(f"{path} does not exist: finish the search with --resume {run}")
    with open(path, newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = []
        truths = {"True": True, "False": False}
        for row in csv.DictReader(file):
            rows.append(
                {
                    k: v if k in ("genotype", "file") else truths[v] if v in truths else float(v)
                    for k, v in row.items()
                }
            )
    return rows
