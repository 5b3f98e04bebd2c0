"""Settings of how weights and architecture are moved."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

from cells.cost import COSTS
from cells.errors import InputError, unknown
from nas.architecture.budgets import parse_bound
from nas.optim.constraints import CONSTRAINTS
from nas.optim.perturbation import KINDS
from nas.runtime.settings import BelowOne, Count, NotNegative, OneOf, Positive, Settings, at_least


@dataclass(frozen=True, kw_only=True)
class SgdConfig(Settings):
    """The weights' optimiser, SGD."""

    w_lr: Positive = 0.025
    """Learning rate of the weights (SGD) at the start; cosine to w_lr_min."""
    w_lr_min: NotNegative = 0.001
    """Learning rate of the weights at the end."""
    w_momentum: BelowOne = 0.9
    """Momentum of the weights."""
    w_weight_decay: NotNegative = 3e-4
    """Weight decay of point and generated weights; Gaussian ones have their prior instead."""
    w_grad_clip: Positive = 5.0
    """Largest norm of the weights' gradient."""


@dataclass(frozen=True, kw_only=True)
class AdamConfig(Settings):
    """The hypernetwork's optimiser, Adam."""

    arch_lr: Positive = 3e-4
    """Learning rate of the hypernetwork (Adam)."""
    arch_lr_end: Annotated[float | None, at_least(0)] = None
    """Its value at the end, reached by a cosine from the warm-up's end; None keeps it."""
    arch_beta1: BelowOne = 0.5
    """Adam's first decay rate for the hypernetwork."""
    arch_weight_decay: NotNegative = 1e-3
    """Weight decay of the hypernetwork."""


@dataclass(frozen=True, kw_only=True)
class BilevelConfig(Settings):
    """The hypergradient."""

    order: Annotated[str, OneOf("order", ("first", "second", "exact"))] = "first"
    """Hypergradient: first order, second order by finite differences, or exact second order."""
    epsilon: Positive = 0.01
    """Distance by which the finite differences of the second order move the weights."""
    hessian: bool = False
    """Log the largest eigenvalue of the validation loss's Hessian in the architecture's logits, and
    its residual."""


@dataclass(frozen=True, kw_only=True)
class ConstraintConfig(Settings):
    """Bounds on costs."""

    bounds: tuple[str, ...] = ()
    """Upper bounds on costs, for every λ, such as params=100k or latency=2ms."""
    constraint: Annotated[str, OneOf("constraint", CONSTRAINTS)] = "none"
    """How the search is kept within the bounds: projection onto the nearest parameters within
    them (RC-DARTS), or multiplier, a Lagrange multiplier that adapts (budgeted super networks)."""
    bound_levels: Count = 3
    """Levels in which a projection tightens the bounds from the most expensive cell to what is
    asked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for text in self.bounds:
            name, _ = parse_bound(text)
            if name not in COSTS or name == "kl":
                raise unknown("bounded cost", name, [cost for cost in COSTS if cost != "kl"])
        if self.bounds and self.constraint == "none":
            raise InputError(
                f"bounds {', '.join(self.bounds)} need a way to be kept: add --constraint "
                "projection or --constraint multiplier"
            )
        if not self.bounds and self.constraint != "none":
            raise InputError(
                f"constraint {self.constraint!r} has nothing to bound: add --bounds params=100k"
            )


@dataclass(frozen=True, kw_only=True)
class StagesConfig(Settings):
    """Stages of the search with fewer candidates or more channels."""

    partial_channels: Annotated[tuple[int, ...], at_least(1)] = (1,)
    """1/k of the channels go through the operations, as in PC-DARTS; k, one for all stages or one
    for each."""
    keep_ops: Annotated[tuple[int, ...], at_least(1)] = ()
    """Candidates that every edge keeps from one stage of the search to the next, as in DrNAS; the
    stages are equal parts of the search after the warm-up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        stages = len(self.keep_ops) + 1
        if len(self.partial_channels) not in (1, stages):
            raise InputError(
                f"partial_channels must have 1 value, or one for each of the {stages} stages that "
                f"keep_ops makes, got {len(self.partial_channels)}"
            )
        if any(later >= earlier for earlier, later in pairwise(self.keep_ops)):
            raise InputError(f"keep_ops must fall from stage to stage, got {self.keep_ops}")
        if any(earlier % later for earlier, later in pairwise(self.partial_channels)):
            raise InputError(
                "partial_channels must each divide the one before, so that channels only become "
                f"more, got {self.partial_channels}"
            )


@dataclass(frozen=True, kw_only=True)
class PerturbationConfig(Settings):
    """Perturbed architectures."""

    perturb: Annotated[str, OneOf("perturbation", KINDS)] = "none"
    """Perturbation of the operations' weights while the supernet is trained, as in SDARTS: none,
    random or adversarial."""
    perturb_radius: Positive = 0.3
    """Its largest size at the end of the search; it grows evenly from 0 at the warm-up's end."""
