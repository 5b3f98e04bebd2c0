"""Every setting of a search in the space `mlp`, where λ generates the weights."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from cells.chain import MLP
from cells.errors import InputError
from nas.data.config import AUTO, TaskName
from nas.hypernets.config import FormSizes
from nas.hypernets.lambda_range import LambdaRange
from nas.runtime.settings import (
    Count,
    DeviceConfig,
    LogConfig,
    NotNegative,
    OneOf,
    Positive,
    Range,
    Seed,
    Settings,
    at_least,
    from_to,
)

NONE = "none"
GAUSSIAN, POINT = "gaussian", "point"
LOCAL = "local"


@dataclass(frozen=True, kw_only=True)
class ExamplesConfig(Settings):
    """Examples, and their parts."""

    data: str = "mnist"
    """mnist, fashion, cifar10, cifar100, digits, an .npz file, a folder of images, or a table in
    a CSV file."""
    target: str | None = None
    """Column of a CSV file that is predicted; the last if none is named."""
    task: TaskName = AUTO
    """classification or regression, of a table; auto classifies texts, and whole numbers of 10
    different values at most."""
    split_seed: Seed = 0
    """Fixes the test part where the data set has none of its own, and the validation part."""
    val_fraction: Annotated[
        float, Range(lambda value: 0 <= value < 1, "be at least 0 and below 1")
    ] = 0.0
    """Share of the training part that is held out of training, for the choice of λ."""


@dataclass(frozen=True, kw_only=True)
class ChainConfig(Settings):
    """Network."""

    space: Annotated[str, OneOf("search space", (MLP,))] = MLP
    """mlp: layers in a row, nothing to choose but the weights."""
    layers: tuple[str, ...] = ("100",)
    """conv32 (3×3 with 32 channels), pool (2×2 maximum) or a number of hidden units, in a row."""
    weights: Annotated[str, OneOf("kind of weights", (GAUSSIAN, POINT))] = GAUSSIAN
    """gaussian, a posterior, or point, for which the KL is weight decay, Σ w² / 2σ₀²."""
    prior_variance: Positive = 0.1
    """Variance σ₀² of the weights' prior N(0, σ₀²)."""
    initial_sigma: Positive = 0.05
    """Standard deviation of the weights to begin with, at the smallest λ."""
    initial_sigma_high: Positive = 0.3
    """The same at the largest λ."""


@dataclass(frozen=True, kw_only=True)
class WeightHypernetConfig(FormSizes):
    """Hypernetwork."""

    hypernet: Annotated[
        str, OneOf("hypernetwork", (NONE, "linear", "lowrank", "piecewise", "mlp"))
    ] = "piecewise"
    """λ to posterior: linear, lowrank, piecewise, mlp, or none, a network by itself for every λ
    of the grid."""
    knots: Annotated[int, at_least(2)] = 7
    hidden: Count = 50
    start: str | None = None
    """Folder of a search: networks by themselves begin with the weights that it gives their λs."""


@dataclass(frozen=True, kw_only=True)
class KlPriceConfig(Settings):
    """The range of λ, the price of the KL."""

    lam: float | None = None
    """This single λ instead of a range."""
    lam_low: float = 0.1
    """Low end of the range of λ; 1 is the evidence lower bound itself."""
    lam_high: float = 100.0
    """High end of the range of λ."""
    lams_per_step: Count = 4
    """λs drawn at every step for each hypernetwork, all different, log-uniform."""
    tune: Annotated[str, OneOf("way to tune", (NONE, LOCAL))] = NONE
    """none, or local: λ is learned, too, down the validation loss of the weights' means, and
    weights are generated for λs about it. For a whole range first: none, then python -m nas
    tune."""
    tune_width: Positive = 0.5
    """Standard deviation of log λ about the one that is learned."""

    def lam_range(self) -> LambdaRange:
        """Returns the range of λ.

        Raises:
            InputError: if a λ is not positive or the range is empty.
        """
        if self.lam is not None:
            return LambdaRange((self.lam,), (self.lam,))
        return LambdaRange((self.lam_low,), (self.lam_high,))


