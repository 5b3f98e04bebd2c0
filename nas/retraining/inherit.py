"""A search's weights as the start of a retraining."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from cells.cell import Skeleton
from cells.errors import InputError
from cells.supernet import Supernet
from nas.cell_search.folder import read_run
from nas.runtime.fingerprint import Fingerprint, require_same_data
from nas.weights.kernels import to_generated, to_plain


def read_supernet(run: Path, skeleton: Skeleton, fingerprint: Fingerprint) -> Supernet:
    """Reads the weights of a search: of Gaussian ones the means, of generated ones the kernels.

    Args:
        fingerprint: of the data that they are to be trained on.

    Raises:
        InputError: if the folder is no search, or one of another network or other data.
    """
    config, state = read_run(run)
    require_same_data(
        state.get("fingerprint", {}), fingerprint, f"the search in {run}", "leave --inherit out"
    )
    if config.space != skeleton.space.name:
        raise InputError(
            f"the search in {run} is of space {config.space!r}, the genotype of "
            f"{skeleton.space.name!r}: inherit from the search that found it"
        )
    if config.partial_channels[-1] != 1:
        raise InputError(
            f"the operations of the supernet in {run} saw 1/{config.partial_channels[-1]} of the "
            "channels: leave --inherit out"
        )
    supernet = Supernet(skeleton)
    weights = {name: w for name, w in state["supernet"].items() if not name.endswith("log_sigma")}
    if config.weights == "generated":
        rng = torch.Generator()  # what it draws is not kept
        to_generated(supernet, rng, config.kernel_embedding)
    try:
        supernet.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"the supernet in {run} does not fit the data: inherit with the data it was made for"
        ) from error
    to_plain(supernet)
    return supernet


@torch.no_grad()
def estimate_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Sets the running statistics of BatchNorm to their means over batches of images."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
    for x in batches:
        network(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
