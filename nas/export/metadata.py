"""Metadata and tensors of a safetensors file from a stranger, checked before they are used."""

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cells.errors import InputError


def text_of(metadata: Mapping[str, str], key: str) -> str:
    """Returns a text of the metadata.

    Raises:
        InputError: if it is absent.
    """
    if key not in metadata:
        raise InputError(f"its metadata lack {key!r}: export the network again")
    return metadata[key]


def json_object(metadata: Mapping[str, str], key: str) -> dict[str, Any]:
    """Returns an object that stands in the metadata as JSON.

    Raises:
        InputError: if it is absent, no JSON, or JSON of something else.
    """
    try:
        values = json.loads(text_of(metadata, key))
    except (ValueError, RecursionError) as error:
        raise InputError(f"its {key} is not JSON: export the network again") from error
    if not isinstance(values, dict):
        raise InputError(f"its {key} is not a JSON object: export the network again")
    return values


def check_tensors(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], by: str) -> None:
    """Compares names, types and sizes of tensors, and looks for what is no number.

    Args:
        by: what says which are wanted, for messages.

    Raises:
        InputError: naming a tensor that differs.
    """
    for name in sorted(wanted.keys() ^ found.keys()):
        state = "lacks" if name in wanted else "has an additional"
        raise InputError(f"it {state} tensor {name[:80]!r}: {by} and weights differ")
    for name, tensor in wanted.items():
        if (tensor.shape, tensor.dtype) != (found[name].shape, found[name].dtype):
            raise InputError(
                f"its tensor {name!r} is {found[name].dtype} {tuple(found[name].shape)}, the "
                f"{by} needs {tensor.dtype} {tuple(tensor.shape)}"
            )
        if not bool(found[name].isfinite().all()):
            raise InputError(f"its tensor {name!r} holds what is no number: train it again")
        if name.endswith("running_var") and bool((found[name] < 0).any()):
            raise InputError(f"its tensor {name!r} holds a variance below 0: train it again")
