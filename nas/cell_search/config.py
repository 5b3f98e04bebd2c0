"""Every setting of a search, with its default and its meaning."""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from cells.cost import COSTS, LAM_UNITS
from cells.errors import InputError, unknown
from cells.space import SPACES
from nas.architecture.budgets import parse_bound
from nas.architecture.relaxations import RELAXATIONS
from nas.cell_search.method_config import MethodConfig
from nas.hypernets.lambda_range import LambdaRange
from nas.runtime.settings import PRECISIONS, check_choices, read_settings
from nas.runtime.streams import stream
from nas.selection.evolution import POPULATION

TRAINED_CELLS = ("lambda", "prior")
FINALIST_SOURCES = ("drawn", "mixed", "random", "evolved")


@dataclass(frozen=True, kw_only=True)
class SearchConfig(MethodConfig):
    """One architecture search. λ is in nats per example and unit of cost (docs/design.md)."""

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
    """Search space: darts, darts_free (any number of inputs per node) or nasbench201."""
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
    lam_unit: str = "range"
    """What λ is paid for: range (from the space's cheapest architecture to its dearest), or raw (a
    parameter, a multiply–add, a microsecond: λ is then some 1e-8 to 1e-4). kl is always KL / N."""
    lams_per_step: int = 1
    """λs drawn at every step; the step's loss is their mean."""
    latency_batch: int = 1
    """Images per batch for which latency is measured."""
    latency_file: str | None = None
    """CSV file with lines genotype,latency (milliseconds) of networks that were measured on
    another device: latency is fitted to them instead of being measured here."""

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
    """Arithmetic of the supernet: float32, bfloat16 (autocast), or auto: bfloat16 on GPUs with it
    and on CPUs with AVX512-BF16 or AMX."""
    grid: int = 41
    """λs of the final front, evenly spaced in log λ."""
    eval_images: int = 5000
    """Validation images on which each cell of the front is scored with the supernet's weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(
            ("search space", self.space, SPACES),
            ("unit of λ", self.lam_unit, LAM_UNITS),
            ("trained cells", self.trained_cells, TRAINED_CELLS),
            ("finalist source", self.finalist_source, FINALIST_SOURCES),
            ("precision", self.precision, PRECISIONS),
            *(("cost", cost, COSTS) for cost in self.costs),
        )
        if len(set(self.costs)) != len(self.costs) or not self.costs:
            raise InputError(f"costs must be different and at least one, got {self.costs}")
        if "kl" in self.costs and self.weights != "gaussian":
            raise InputError("cost 'kl' needs a posterior: add --weights gaussian")
        if self.warmup_epochs > self.epochs:
            raise InputError(
                f"warmup_epochs must be at most epochs ({self.epochs}), got {self.warmup_epochs}"
            )
        if self.price == "product" and (self.lam_unit != "raw" or "kl" in self.costs):
            raise InputError(
                "price 'product' takes the logarithm of a cost in its own unit, above e: add "
                "--lam-unit raw, and no cost 'kl'"
            )
        self._check_op_probs()
        self._check_space()
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
        self._check_searches()
        self._check_finalists()

    def _check_searches(self) -> None:
        if self.searches == 1:
            return
        if not self.finalists:
            raise InputError(
                f"{self.searches} searches have nothing but finalists in common: add "
                "--finalists 500, or --searches 1"
            )
        if "kl" in self.costs:
            raise InputError(
                "cost 'kl' is that of the weights of one search: add --searches 1, or price "
                "another cost"
            )

    def _check_finalists(self) -> None:
        source, count, lams = self.finalist_source, self.finalists, self.lam_range()
        if source == "drawn":
            return
        if not count:
            raise InputError(
                f"finalist_source {source!r} needs finalists to score: add --finalists 500, or "
                "--finalist-source drawn"
            )
        if source == "evolved" and count <= POPULATION:
            raise InputError(
                f"finalist_source 'evolved' begins with {POPULATION} random cells: finalists must "
                f"be more than that, got {count}"
            )
        if source == "mixed":
            if count == 1:
                raise InputError(
                    "finalist_source 'mixed' takes half of them at random: finalists must be at "
                    "least 2, got 1"
                )
            return
        for name, low, high in zip(self.costs, lams.low, lams.high, strict=True):
            if low == high:
                raise InputError(
                    f"finalist_source {source!r} chooses by budget along a range of λ, got the "
                    f"single λ {low} of {name}: give lam_low and lam_high instead of it"
                )

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

    def _check_space(self) -> None:
        """Refuses methods that the search space or the costs have no use for."""
        space = SPACES[self.space]
        if self.discretise == "threshold" and space.inputs_per_node is not None:
            raise InputError(
                f"discretise 'threshold' keeps fewer inputs than the {space.inputs_per_node} that "
                f"nodes of {self.space!r} have: add --space darts_free"
            )
        if self.edge_weights and space.inputs_per_node and self.discretise == "most_probable":
            raise InputError(
                "edge_weights rank the inputs of a node, discretise 'most_probable' does not "
                "look at them: add --discretise strongest_inputs"
            )
        for keep in self.keep_ops:
            if keep >= len(space.ops) - 1:
                raise InputError(
                    f"keep_ops must be less than the {len(space.ops) - 1} operations of "
                    f"{self.space!r} besides none, got {keep}"
                )
        for k in self.partial_channels:
            if self.channels % k:
                raise InputError(
                    f"{self.channels} channels cannot be divided by partial_channels {k}: change "
                    "one of them"
                )
        for text in self.bounds:
            name, _ = parse_bound(text)
            if name not in COSTS or name == "kl":
                raise unknown("bounded cost", name, [cost for cost in COSTS if cost != "kl"])

    def search_config(self, number: int) -> "SearchConfig":
        """The settings of one of several searches, from number 1: but for its seed, as of one.

        The run itself is number 0, with the seed of the run.
        """
        assert 0 < number < self.searches
        drawn = torch.randint(2**31, (), generator=stream(self.seed, "search", number))
        return replace(self, searches=1, seed=int(drawn))

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
    "bound_levels": 1, "regulariser_price": 0, "threads": 0, "finalists": 0, "grid": 1,
    "eval_images": 1, "arch_lr_end": 0, "searches": 1, "naswot": 0,
}  # fmt: skip
_POSITIVE = (
    "w_lr", "w_grad_clip", "arch_lr", "prior_variance", "initial_sigma", "temperature",
    "temperature_end", "epsilon", "perturb_radius",
)  # fmt: skip
_BELOW_ONE = ("w_momentum", "arch_beta1", "arch_beta2")


def config_from_dict(values: dict[str, Any]) -> SearchConfig:
    """Rebuilds a configuration from its JSON values.

    Raises:
        InputError: if a field is unknown, or its value is of another type or refused.
    """
    return read_settings(SearchConfig, values)


def unkept_promise(config: SearchConfig) -> str | None:
    """Says why costs may rise along λ though the Gibbs form is chosen, None if they cannot.

    The form promises it for the most probable cell of categorical operations, and finalists are
    chosen by budget. Other rules and other probabilities are no sums over edges of a − β c.
    """
    space = SPACES[config.space]
    if config.hypernet != "gibbs" or config.finalists:
        return None
    chosen = f"discretise {config.discretise!r}"
    # Where each edge chooses by itself, it has the operation of the largest logit by any of these.
    if config.discretise == "most_probable":
        if space.inputs_per_node is None or RELAXATIONS[config.relax].categorical:
            return None
        chosen = f"relax {config.relax!r}"
    elif config.discretise == "strongest_inputs" and space.inputs_per_node is None:
        return None
    return (
        f"{chosen} may give a more expensive cell at a larger λ: with hypernet 'gibbs' costs never "
        "rise for discretise 'most_probable' and the relaxations softmax, gumbel, gumbel_example "
        "and straight_through"
    )
