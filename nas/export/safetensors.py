"""Trained networks as safetensors files that hold all there is to know to use them."""

import json
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from cells.cell import SIZES, Skeleton
from cells.errors import InputError, unknown
from cells.genotype import Genotype
from cells.input_files import open_regular
from cells.network import Network
from cells.output_files import write_atomically
from cells.space import find_space
from cells.strict_json import show, typed
from nas.data.augmentation import normalise
from nas.data.datasets import ImageData
from nas.data.pixels import FITS, STRETCH
from nas.export.reproducible import HASH, digest, serialise
from nas.runtime.files import describe
from nas.runtime.fingerprint import Fingerprint

FORMAT = "nas-network"
VERSION = "1"
LIMITS = dict.fromkeys(SIZES, 100_000) | {"num_cells": 1000}
"""Largest sizes of a network; from a damaged file, larger ones would take hours to build."""

LEAST_STD = 1e-9
"""One byte of 10¹³ that differs by 1 from all others has a larger deviation."""


@dataclass(frozen=True)
class TrainingData:
    """What a network was trained on, as far as its use needs it."""

    name: str
    """Of the data set."""
    classes: tuple[str, ...]
    """Name of each class, by label."""
    mean: tuple[float, ...]
    """Of each channel, in [0, 1] units."""
    std: tuple[float, ...]
    """Of each channel, in [0, 1] units."""
    shape: tuple[int, ...]
    """(channels, height, width) of its images."""
    fingerprint: Fingerprint = field(default_factory=dict)
    """See `nas.runtime.fingerprint`; empty if it was not recorded."""
    fit: str = STRETCH
    """How images of another size are brought to this one, of `nas.data.pixels.FITS`."""

    @classmethod
    def of(cls, data: ImageData) -> "TrainingData":
        """Describes a data set."""
        shape = (data.channels, data.height, data.width)
        return cls(data.name, data.classes, data.mean, data.std, shape, data.fingerprint, data.fit)

    def normalise(self, images: Tensor) -> Tensor:
        """Maps bytes, uint8 (batch, channels, height, width), to what the network takes.

        Raises:
            InputError: if they are of another type or shape than the training images.
        """
        if images.dtype != torch.uint8 or tuple(images.shape[1:]) != self.shape:
            found = f"{images.dtype} {tuple(images.shape)}"
            wanted = ", ".join(map(str, self.shape))
            raise InputError(
                f"images are {found}, this network takes torch.uint8 (batch, {wanted}): convert "
                "or resize them"
            )
        return normalise(images, self.mean, self.std)


def save_network(path: Path, network: Network, data: TrainingData) -> None:
    """Writes a network without its auxiliary head, whole or not at all.

    The file's metadata hold `format`, `version` and, as JSON, `genotype`, `skeleton` (the sizes
    and the name of the space), `data` and `sha256` (see `nas.export.reproducible.digest`).

    Raises:
        OSError: naming the file, e.g. if no space is left.
    """
    skeleton = {"space": network.skeleton.space.name}
    skeleton |= {name: getattr(network.skeleton, name) for name in SIZES}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "genotype": network.genotype.to_json(),
        "skeleton": json.dumps(skeleton),
        "data": json.dumps({k: v for k, v in asdict(data).items() if k != "shape"}),
    }
    tensors = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if not name.startswith("auxiliary.")
    }
    write_atomically(path, serialise(tensors, metadata))


