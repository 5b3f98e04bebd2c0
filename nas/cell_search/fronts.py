"""From the settings and the state of a search to what answers a λ: its hypernetwork, its front."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cells.cost import CostTable, tables_from_state
from cells.errors import InputError
from cells.space import find_space
from nas.architecture.budgets import Budgets
from nas.architecture.distribution import ArchitectureDistribution
from nas.architecture.relaxations import RELAXATIONS
from nas.cell_search.config import SearchConfig, config_from_dict
from nas.cell_search.folder import check_state
from nas.hypernets.architecture import build_architecture_hypernet
from nas.hypernets.forms import Hypernet
from nas.runtime import checkpoint, form
from nas.runtime.files import CHECKPOINT, require_folder
from nas.runtime.fingerprint import Fingerprint
from nas.runtime.settings import FREE
from nas.selection.finalists import Finalists
from nas.selection.front import Front


def make_hypernet(config: SearchConfig, tables: Mapping[str, CostTable]) -> Hypernet:
    """Builds a search's hypernetwork at its initial parameters.

    The Gibbs form starts in balance where that is known: for categorical operations, a price that
    adds, and costs that do not move.
    """
    balanced = RELAXATIONS[config.relax].categorical and config.price == "additive"
    return build_architecture_hypernet(
        config.hypernet,
        [tables[name] for name in config.costs],
        config.lam_range(),
        lam_unit=config.lam_unit,
        balance=config.arch_kl if balanced and "kl" not in config.costs else 0.0,
        weighs_edges=config.edge_weights,
        knots=config.knots,
        hidden=config.hidden,
        rank=config.rank,
        seed=config.seed,
    )


def make_distribution(config: SearchConfig, kept: Tensor | None = None) -> ArchitectureDistribution:
    """Returns what the hypernetwork's output means.

    Args:
        kept: (edges, n) int64, the candidates that are left, if some were removed.
    """
    num_ops = len(find_space(config.space).ops)
    return ArchitectureDistribution(RELAXATIONS[config.relax](), num_ops, config.edge_weights, kept)


def make_front(
    config: SearchConfig,
    hypernet: Hypernet,
    tables: Mapping[str, CostTable],
    finalists: Finalists | None = None,
    kept: Tensor | None = None,
    bounds: Budgets | None = None,
    fingerprint: Fingerprint | None = None,
) -> Front:
    """Returns the cells of a search as a function of λ.

    Args:
        tables: all costs, by name.
        finalists: cells to choose from, if the search scored any.
        kept: (edges, n) int64 on the CPU, the candidates that are left, if some were removed.
        bounds: those of the settings, if they have been read.
        fingerprint: of the data, if it is known.
    """
    space = find_space(config.space)
    if bounds is None and config.bounds:
        bounds = Budgets.read(config.bounds, tables, space)
    return Front(
        space=space,
        lam_range=config.lam_range(),
        costs=config.costs,
        hypernet=hypernet,
        distribution=make_distribution(config, kept),
        tables=tables,
        rule=config.discretise,
        bounds=bounds,
        finalists=finalists,
        arch_kl_price=config.arch_kl if config.arch_kl_end is None else config.arch_kl_end,
        naswot=config.naswot,
        seed=config.seed,
        search={name: value for name, value in config.to_dict().items() if name not in FREE}
        | ({"fingerprint": dict(fingerprint)} if fingerprint else {}),
    )


def load_front(run: str | Path) -> Front:
    """Reads the cells of a search from its run folder.

    Raises:
        InputError: if it has no usable checkpoint.
    """
    path = require_folder(Path(run)) / CHECKPOINT
    state: dict[str, Any] = checkpoint.load(path)
    if not {"config", "tables", "hypernet"} <= state.keys():
        raise InputError(f"{path} is not the checkpoint of a search for cells: name the run of one")
    with form.from_checkpoint(path):
        config = config_from_dict(form.plain(state["config"], "config"))
        check_state(state, config)
        tables = tables_from_state(state["tables"])
        outputs = tables["params"].table.numel() if "params" in tables else 1
        sizes = {
            "lowrank": config.hidden * config.rank,
            "mlp": config.hidden * outputs,
            "piecewise": config.knots * outputs,
            "gibbs": config.knots,
        }
        form.room(state["hypernet"], sizes.get(config.hypernet, 0))
        with form.fitting("hypernet"):
            hypernet = make_hypernet(config, tables)
            hypernet.load_state_dict(state["hypernet"])
    scored = state.get("finalists")
    finalists = Finalists.from_state(scored) if scored else None
    return make_front(
        config,
        hypernet,
        tables,
        finalists,
        state.get("kept"),
        fingerprint=state.get("fingerprint"),
    )
