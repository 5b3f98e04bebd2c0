"""How a network is retrained: every setting, the presets, what a search leaves to them."""

import os
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from cells.errors import InputError, unknown
from cells.genotype import Genotype
from cells.notation import read_genotype
from cells.strict_json import typed
from nas.cell_search.config import SearchConfig
from nas.runtime.files import CONFIG, read_config
from nas.runtime.settings import PRECISIONS


@dataclass(frozen=True, kw_only=True)
class RetrainConfig:
    """One retraining: what is trained, on what and how."""

    genotype: str = ""
    """The cells: a JSON file, a DARTS text, a NAS-Bench-201 string, or a published name."""
    inherit: str | None = None
    """Folder of a search: start from its supernet's weights instead of from scratch."""

    # Data
    data: str | None = None
    """digits, mnist, fashion, cifar10, cifar100, an .npz file or a folder of images; by default
    the data of the genotype's search."""
    data_root: str = field(default_factory=lambda: os.environ.get("NAS_DATA", "data"))
    """Folder of the downloaded data sets; by default $NAS_DATA, or data."""
    image_size: int | None = None
    """Side in pixels to which images from a folder are resized; by default as in the search."""
    split_seed: int | None = None
    """Fixes the test part where the data set has none of its own; by default as in the search."""
    crop_padding: int = 4
    """Pixels of zeros around an image before a random crop."""
    flip: bool = False
    """Flip images at random, left to right."""
    cutout: int = 0
    """Side in pixels of a square that is erased at random; 0 for none."""

    # Network
    channels: int | None = None
    """Width of the first cells; by default as in the search, or 16."""
    num_cells: int | None = None
    """Cells from stem to head; by default as in the search, or 3."""
    stem_stride: int | None = None
    """Stride of the stem's convolution; by default as in the search, or 1."""
    drop_path: float = 0.0
    """Probability with which an edge is dropped at the end; it rises linearly from 0."""
    auxiliary_weight: float = 0.0
    """Weight of the auxiliary head's loss; 0 for no such head."""

    # Optimisation
    epochs: int = 100
    """Passes over the training part."""
    batch_size: int = 128
    """Images per step, over all processes."""
    lr: float = 0.1
    """Learning rate (SGD) after the warm-up; a cosine takes it to lr_min."""
    lr_min: float = 0.0
    """Learning rate at the end."""
    warmup_epochs: int = 2
    """Epochs at the start in which the learning rate rises linearly."""
    momentum: float = 0.9
    """Momentum."""
    nesterov: bool = True
    """Nesterov's form of the momentum."""
    weight_decay: float = 5e-4
    """Weight decay of all parameters."""
    grad_clip: float = 5.0
    """Largest norm of the gradient."""
    label_smoothing: float = 0.0
    """Share of a label's probability that is spread over all classes."""

    # Run
    seeds: tuple[int, ...] = (0,)
    """One network is trained per seed; the result has their mean and standard deviation."""
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: int = 0
    """CPU threads of every process; 0 leaves torch's choice. Results depend on it in the last bit,
    and tiny networks are quicker with 1."""
    precision: str = "auto"
    """Arithmetic of training: float32, bfloat16 (autocast), or auto: bfloat16 on GPUs with it."""
    compile: bool = False
    """Compile the network with torch.compile: a slow start, then faster steps."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:  # also catches NaN
                bounds = f"at least {low}" if high == _MOST else f"from {low} to {high}"
                raise InputError(f"{name} must be {bounds}, got {value}")
        for name in ("lr", "grad_clip"):
            value = getattr(self, name)
            if not 0 < value <= _MOST:
                raise InputError(f"{name} must be positive and finite, got {value}")
        for name in ("drop_path", "label_smoothing", "momentum"):
            if getattr(self, name) == 1:
                raise InputError(f"{name} must be less than 1, got 1")
        if self.warmup_epochs > self.epochs:
            raise InputError(
                f"warmup_epochs must be at most epochs ({self.epochs}), got {self.warmup_epochs}"
            )
        if self.nesterov and self.momentum == 0:
            raise InputError("nesterov needs a momentum above 0: add --nesterov False")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise InputError(f"seeds must be different and at least one, got {self.seeds}")

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values; `read_retraining` reads them back."""
        return asdict(self) | {"seeds": list(self.seeds)}


_MOST = sys.float_info.max
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("epochs", "batch_size", "image_size"), (1, _MOST)),
    **dict.fromkeys(("channels", "num_cells", "stem_stride"), (1, _MOST)),
    **dict.fromkeys(("crop_padding", "cutout", "warmup_epochs", "lr_min", "threads"), (0, _MOST)),
    **dict.fromkeys(("weight_decay", "auxiliary_weight"), (0, _MOST)),
    **dict.fromkeys(("drop_path", "label_smoothing", "momentum"), (0, 1)),
}  # fmt: skip