@dataclass(frozen=True, kw_only=True)
class WeightTrainingConfig(Settings):
    """Training, and the final table."""

    epochs: Count = 25
    """Passes over the training part."""
    steps: Annotated[int | None, at_least(1)] = None
    """Steps after which it ends, if that is before the end of the last epoch; `--time` sets it."""
    batch_size: Count = 512
    """Examples per step, over all processes."""
    w_lr: Positive = 0.005
    """Learning rate (Adam) of the means at the start; cosine to w_lr_min."""
    w_lr_min: NotNegative = 0.0
    """Learning rate at the end."""
    seed: Seed = 0
    """Seed of everything that is drawn but the split of the data."""
    runs: Count = 1
    """Hypernetworks, with seeds seed, seed + 1, …, that are trained side by side."""
    grid: Annotated[int, from_to(1, 10_000)] = 31
    """λs of the final table, evenly spaced in log λ."""
    draws: Annotated[int, from_to(1, 100_000)] = 10
    """Draws of the weights for the evidence in the final table."""


@dataclass(frozen=True, kw_only=True)
class WeightConfig(
    ExamplesConfig,
    ChainConfig,
    WeightHypernetConfig,
    KlPriceConfig,
    WeightTrainingConfig,
    DeviceConfig,
    LogConfig,
):
    """Networks without cells whose weights' posterior follows λ, the price of its KL."""

    costs: ClassVar[tuple[str, ...]] = ("kl",)
    w_grad_clip: ClassVar[float] = math.inf
    common: ClassVar[tuple[str, ...]] = (
        "data", "layers", "hypernet", "lam_low", "lam_high", "epochs", "batch_size", "runs",
        "seed", "device", "threads",
    )  # fmt: skip
    former: ClassVar[dict[str, Any]] = {"tune_lr": 0.02, "sigma_lr": 3.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is not None and self.hypernet != NONE:
            raise InputError(
                f"start gives weights to networks by themselves, not to hypernetwork "
                f"{self.hypernet!r}: add --hypernet none"
            )
        if self.hypernet != NONE and self.lam is not None:
            raise InputError(
                f"hypernetwork {self.hypernet!r} learns a range of λ, not λ = {self.lam} alone: "
                "add --hypernet none, or leave --lam out"
            )
        self.lam_range()
        if self.tune != NONE:
            self._check_tuning()

    def _check_tuning(self) -> None:
        """Refuses what leaves λ no validation loss, no way to other weights, or nowhere to go."""
        if self.val_fraction == 0:
            raise InputError(
                f"tune {self.tune!r} needs examples that train no weights: add --val-fraction 0.2"
            )
        if self.hypernet == NONE:
            raise InputError(
                f"tune {self.tune!r} moves λ through a hypernetwork: leave --hypernet {NONE} out"
            )
        if self.lam_low == self.lam_high:
            raise InputError(
                f"tune {self.tune!r} needs a range, not λ = {self.lam_low} alone: raise --lam-high"
            )


WEIGHT_PRESETS: dict[str, WeightConfig] = {
    "mlp": WeightConfig(),
    "mlp-digits": WeightConfig(
        data="digits", layers=("32",), lam_low=0.01, lam_high=10.0, epochs=150, batch_size=128
    ),
    "mlp-cifar10": WeightConfig(
        data="cifar10",
        layers=("conv16", "pool", "conv32", "pool", "conv32", "pool", "64"),
        lam_low=0.01,
        lam_high=10.0,
        lams_per_step=2,
        batch_size=256,
        w_lr=0.003,
        # Deep networks drown in the noise of larger ones before they have learned anything.
        initial_sigma=0.02,
        initial_sigma_high=0.02,
    ),
}
"""Networks without cells whose weights follow λ."""
