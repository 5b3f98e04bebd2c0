"""Safetensors whose bytes follow from what they hold, and say by a hash whether they still do."""

import hashlib
import json
import struct
from collections.abc import Mapping

import torch
from safetensors.torch import save
from torch import Tensor

HASH = "sha256"
"""Key of the metadata: SHA-256 over everything else, see `digest`."""


def serialise(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """Returns the bytes of a file, with its hash; the same for the same content, at every run.

    The library itself writes the metadata in an order of chance.
    """
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(own, {**metadata, HASH: digest(own, metadata)})
    (length,) = struct.unpack("<Q", data[:8])
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":"))
    header += " " * (-len(header) % 8)  # tensors stay aligned
    return struct.pack("<Q", len(header)) + header.encode("ascii") + data[8 + length :]


def digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256, in hex digits, of the metadata without the hash, then of each tensor by name.

    Args:
        tensors: on the CPU.
    """
    rest = {key: text for key, text in metadata.items() if key != HASH}
    found = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