# Liu, Simonyan, Yang: DARTS (2019), appendix A.2.
_DARTS = RetrainConfig(
    channels=36,
    num_cells=20,
    stem_stride=1,
    flip=True,
    cutout=16,
    drop_path=0.2,
    auxiliary_weight=0.4,
    epochs=600,
    batch_size=96,
    lr=0.025,
    warmup_epochs=0,
    nesterov=False,
    weight_decay=3e-4,
)
_MNIST = RetrainConfig(data="mnist", crop_padding=2, epochs=20, warmup_epochs=1)

PRESETS: dict[str, RetrainConfig] = {
    # Chosen on a quarter of the training part.
    "digits": RetrainConfig(
        data="digits",
        crop_padding=1,
        epochs=18,
        batch_size=64,
        warmup_epochs=3,
        label_smoothing=0.1,
        threads=1,
    ),
    "mnist": _MNIST,
    "fashion": replace(_MNIST, data="fashion", flip=True),
    "cifar10": replace(_DARTS, data="cifar10"),
    "cifar100": replace(_DARTS, data="cifar100"),
    "default": RetrainConfig(),
}


def choose_preset(name: str | None, data: str | None, source: str | None) -> RetrainConfig:
    """Returns the preset of a name, else that of the data, else the default.

    Args:
        name: of the preset.
        data: the data set; by default that of the genotype's search.
        source: the genotype, as `read_genotype` takes it.

    Raises:
        InputError: for an unknown name or an unreadable genotype.
    """
    if name is not None:
        if name not in PRESETS:
            raise unknown("preset", name, PRESETS)
        return PRESETS[name]
    if data is None and source:
        data = str(read_genotype(source).search.get("data"))
    return PRESETS.get(str(data), PRESETS["default"])


def fine_tuning(preset: RetrainConfig) -> RetrainConfig:
    """Returns a preset made gentle, for weights that are inherited: one epoch, a tenth of lr."""
    return replace(
        preset, channels=None, num_cells=None, stem_stride=None, epochs=1,
        lr=preset.lr / 10, warmup_epochs=0, drop_path=0.0, auxiliary_weight=0.0,
    )  # fmt: skip


def resolve(
    config: RetrainConfig, genotype: Genotype, run: SearchConfig | None = None
) -> RetrainConfig:
    """Fills in what a configuration leaves to the search that found the genotype.

    Args:
        genotype: with the settings of its search, if it has any.
        run: configuration of the search whose weights are inherited.

    Raises:
        InputError: if no data set is named, a setting is not that of `run`, or the search's own
            data would be split in another way.
    """
    recorded = genotype.search if run is None else run.to_dict()
    values: dict[str, Any] = {}
    for name, kind, fallback in (
        ("data", str, None),
        ("image_size", int, None),
        ("split_seed", int, 0),
        ("channels", int, 16),
        ("num_cells", int, 3),
        ("stem_stride", int, 1),
    ):
        given, found = getattr(config, name), recorded.get(name)
        if found is not None:
            typed(found, kind, f"{name} of the genotype's search")
        if run is not None and given not in (None, found):
            raise InputError(
                f"the search in {config.inherit} has {name} {found!r}, not {given!r}: leave "
                f"--{name.replace('_', '-')} out, or train from scratch without --inherit"
            )
        if name in ("image_size", "split_seed") and values["data"] != recorded.get("data"):
            found = None  # it belongs to other images
        if name == "split_seed" and None not in (given, found) and given != found:
            raise InputError(
                f"the genotype's search has split_seed {found}, not {given}: images it has seen "
                "would be tested on; leave --split-seed out"
            )
        values[name] = next((v for v in (given, found) if v is not None), fallback)
    if values["data"] is None:
        raise InputError("the genotype names no data set: name one with --data, e.g. --data mnist")
    return replace(config, **values)


def read_retraining(folder: Path) -> RetrainConfig:
    """Reads the configuration of a run folder.

    Raises:
        InputError: if there is none, or it is not that of a retraining.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"{folder} is not the folder of a retraining: it has no {CONFIG}")
    values = read_config(path)
    if "hypernet" in values:
        raise InputError(
            f"{folder} is the folder of a search: go on with search.py --resume {folder}"
        )
    names = [each.name for each in fields(RetrainConfig)]
    for name in values:
        if name not in names:
            raise unknown(f"setting in {path}", name, names)
    try:
        return RetrainConfig(**{**values, "seeds": tuple(values["seeds"])})
    except (TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged ({error}): start anew") from error
