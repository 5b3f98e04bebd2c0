"""Random streams: every draw has a generator of its own, by seed, name and number."""

import hashlib

import torch


def stream(seed: int, name: str, index: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Returns a fresh generator that depends on nothing but its arguments.

    Draws are counted, not chained: the generator of step 7 is the same whether or not the six
    before it were made, so a resumed run needs no generator state.

    Args:
        seed: the run's seed.
        name: what is drawn, e.g. `"lams"`; streams of different names are independent.
        index: which draw of that name, e.g. the step.
        device: where the generator lives.
    """
    digest = hashlib.sha256(f"{seed}/{name}/{index}".encode()).digest()
    seed_63_bits = int.from_bytes(digest[:8], "big") >> 1
    return torch.Generator(device).manual_seed(seed_63_bits)
