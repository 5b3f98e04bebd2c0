"""The run folder of a search for cells, read back."""

from pathlib import Path
from typing import Any

import torch

from cells.chain import MLP
from cells.cost import COSTS
from cells.errors import InputError
from cells.space import find_space
from cells.strict_json import show
from nas.cell_search.config import SearchConfig, config_from_dict
from nas.runtime import form
from nas.runtime.run_folder import read_run_config, read_state

STATE_KEYS = frozenset({"config", "step", "hypernet", "supernet", "tables"})
"""What a checkpoint of a search for cells holds, at least."""


def read_run(folder: Path) -> tuple[SearchConfig, dict[str, Any]]:
    """Reads the configuration and the checkpoint of a search for cells.

    Raises:
        InputError: if either is absent or damaged, they do not belong together, or the search is
            one of another kind.
    """
    values = read_run_config(folder)
    if values.get("space") == MLP:
        raise InputError(f"{folder} is a search in the space {MLP}: it has no cells")
    config = config_from_dict(values)
    return read_state(folder, config, config_from_dict, STATE_KEYS, check_state)


def check_state(state: dict[str, Any], config: SearchConfig) -> None:
    """Refuses a checkpoint of a search for cells whose parts have another form.

    Whether names and shapes of weights fit, the modules say that take them in.

    Raises:
        Misfit: naming the part.
    """
    space = find_space(config.space)
    edges, ops = space.num_edges, len(space.ops)
    tables = form.mapping(state["tables"], "tables")
    for name in {*tables, *config.costs}:
        table = form.mapping(tables.get(name), f"the table of {name}")
        if name not in COSTS:
            raise form.Misfit(f"tables of unknown costs, {show(name)}")
        form.finite(table.get("base"), f"the base of {name}")
        form.tensor(table.get("table"), f"the table of {name}", (edges, ops), torch.float64)
    for name in ("hypernet", "supernet"):
        form.weights(state.get(name, {}), name)
    for name in ("w_optimizer", "arch_optimizer"):
        if name in state:
            form.optimizer(state[name], name)
    form.whole(state.get("step", 0), "step", 0, 1 << 62)
    form.averages(state.get("averages", {}))
    form.deadline(state.get("deadline"))
    form.texts(state.get("fingerprint", {}), "fingerprint")
    memory = state.get("memory", [])
    if type(memory) is not list:
        raise form.Misfit(f"memory must be a list, got {show(memory)}")
    for scores in [*memory, *([state["finalists"]] if state.get("finalists") is not None else [])]:
        found = form.mapping(scores, "scores of cells").get("choices")
        choices = form.inside(found, "cells that were scored", (None, edges), ops)
        for name in scores.keys() - {"choices"}:
            if name not in ("nll", "log_q", "naswot"):
                raise form.Misfit(f"unknown scores of cells, {show(name)}")
            form.tensor(scores[name], name, (len(choices),), torch.float64, torch.float32)
        if not {"nll", "log_q"} <= scores.keys():
            raise form.Misfit("cells were scored without nll and log_q")
    form.whole(state.get("stage", 0), "stage", 0, len(config.keep_ops))
    if state.get("stage") or state.get("kept") is not None:
        form.inside(state.get("kept"), "kept", (edges, None), ops)
    if state.get("multipliers") is not None:
        form.tensor(
            state["multipliers"], "multipliers", (len(config.bounds),), torch.float32, torch.float64
        )
