"""Every setting of a search, with its default and its meaning."""

import json
import math
import os
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from cells.cost import COSTS
from cells.errors import InputError, unknown
from cells.space import SPACES
from nas.complexity import LambdaRange
from nas.discretise import RULES
from nas.hypernet import HYPERNETS
from nas.relax import RELAXATIONS, SCHEDULES
from nas.settings import read_settings

WEIGHTS = ("point", "gaussian", "generated")
ORDERS = ("first", "second", "exact")
ESTIMATORS = ("relaxed", "score")
TRAINED_CELLS = ("lambda", "prior")
PRECISIONS = ("float32", "bfloat16")
FREE = ("device", "data_root")
"""Settings that may change when a run goes on: they say where it runs, not what it does."""


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """One architecture search. λ is in nats per example (docs/design.md)."""

    # Data
    data: str = "digits"
    """digits, mnist, fashion, cifar10, cifar100, an .npz file or a folder of images."""
    data_root: str = field(default_factory=lambda: os.environ.get("NAS_DATA", "data"))
    """Folder of the downloaded data sets; NAS_DATA in the environment sets another default."""
    image_size: int | None = None
    """Side in pixels to which images from a folder are resized."""
    val_fraction: float = 0.5
    """Share of the training images on which the architecture is trained."""
    split_seed: int = 0
    """Fixes the train, validation and (where the data set has none of its own) test parts."""
    crop_padding: int = 0
    """Pixels of zeros around an image before a random crop."""
    flip: bool = False
    """Flip images at random, left to right."""
    cutout: int = 0
    """Side in pixels of a square that is erased at random; 0 for none."""
    shrink: int = 1
    """The supernet sees means of this many by this many pixels; costs stay those of full images."""

    # Space
    space: str = "nasbench201"
    """Search space: darts or nasbench201."""
    channels: int = 16
    """Width of the first cells; each of the two reductions doubles it."""
    num_cells: int = 3
    """Searched cells from stem to head."""
    stem_stride: int = 1
    """Stride of the stem's convolution; 2 or more makes all cells work on smaller images."""

    # Complexity
    costs: tuple[str, ...] = ("params",)
    """What λ prices: params, flops, latency, kl; several have a λ each."""
    lam: tuple[float, ...] | None = None
    """Search for this single λ (one per cost) instead of a range."""
    lam_low: tuple[float, ...] = (1e-3,)
    """Low end of the range of λ (one per cost, or one for all)."""
    lam_high: tuple[float, ...] = (10.0,)
    """High end of the range of λ (one per cost, or one for all)."""
    lams_per_step: int = 1
    """λs drawn at every step; the step's loss is their mean."""
    latency_batch: int = 1
    """Images per batch for which latency is measured."""
    latency_file: str | None = None
    """CSV file with lines genotype,latency (milliseconds) of networks that were measured on
    another device: latency is fitted to them instead of being measured here."""
    arch_kl: float = 0.01
    """Price κ of KL(q(γ|λ) ‖ uniform), in nats per example per nat; 0 for none."""
    arch_kl_end: float | None = None
    """κ at the end of the search, reached exponentially from the warm-up's end; None keeps κ."""

    # Hypernetwork and relaxation
    hypernet: str = "gibbs"
    """λ to architecture logits: constant, linear, lowrank, piecewise, mlp or gibbs."""
    knots: int = 5
    """Knots of the piecewise linear and Gibbs forms."""
    hidden: int = 32
    """Hidden units of the low-rank and MLP forms."""
    rank: int = 2
    """Rank of the low-rank form."""
    relax: str = "straight_through"
    """Logits to operation weights: softmax, gumbel, gumbel_example or straight_through."""
    temperature: float = 1.0
    """Temperature of the relaxation at the start."""
    temperature_end: float = 0.2
    """Temperature of the relaxation at the end."""
    temperature_schedule: str = "linear"
    """How the temperature changes: linear, exponential or constant."""
    estimator: str = "relaxed"
    """Architecture gradient: relaxed (through the operations' weights), or score (from sampled
    cells, each of which counts for every λ)."""
    cells_per_step: int = 8
    """Cells that the score estimator draws at every step of the architecture."""
    score_lams: int = 16
    """λs for which they count."""
    replay: int = 16
    """Steps of the architecture whose cells the score estimator remembers."""
    arch_every: int = 1
    """Steps of the weights from one step of the architecture to the next."""
    discretise: str = "most_probable"
    """Rule from distribution to cell: most_probable, or strongest_inputs as in DARTS."""
    finalists: int = 0
    """Cells drawn for all λs at the end and scored on validation images. The position of λ in its
    range is then one in the range of their log costs, and the best near it is chosen; 0 chooses
    the discretised cell of q(γ|λ)."""

    # Weights
    weights: str = "point"
    """point, gaussian (mean-field posterior with local reparameterisation), or generated (kernels
    made from embeddings by a generator that all layers share)."""
    kernel_embedding: int = 64
    """Length of the embedding of each block of a generated kernel."""
    kernel_block: int = 16
    """Channels, in and out, of the blocks from which generated kernels are tiled."""
    prior_variance: float = 0.1
    """Variance σ₀² of the prior N(0, σ₀²) of Gaussian weights."""
    initial_sigma: float = 0.01
    """Standard deviation with which Gaussian weights start."""

    # Optimisation
    epochs: int = 50
    """Passes over the training part."""
    warmup_epochs: int = 0
    """Epochs at the start in which only the weights are trained, on cells of the prior."""
    op_probs: tuple[float, ...] | None = None
    """The prior: probabilities of the space's operations, in its order; None makes all alike."""
    trained_cells: str = "lambda"
    """Cells that train the weights after the warm-up: lambda (those of the hypernetwork) or
    prior."""
    batch_size: int = 64
    """Images per step of each half, over all processes."""
    order: str = "first"
    """Hypergradient: first order, second order by finite differences, or exact second order."""
    epsilon: float = 0.01
    """Distance by which the finite differences of the second order move the weights."""
    w_lr: float = 0.025
    """Learning rate of the weights (SGD) at the start; cosine to w_lr_min."""
    w_lr_min: float = 0.001
    """Learning rate of the weights at the end."""
    w_momentum: float = 0.9
    """Momentum of the weights."""
    w_weight_decay: float = 3e-4
    """Weight decay of point and generated weights; Gaussian ones have their prior instead."""
    w_grad_clip: float = 5.0
    """Largest norm of the weights' gradient."""
    arch_lr: float = 3e-4
    """Learning rate of the hypernetwork (Adam)."""
    arch_lr_end: float | None = None
    """Its value at the end, reached by a cosine from the warm-up's end; None keeps it."""
    arch_beta1: float = 0.5
    """Adam's first decay rate for the hypernetwork."""
    arch_beta2: float = 0.999
    """Adam's second decay rate for the hypernetwork."""
    arch_weight_decay: float = 1e-3
    """Weight decay of the hypernetwork."""

    # Run
    seed: int = 0
    """Seed of everything that is drawn but the split of the data."""
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: int = 0
    """CPU threads of every process; 0 leaves torch's choice. Results depend on it in the last bit,
    and tiny networks are quicker with 1."""
    precision: str = "float32"
    """Arithmetic of the supernet: float32 or bfloat16 (autocast)."""
    grid: int = 41
    """λs of the final front, evenly spaced in log λ."""
    eval_images: int = 5000
    """Validation images on which each cell of the front is scored with the supernet's weights."""

    def __post_init__(self) -> None:
        named: list[tuple[str, str, Collection[str]]] = [
            ("search space", self.space, SPACES),
            ("hypernetwork", self.hypernet, HYPERNETS),
            ("relaxation", self.relax, RELAXATIONS),
            ("temperature schedule", self.temperature_schedule, SCHEDULES),
            ("discretisation rule", self.discretise, RULES),
            ("weights", self.weights, WEIGHTS),
            ("order", self.order, ORDERS),
            ("estimator", self.estimator, ESTIMATORS),
            ("trained cells", self.trained_cells, TRAINED_CELLS),
            ("precision", self.precision, PRECISIONS),
            *(("cost", cost, COSTS) for cost in self.costs),
        ]
        for what, value, choices in named:
            if value not in choices:
                raise unknown(what, value, choices)
        if len(set(self.costs)) != len(self.costs) or not self.costs:
            raise InputError(f"costs must be different and at least one, got {self.costs}")
        if self.arch_kl_end is not None and not (self.arch_kl > 0 and self.arch_kl_end > 0):
            raise InputError(
                "an arch_kl that changes exponentially must be positive at both ends, got "
                f"{self.arch_kl} and {self.arch_kl_end}"
            )
        if "kl" in self.costs and self.weights != "gaussian":
            raise InputError("cost 'kl' needs a posterior: add --weights gaussian")
        if self.warmup_epochs > self.epochs:
            raise InputError(
                f"warmup_epochs must be at most epochs ({self.epochs}), got {self.warmup_epochs}"
            )
        if self.estimator == "score":
            for name, value in (("relax", "straight_through"), ("order", "first")):
                if getattr(self, name) != value:
                    raise InputError(
                        f"estimator 'score' works with {name} {value!r}, got "
                        f"{getattr(self, name)!r}: change one of them"
                    )
            if self.cells_per_step < 2:
                raise InputError(
                    "estimator 'score' compares cells: cells_per_step must be at least 2, "
                    f"got {self.cells_per_step}"
                )
        self._check_op_probs()
        if not 0 < self.val_fraction < 1:
            raise InputError(f"val_fraction must lie between 0 and 1, got {self.val_fraction}")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and not least <= value < float("inf"):  # also catches NaN
                raise InputError(f"{name} must be at least {least}, got {value}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise InputError(f"{name} must be positive and finite, got {value}")
        for name in _BELOW_ONE:
            if getattr(self, name) >= 1:
                raise InputError(f"{name} must be less than 1, got {getattr(self, name)}")
        self.lam_range()

    def _check_op_probs(self) -> None:
        ops = SPACES[self.space].ops
        probs = self.op_probs
        if probs is None:
            return
        if len(probs) != len(ops):
            raise InputError(
                f"op_probs must have {len(ops)} values, for {', '.join(ops)}; got {len(probs)}"
            )
        if not all(p > 0 for p in probs) or abs(sum(probs) - 1) > 1e-6:
            raise InputError(f"op_probs must be positive and add up to 1, got {probs}")

    def arch_lr_at(self, fraction: float) -> float:
        """The hypernetwork's learning rate when a share of the search after warm-up is over."""
        if self.arch_lr_end is None:
            return self.arch_lr
        share = (1 + math.cos(math.pi * fraction)) / 2
        return self.arch_lr_end + (self.arch_lr - self.arch_lr_end) * share

    def arch_kl_price(self, fraction: float) -> float:
        """κ when a share in [0, 1] of the search after its warm-up is over."""
        if self.arch_kl_end is None:
            return self.arch_kl
        return self.arch_kl * (self.arch_kl_end / self.arch_kl) ** fraction

    def lam_range(self) -> LambdaRange:
        """The range of λ, one axis per cost.

        Raises:
            InputError: if a λ is not positive, the range is empty, or their number is wrong.
        """

        def each(name: str, lams: tuple[float, ...]) -> tuple[float, ...]:
            lams = lams * len(self.costs) if len(lams) == 1 else lams
            if len(lams) != len(self.costs):
                wanted = " or ".join(dict.fromkeys(("1", str(len(self.costs)))))
                raise InputError(
                    f"{name} must have as many values as there are costs "
                    f"({', '.join(self.costs)}), that is {wanted}, got {len(lams)}"
                )
            return lams

        if self.lam is not None:
            return LambdaRange(each("lam", self.lam), each("lam", self.lam))
        return LambdaRange(each("lam_low", self.lam_low), each("lam_high", self.lam_high))

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON values; `config_from_dict` reads them back."""
        return json.loads(json.dumps(asdict(self)))  # tuples become lists


_LEAST: dict[str, float] = {
    "image_size": 1, "crop_padding": 0, "cutout": 0, "channels": 1, "num_cells": 1,
    "stem_stride": 1, "shrink": 1, "cells_per_step": 1, "score_lams": 1, "replay": 1,
    "arch_every": 1, "kernel_embedding": 1, "kernel_block": 1,
    "lams_per_step": 1, "latency_batch": 1, "arch_kl": 0, "knots": 2, "hidden": 1, "rank": 1,
    "epochs": 1, "warmup_epochs": 0, "batch_size": 1, "w_lr_min": 0, "w_momentum": 0,
    "w_weight_decay": 0, "arch_beta1": 0, "arch_beta2": 0, "arch_weight_decay": 0,
    "threads": 0, "finalists": 0, "grid": 1, "eval_images": 1, "arch_lr_end": 0,
}  # fmt: skip
_POSITIVE = (
    "w_lr", "w_grad_clip", "arch_lr", "prior_variance", "initial_sigma", "temperature",
    "temperature_end", "epsilon",
)  # fmt: skip
_BELOW_ONE = ("w_momentum", "arch_beta1", "arch_beta2")


def config_from_dict(values: dict[str, Any]) -> SearchConfig:
    """Rebuilds a configuration from its JSON values.

    Raises:
        InputError: if a field is unknown, or its value is of another type or refused.
    """
    return read_settings(SearchConfig, values)
