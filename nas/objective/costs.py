"""Cost tables of a network, with latencies measured here, or elsewhere: on a phone, a board."""

import os
from pathlib import Path

import torch
from torch import Tensor

from cells.cell import Skeleton
from cells.cost import CostTable, cost_table, fitted_table
from cells.errors import InputError
from cells.genotype import Genotype
from cells.input_files import MIB
from cells.notation import read_genotype
from cells.space import SearchSpace
from cells.supernet import Supernet
from nas.runtime.processes import Processes
from nas.runtime.tables import number, read_table
from nas.weights.gaussian import kl

MEASURED = ("params", "flops", "latency")
"""Costs whose tables do not depend on the weights."""
MOST = 20_000
"""Genotypes of a file of latencies; NAS-Bench-201 has 15,625."""
LONGEST = 1e9
"""Milliseconds: above eleven days, no measurement."""


def measure(
    skeleton: Skeleton, processes: Processes, latency_batch: int, latency_file: str | None
) -> dict[str, CostTable]:
    """Counts parameters and multiply–adds, and measures latency, of every operation.

    Args:
        skeleton: sizes of the network.
        processes: all get the same latencies, the mean of theirs.
        latency_batch: images per batch for which latency is measured.
        latency_file: see `read_latencies`; None to measure on the processes' device.

    Raises:
        InputError: if the file cannot be read.
    """
    tables = {
        name: latency_table(Path(latency_file), skeleton.space)
        if name == "latency" and latency_file is not None
        else cost_table(name, skeleton, device=processes.device, latency_batch=latency_batch)
        for name in MEASURED
    }
    measured = tables["latency"]  # every process must price it alike
    base, table = processes.average(
        [torch.tensor(measured.base, dtype=torch.float64), measured.table]
    )
    tables["latency"] = CostTable("latency", float(base), table)
    return tables


def read_latencies(path: Path, space: SearchSpace) -> tuple[Tensor, Tensor]:
    """Reads a CSV file with a row `genotype,latency` for every network that was measured.

    Args:
        path: its column `genotype` holds whatever `read_genotype` takes, the path of a file
            relative to the CSV file's folder; its column `latency` milliseconds.
        space: of all the genotypes.

    Returns:
        Cells (n, edges) int64 and milliseconds (n,) float64.

    Raises:
        InputError: naming the line, if the file is absent or a row cannot be read.
    """
    names, lines = read_table(path, 4 * MIB)
    if not {"genotype", "latency"} <= {*names}:
        raise InputError(f"{path} must begin with the line genotype,latency")
    genotypes: dict[str, Genotype] = {}
    choices, measured = [], []
    for where, line in lines:
        row = dict(zip(names, line, strict=True))
        latency = number(row["latency"], where)
        if not 0 < latency < LONGEST:
            raise InputError(f"{where}: latency must be positive milliseconds, got {latency:g}")
        source = row["genotype"]
        if source not in genotypes:
            if len(genotypes) == MOST:
                raise InputError(f"{path} has more than {MOST} genotypes: leave some out")
            beside = path.parent / source
            is_text = source.startswith("|") or not os.path.isfile(beside)  # which never raises
            genotypes[source] = read_genotype(source if is_text else beside)
        genotype = genotypes[source]
        if genotype.space != space.name:
            raise InputError(
                f"{where}: the genotype is of the space {genotype.space}, the search of "
                f"{space.name}: measure networks of that"
            )
        choices.append(genotype.choices())
        measured.append(latency)
    if len(measured) < 2:
        raise InputError(f"{path} has {len(measured)} networks: measure two or more, better fifty")
    return torch.tensor(choices), torch.tensor(measured, dtype=torch.float64)


def latency_table(path: Path, space: SearchSpace) -> CostTable:
    """Fits every operation's latency to networks that were measured; see `read_latencies`."""
    return fitted_table("latency", space, *read_latencies(path, space))


def kl_costs(supernet: Supernet, prior_variance: float) -> tuple[Tensor, Tensor]:
    """Returns the KL of a Gaussian supernet's weights to their prior, by operation.

    Returns:
        (edges, ops) table and the scalar of everything that stands on no edge, in nats.
    """
    space = supernet.skeleton.space
    zero = supernet.body.classifier.weight.new_zeros(())
    terms: dict[tuple[int, int], Tensor] = {}
    for row, column, op in supernet.candidates():
        terms[row, column] = terms.get((row, column), zero) + kl(op, prior_variance)
    rows = [
        torch.stack([terms.get((row, column), zero) for column in range(len(space.ops))])
        for row in range(space.num_edges)
    ]
    table = torch.stack(rows)
    return table, kl(supernet, prior_variance) - table.sum()
