"""How a network is retrained: every setting, the presets, what a search leaves to them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from cells.errors import InputError, unknown
from cells.genotype import Genotype
from cells.notation import read_genotype
from cells.strict_json import typed
from nas.cell_search.config import SearchConfig
from nas.data.augmentation import Augmentation
from nas.data.config import ClassesConfig
from nas.data.pixels import FITS, STRETCH
from nas.runtime.files import CONFIG, read_config
from nas.runtime.settings import (
    SEED,
    BelowOne,
    Count,
    DeviceConfig,
    LogConfig,
    Natural,
    NotNegative,
    OneOf,
    Positive,
    Precision,
    Settings,
    at_least,
    read_settings,
)


@dataclass(frozen=True, kw_only=True)
class TrainedConfig(Settings):
    """What is trained, and on what."""

    genotype: str = ""
    """The cells: a JSON file, a DARTS text, a NAS-Bench-201 string, or a published name."""
    inherit: str | None = None
    """Folder of a search: start from its supernet's weights instead of from scratch."""
    data: str | None = None
    """digits, mnist, fashion, cifar10, cifar100, an .npz file, a folder of images, a .csv or .json
    list of files and labels, or hf:NAME; by default the data of the genotype's search."""
    image_size: Annotated[int | None, at_least(1)] = None
    """Side in pixels to which images from files are brought; by default as in the search."""
    image_fit: Annotated[str | None, OneOf("fit", FITS)] = None
    """How: stretch, crop or pad; by default as in the search."""
    split_seed: Annotated[int | None, SEED] = None
    """Fixes the test part where the data set has none of its own; by default as in the search."""


@dataclass(frozen=True, kw_only=True)
class SizeConfig(Settings):
    """Network."""

    channels: Annotated[int | None, at_least(1)] = None
    """Width of the first cells; by default as in the search, or 16."""
    num_cells: Annotated[int | None, at_least(1)] = None
    """Cells from stem to head; by default as in the search, or 3."""
    stem_stride: Annotated[int | None, at_least(1)] = None
    """Stride of the stem's convolution; by default as in the search, or 1."""
    drop_path: BelowOne = 0.0
    """Probability with which an edge is dropped at the end; it rises linearly from 0."""
    auxiliary_weight: NotNegative = 0.0
    """Weight of the auxiliary head's loss; 0 for no such head."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Settings):
    """Training."""

    epochs: Count = 100
    """Passes over the training part."""
    steps: Annotated[int | None, at_least(1)] = None
    """Steps after which it ends, if that is before the end of the last epoch; `--time` sets it."""
    batch_size: Count = 128
    """Images per step, over all processes."""
    lr: Positive = 0.1
    """Learning rate (SGD) after the warm-up; a cosine takes it to lr_min."""
    lr_min: NotNegative = 0.0
    """Learning rate at the end."""
    warmup_epochs: Natural = 2
    """Epochs at the start in which the learning rate rises linearly."""
    momentum: BelowOne = 0.9
    """Momentum."""
    nesterov: bool = True
    """Nesterov's form of the momentum."""
    weight_decay: NotNegative = 5e-4
    """Weight decay of all parameters."""
    grad_clip: Positive = 5.0
    """Largest norm of the gradient."""
    label_smoothing: BelowOne = 0.0
    """Share of a label's probability that is spread over all classes."""
    seeds: Annotated[tuple[int, ...], SEED] = (0,)
    """One network is trained per seed; the result has their mean and standard deviation."""
    precision: Precision = "auto"
    """Arithmetic of training: float32, bfloat16 (autocast), or auto: bfloat16 on GPUs with it."""
    compile: bool = False
    """Compile the network with torch.compile: a slow start, then faster steps."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_epochs > self.epochs:
            raise InputError(
                f"warmup_epochs must be at most epochs ({self.epochs}), got {self.warmup_epochs}"
            )
        if self.nesterov and self.momentum == 0:
            raise InputError("nesterov needs a momentum above 0: add --nesterov False")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise InputError(f"seeds must be different and at least one, got {self.seeds}")


@dataclass(frozen=True, kw_only=True)
class RetrainConfig(
    TrainedConfig,
    SizeConfig,
    Augmentation,
    ClassesConfig,
    TrainingConfig,
    DeviceConfig,
    LogConfig,
):
    """One retraining: what is trained, on what and how."""

    common: ClassVar[tuple[str, ...]] = (
        "genotype", "inherit", "data", "channels", "num_cells", "epochs", "batch_size", "lr",
        "seeds", "device", "threads",
    )  # fmt: skip

    crop_padding: Natural = 4


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
        ("image_fit", str, STRETCH),
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
        if name in ("image_size", "image_fit", "split_seed") and values["data"] != recorded.get(
            "data"
        ):
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
    try:
        return read_settings(RetrainConfig, values)
    except InputError as error:
        raise InputError(f"{path} is damaged ({error}): start anew") from error
