"""What `python -m nas ask` says: the front, the cell for a λ, the cell for a budget."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cells.cost import show_cost
from cells.genotype import Genotype
from cells.notation import read_genotype
from nas.cell_search.fronts import load_front
from nas.reports.answer import Row, answer, in_words, known_cells, spent
from nas.reports.latency import WHOLE, Calibration, read_calibration
from nas.reports.report import FRONT

SHARED = "in [0, 1] on validation images, with shared weights"
MEANS = "of networks with the means of their weights, on the {} part"


def list_front(rows: Sequence[Row]) -> None:
    """Prints the rows of front.csv, without the columns that only diagnoses need.

    Below stands on what every accuracy, or error of a regression, was measured.
    """
    kept_back = ("expected_", "lam_last", "lams", "rises_", "floor_", "ceiling_")
    names = [k for k in rows[0] if not k.startswith(kept_back)]
    print("  ".join(f"{name:>12}" for name in names))
    for row in rows:
        cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values())
        pairs = dict(zip(row, cells, strict=True))
        print("  ".join(f"{pairs[name]:>12}" for name in names))
    for prefix, part in (("train_", "training"), ("val_", "validation")):
        for name in (f"{prefix}accuracy", f"{prefix}rmse"):
            if name in names:
                print(f"{name}: {SHARED if 'genotype' in names else MEANS.format(part)}")


def at_lam(run: Path, lam: Sequence[float]) -> tuple[Genotype, list[str]]:
    """The cell that the hypernetwork gives for a λ, and what is known of it."""
    genotype = load_front(run).at(*lam)
    rows = known_cells(run) if (run / FRONT).is_file() else []
    row = next((row for row in rows if row["genotype"] == genotype.id), None)
    return genotype, [_unseen(genotype, read_calibration(run)) if row is None else _seen(row, run)]


def within_budget(run: Path, bounds: dict[str, float]) -> tuple[Genotype, list[str]]:
    """The best known cell within a budget, or else what the hypernetwork gives for it."""
    if not (run / FRONT).is_file():
        genotype = load_front(run).within(**bounds)
        unfinished = f"the search is unfinished: nothing is known of its cells; --resume {run}"
        return genotype, [_unseen(genotype, None), unfinished]
    calibration = read_calibration(run)
    rows, cost = known_cells(run), next(iter(bounds))
    found = answer(rows, bounds)
    if found is None:
        if "latency" in bounds and calibration is not None:
            bounds = bounds | {"latency": calibration.added(bounds["latency"])}
        genotype = load_front(run).within(**bounds)
        return genotype, [_unseen(genotype, calibration)]
    told = [_seen(found.best, run)]
    for name, row in (("next step down", found.down), ("next step up", found.up)):
        told.append(f"{name}: " + ("none" if row is None else f"{row['file']}, {in_words(row)}"))
    most = max(spent(row, cost) for row in rows)
    if most < bounds[cost]:
        told.append(
            f"no cell of this search has more {cost} than {show_cost(most)}: for more of the "
            "budget search with more --channels or --num-cells"
        )
    return read_genotype(run / found.best["file"]), told


def _seen(row: Row, run: Path) -> str:
    return f"{run / row['file']}: {in_words(row)}"


def _unseen(genotype: Genotype, calibration: Calibration | None) -> str:
    """What can be said of a cell that is not in the table: it was never scored."""
    row: dict[str, Any] = {"val_accuracy": None, "retrained": None, **genotype.costs}
    if calibration is not None:
        row[WHOLE] = calibration.whole(genotype.costs["latency"])
    lam = ", ".join(f"{name} {value:.4g}" for name, value in (genotype.lam or {}).items())
    return (
        f"genotype {genotype.id}, λ {lam}: {in_words(row)}; its accuracy is not known, "
        "write it with --out FILE and retrain it"
    )