def load(path: str | Path) -> Network:
    """Reads a network, in evaluation mode on the CPU.

        network = nas.load("model.safetensors")
        logits = network(network.data.normalise(images))    # uint8 (batch, channels, h, w)
        names = [network.data.classes[i] for i in logits.argmax(dim=1)]

    Its attribute `data`, a `TrainingData`, has the names of the classes and the normalisation.
    Nothing in the file is ever executed.

    Warns:
        UserWarning: if it was written before networks had a hash, so that nothing tells whether
            its weights are still what they were.

    Raises:
        InputError: if there is no such file, or it is cut short, damaged, of another version or
            of another make, or its numbers cannot be those of a trained network.
    """
    path = Path(path)
    try:
        open_regular(path).close()
    except FileNotFoundError:
        raise InputError(f"no network file {str(path)!r}: check the path") from None
    except OSError as error:
        raise InputError(describe(error)) from error
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            _check_format(metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if HASH in metadata and metadata[HASH] != digest(tensors, metadata):
            raise InputError("it differs from its hash, a bit or more has flipped: restore a copy")
        genotype = Genotype.from_json(_text(metadata, "genotype"))
        skeleton = _skeleton(_json_object(metadata, "skeleton"))
        data = _training_data(_json_object(metadata, "data"), skeleton)
        _check_number(genotype, skeleton, len(tensors))
        with torch.device("meta"):  # sizes are checked before any memory is taken
            network = Network(genotype, skeleton)
        _check_tensors(network.state_dict(), tensors)
    except SafetensorError as error:
        message = f"{path} is cut short, damaged or no safetensors file ({error})"
        raise InputError(f"{message}: restore a copy") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if HASH not in metadata:
        warnings.warn(
            f"{path} has no hash: export it again to have flipped bits noticed",
            stacklevel=2,
        )
    network.load_state_dict(tensors, assign=True)
    network.data = data  # type: ignore[assignment]  # torch's annotation knows only modules
    return network.eval()


def _check_format(metadata: dict[str, str]) -> None:
    if metadata.get("format") != FORMAT:
        raise InputError(f"not a network of this program: its format is not {FORMAT!r}")
    if metadata.get("version") != VERSION:
        found = metadata.get("version", "")[:20]
        raise InputError(f"version {found!r} of the format: this program reads {VERSION!r}")


def _text(metadata: dict[str, str], key: str) -> str:
    if key not in metadata:
        raise InputError(f"its metadata lack {key!r}: export the network again")
    return metadata[key]


def _json_object(metadata: dict[str, str], key: str) -> dict[str, Any]:
    try:
        values = json.loads(_text(metadata, key))
    except (ValueError, RecursionError) as error:
        raise InputError(f"its {key} is not JSON: export the network again") from error
    if not isinstance(values, dict):
        raise InputError(f"its {key} is not a JSON object: export the network again")
    return values


def _skeleton(values: dict[str, Any]) -> Skeleton:
    for name in SIZES:
        value = values.get(name)
        if type(value) is not int or not 1 <= value <= LIMITS[name]:
            raise InputError(
                f"its {name} must be a whole number from 1 to {LIMITS[name]}, got {show(value)}"
            )
    space = find_space(str(values.get("space")))
    return Skeleton(space, **{name: values[name] for name in SIZES})


def _check_number(genotype: Genotype, skeleton: Skeleton, num_tensors: int) -> None:
    """Refuses more cells than the tensors can be of, before hours go into building them."""
    if skeleton.num_cells <= 20:
        return
    with torch.device("meta"):
        few = [len(Network(genotype, replace(skeleton, num_cells=n)).state_dict()) for n in (5, 6)]
    least = (skeleton.num_cells - 6) * (few[1] - few[0])  # of each further cell
    if num_tensors < least:
        raise InputError(
            f"it has {num_tensors} tensors, too few for {skeleton.num_cells} cells: genotype and "
            "weights differ"
        )


def _training_data(values: dict[str, Any], skeleton: Skeleton) -> TrainingData:
    data = TrainingData(
        typed(values.get("name"), str, "its data's name"),
        _tuple_of(str, values, "classes", skeleton.num_classes),
        _tuple_of(float, values, "mean", skeleton.in_channels),
        _tuple_of(float, values, "std", skeleton.in_channels),
        (skeleton.in_channels, skeleton.height, skeleton.width),
        {
            name: typed(text, str, f"its {name}")
            for name, text in typed(values.get("fingerprint", {}), dict, "its fingerprint").items()
        },
        typed(values.get("fit", STRETCH), str, "its fit"),
    )
    if data.fit not in FITS:
        raise unknown("fit", data.fit, FITS)
    for mean, std in zip(data.mean, data.std, strict=True):
        if not 0 <= mean <= 1 or not LEAST_STD <= std <= 1:
            raise InputError(
                f"mean {mean} and deviation {std} are none of values from 0 to 1: export it again"
            )
    return data


def _tuple_of(kind: type, values: dict[str, Any], key: str, length: int) -> tuple[Any, ...]:
    found = typed(values.get(key), list, f"its {key}")
    if len(found) != length:
        raise InputError(f"its {key} must be {length} values, got {len(found)}")
    return tuple(typed(value, kind, f"its {key}") for value in found)


def _check_tensors(wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    for name in sorted(wanted.keys() ^ found.keys()):
        state = "lacks" if name in wanted else "has an additional"
        raise InputError(f"it {state} tensor {name[:80]!r}: genotype and weights differ")
    for name, tensor in wanted.items():
        if (tensor.shape, tensor.dtype) != (found[name].shape, found[name].dtype):
            raise InputError(
                f"its tensor {name!r} is {found[name].dtype} {tuple(found[name].shape)}, the "
                f"genotype needs {tensor.dtype} {tuple(tensor.shape)}"
            )
        if not bool(found[name].isfinite().all()):
            raise InputError(f"its tensor {name!r} holds what is no number: train it again")
        if name.endswith("running_var") and bool((found[name] < 0).any()):
            raise InputError(f"its tensor {name!r} holds a variance below 0: train it again")
