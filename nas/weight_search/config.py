"""Every setting of a search in the space `mlp`, where λ generates the weights."""

import json
import math
import os
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from cells.chain import MLP
from cells.errors import InputError
from nas.hypernets.lambda_range import LambdaRange
from nas.runtime.settings import check_choices

NONE = "none"
FORMS = (NONE, "linear", "lowrank", "piecewise", "mlp")
GAUSSIAN, POINT = "gaussian", "point"
LOCAL = "local"


@dataclass(frozen=True, kw_only=True)
class WeightConfig:
    """Networks without cells whose weights' posterior follows λ, the price of its KL."""

    # Data
    data: str = "mnist"
    """mnist, fashion, cifar10, cifar100, digits, an .npz file, a folder of images, or a table in
    a CSV file."""
    data_root: str = field(default_factory=lambda: os.environ.get("NAS_DATA", "data"))
    """Folder of the downloaded data sets; NAS_DATA in the environment sets another default."""
    target: str | None = None
    """Column of a CSV file that is predicted; the last if none is named."""
    split_seed: int = 0
    """Fixes the test part where the data set has none of its own, and the validation part."""
    val_fraction: float = 0.0
    """Share of the training part that is held out of training, for the choice of λ."""

    # Network
    space: str = MLP
    """mlp: layers in a row, nothing to choose but the weights."""
    layers: tuple[str, ...] = ("100",)
    """conv32 (3×3 with 32 channels), pool (2×2 maximum) or a number of hidden units, in a row."""
    weights: str = GAUSSIAN
    """gaussian, a posterior, or point, for which the KL is weight decay, Σ w² / 2σ₀²."""
    prior_variance: float = 0.1
    """Variance σ₀² of the weights' prior N(0, σ₀²)."""
    initial_sigma: float = 0.05
    """Standard deviation of the weights to begin with, at the smallest λ."""
    initial_sigma_high: float = 0.3
    """The same at the largest λ."""

    # Hypernetwork
    hypernet: str = "piecewise"
    """λ to posterior: linear, lowrank, piecewise, mlp, or none, a network by itself for every λ
    of the grid."""
    knots: int = 7
    """Knots of the piecewise linear form."""
    hidden: int = 50
    """Hidden units of the low-rank and MLP forms."""
    rank: int = 2
    """Rank of the low-rank form."""
    start: str | None = None
    """Folder of a search: networks by themselves begin with the weights that it gives their λs."""

    # Complexity
    lam: float | None = None
    """This single λ instead of a range."""
    lam_low: float = 0.1
    """Low end of the range of λ; 1 is the evidence lower bound itself."""
    lam_high: float = 100.0
    """High end of the range of λ."""
    lams_per_step: int = 4
    """λs drawn at every step for each hypernetwork, all different, log-uniform."""
    tune: str = NONE
    """none, or local: λ is learned, too, down the validation loss of the weights' means, and
    weights are generated for λs about it. For a whole range first: none, then python -m nas
    tune."""
    tune_lr: float = 0.02
    """Learning rate (Adam) of log λ at the start; it falls as that of the weights does."""
    tune_width: float = 0.5
    """Standard deviation of log λ about the one that is learned."""

    # Optimisation
    epochs: int = 25
    """Passes over the training part."""
    batch_size: int = 512
    """Examples per step, over all processes."""
    w_lr: float = 0.005
    """Learning rate (Adam) of the means at the start; cosine to w_lr_min."""
    w_lr_min: float = 0.0
    """Learning rate at the end."""
    sigma_lr: float = 3.0
    """Learning rate of the logarithms of σ, as a multiple of that of the means."""

    # Run
    seed: int = 0
    """Seed of everything that is drawn but the split of the data."""
    runs: int = 1
    """Hypernetworks, with seeds seed, seed + 1, …, that are trained side by side."""
    grid: int = 31
    """λs of the final table, evenly spaced in log λ."""
    draws: int = 10
    """Draws of the weights for the evidence in the final table."""
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: int = 0
    """CPU threads of every process; 0 leaves torch's choice."""

    costs: ClassVar[tuple[str, ...]] = ("kl",)
    w_grad_clip: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        check_choices(
            ("search space", self.space, (MLP,)),
            ("hypernetwork", self.hypernet, FORMS),
            ("kind of weights", self.weights, (GAUSSIAN, POINT)),
            ("way to tune", self.tune, (NONE, LOCAL)),
        )
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not least <= value < math.inf:  # also catches NaN
                raise InputError(f"{name} must be at least {least}, got {value}")
        for name in _POSITIVE:
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if not 0 <= self.val_fraction < 1:
            raise InputError(
                f"val_fraction must be at least 0 and below 1, got {self.val_fraction}"
            )
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

    def lam_range(self) -> LambdaRange:
        """The range of λ.

        Raises:
            InputError: if a λ is not positive or the range is empty.
        """
        if self.lam is not None:
            return LambdaRange((self.lam,), (self.lam,))
        return LambdaRange((self.lam_low,), (self.lam_high,))

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values; `any_config` reads them back."""
        return json.loads(json.dumps(asdict(self)))


_LEAST = {
    "knots": 2, "hidden": 1, "rank": 1, "lams_per_step": 1, "epochs": 1, "batch_size": 1,
    "w_lr_min": 0, "runs": 1, "grid": 1, "draws": 1, "threads": 0,
}  # fmt: skip
_POSITIVE = (
    "prior_variance", "initial_sigma", "initial_sigma_high", "w_lr", "sigma_lr",
    "tune_lr", "tune_width",
)  # fmt: skip


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
