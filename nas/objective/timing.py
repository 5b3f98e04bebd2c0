"""Latency of whole networks, beside which that of their operations, added up, is too low."""

import random
import statistics
import time
from collections.abc import Sequence

import torch

from cells.cell import Skeleton
from cells.genotype import Genotype
from cells.network import Network

ROUNDS = 20
"""Turns of every network."""


def timed(networks: Sequence[Network], image: torch.Tensor, rounds: int) -> list[list[float]]:
    """Measures a forward pass of each network, on the image's device.

    Every network has a turn in every round, in another order each, so that whatever else the
    machine does hits all alike. In its turn it runs for one image first. On one thread of a CPU the
    clock is the thread's own, which stands while others have the processor.

    Returns:
        Milliseconds, [network][round].
    """
    alone = image.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time if alone else time.perf_counter
    order = list(range(len(networks)))
    draw = random.Random(0)
    found: list[list[float]] = [[] for _ in networks]
    with torch.inference_mode():
        for _ in range(rounds):
            draw.shuffle(order)
            for place in order:
                networks[place](image[:1])
                _finish(image)
                start = clock()
                networks[place](image)
                _finish(image)
                found[place].append(1e3 * (clock() - start))
    return found


def _finish(image: torch.Tensor) -> None:
    """Waits for a GPU, which computes while Python goes on."""
    if image.is_cuda:
        torch.cuda.synchronize(image.device)


def whole_latencies(
    genotypes: Sequence[Genotype],
    skeleton: Skeleton,
    device: torch.device,
    batch: int,
    rounds: int = ROUNDS,
) -> list[float]:
    """Measures networks of some cells as a whole, with random weights.

    Args:
        skeleton: sizes of the networks.
        batch: images per batch.
        rounds: turns of every network.

    Returns:
        The median of each in milliseconds per batch.
    """
    shape = (batch, skeleton.in_channels, skeleton.height, skeleton.width)
    with torch.random.fork_rng(devices=[]):
        networks = [Network(genotype, skeleton).eval() for genotype in genotypes]
        image = torch.randn(shape)
    for network in networks:
        network.to(device).to(memory_format=torch.channels_last)
    image = image.to(device).contiguous(memory_format=torch.channels_last)
    return [statistics.median(each) for each in timed(networks, image, rounds)]
