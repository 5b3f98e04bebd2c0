"""Every setting of a search for cells, composed of the groups beside their owners."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Annotated, Any, ClassVar

import torch

from cells.errors import InputError
from cells.space import SPACES
from nas.architecture.config import RelaxationConfig
from nas.architecture.relaxations import RELAXATIONS
from nas.data.augmentation import Augmentation
from nas.data.config import ClassesConfig, ImagesConfig
from nas.hypernets.config import HypernetConfig, LambdaConfig
from nas.objective.config import EstimatorConfig, LatencyConfig, ObjectiveConfig
from nas.optim.config import (
    AdamConfig,
    BilevelConfig,
    ConstraintConfig,
    PerturbationConfig,
    SgdConfig,
    StagesConfig,
)
from nas.runtime.settings import (
    Count,
    DeviceConfig,
    LogConfig,
    Natural,
    OneOf,
    Precision,
    Seed,
    Settings,
    at_least,
    read_settings,
)
from nas.runtime.streams import stream
from nas.selection.config import SelectionConfig
from nas.weights.config import PosteriorConfig


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Settings):
    """The supernet."""

    space: Annotated[str, OneOf("search space", SPACES)] = "nasbench201"
    """Search space: darts, darts_free (any number of inputs per node) or nasbench201."""
    channels: Count = 16
    """Width of the first cells; each of the two reductions doubles it."""
    num_cells: Count = 3
    """Searched cells from stem to head."""
    stem_stride: Count = 1
    """Stride of the stem's convolution; 2 or more makes all cells work on smaller images."""


@dataclass(frozen=True, kw_only=True)
class CourseConfig(Settings):
    """The course of the search."""

    epochs: Count = 50
    """Passes over the training part."""
    steps: Annotated[int | None, at_least(1)] = None
    """Steps after which it ends, if that is before the end of the last epoch; `--time` sets it."""
    warmup_epochs: Natural = 0
    """Epochs at the start in which only the weights are trained, on cells of the prior."""
    op_probs: tuple[float, ...] | None = None
    """The prior: probabilities of the space's operations, in its order; None makes all alike."""
    trained_cells: Annotated[str, OneOf("trained cells", ("lambda", "prior"))] = "lambda"
    """Cells that train the weights after the warm-up: lambda (those of the hypernetwork) or
    prior."""
    batch_size: Count = 64
    """Images per step of each half, over all processes."""
    seed: Seed = 0
    """Seed of everything that is drawn but the split of the data."""
    precision: Precision = "float32"
    """Arithmetic of the supernet: float32, bfloat16 (autocast), or auto: bfloat16 on GPUs with it
    and on CPUs with AVX512-BF16 or AMX."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup_epochs > self.epochs:
            raise InputError(
                f"warmup_epochs must be at most epochs ({self.epochs}), got {self.warmup_epochs}"
            )


@dataclass(frozen=True, kw_only=True)
class SearchConfig(
    ImagesConfig,
    ClassesConfig,
    Augmentation,
    NetworkConfig,
    LambdaConfig,
    LatencyConfig,
    HypernetConfig,
    RelaxationConfig,
    ObjectiveConfig,
    EstimatorConfig,
    BilevelConfig,
    CourseConfig,
    SgdConfig,
    AdamConfig,
    PosteriorConfig,
    ConstraintConfig,
    StagesConfig,
    PerturbationConfig,
    SelectionConfig,
    DeviceConfig,
    LogConfig,
):
    """One architecture search. λ is in nats per example and unit of cost (docs/design.md)."""

    common: ClassVar[tuple[str, ...]] = (
        "data", "space", "channels", "num_cells", "costs", "lam_low", "lam_high", "epochs",
        "batch_size", "finalists", "seed", "device", "threads",
    )  # fmt: skip
    former: ClassVar[dict[str, Any]] = {
        "arch_beta2": 0.999, "arch_every": 1, "cells_per_step": 8, "replay": 16, "kernel_block": 16,
    }  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        for refused, message in chain(
            self._of_the_space(), self._of_the_bound(), self._of_the_choice()
        ):
            if refused:
                raise InputError(message)

    def _of_the_space(self) -> Iterator[tuple[bool, str]]:
        """Yields what the search space has no use for, each with what to change."""
        space = SPACES[self.space]
        probs, ops = self.op_probs, space.ops
        yield (
            probs is not None and len(probs) != len(ops),
            f"op_probs must have {len(ops)} values, for {', '.join(ops)}; got {len(probs or ())}",
        )
        yield (
            probs is not None and not (min(probs) > 0 and abs(sum(probs) - 1) <= 1e-6),
            f"op_probs must be positive and add up to 1, got {probs}",
        )
        yield (
            self.discretise == "threshold" and space.inputs_per_node is not None,
            f"discretise 'threshold' keeps fewer inputs than the {space.inputs_per_node} that "
            f"nodes of {self.space!r} have: add --space darts_free",
        )
        yield (
            bool(
                self.edge_weights and space.inputs_per_node and self.discretise == "most_probable"
            ),
            "edge_weights rank the inputs of a node, discretise 'most_probable' does not look at "
            "them: add --discretise strongest_inputs",
        )
        for count in self.keep_ops:
            yield (
                count >= len(ops) - 1,
                f"keep_ops must be less than the {len(ops) - 1} operations of {self.space!r} "
                f"besides none, got {count}",
            )
        for k in self.partial_channels:
            yield (
                self.channels % k != 0,
                f"{self.channels} channels cannot be divided by partial_channels {k}: change one "
                "of them",
            )

    def _of_the_bound(self) -> Iterator[tuple[bool, str]]:
        """Yields combinations of a method that have no meaning, each with what to change."""
        sampled = RELAXATIONS[self.relax].sampled
        yield (
            "kl" in self.costs and self.weights != "gaussian",
            "cost 'kl' needs a posterior: add --weights gaussian",
        )
        if self.estimator == "score":
            for name, value in (
                ("relax", "straight_through"), ("order", "first"), ("price", "additive"),
                ("resource", "expected"), ("edge_weights", False), ("keep_ops", ()),
            ):  # fmt: skip
                yield (
                    getattr(self, name) != value,
                    f"estimator 'score' works with {name} {value!r}, got {getattr(self, name)!r}: "
                    "change one of them",
                )
        yield (
            self.price == "product" and (self.lam_unit != "raw" or "kl" in self.costs),
            "price 'product' takes the logarithm of a cost in its own unit, above e: add "
            "--lam-unit raw, and no cost 'kl'",
        )
        yield (
            self.perturb != "none" and sampled,
            f"perturb {self.perturb!r} moves the weights of all operations, relaxation "
            f"{self.relax!r} computes one of them: add --relax softmax, or leave it out",
        )
        yield (
            self.hessian and (sampled or self.relax == "dirichlet"),
            f"hessian needs a relaxation that is twice differentiable, got {self.relax!r}: add "
            "--relax softmax, or leave it out",
        )
        yield (
            bool(self.keep_ops or self.partial_channels != (1,)) and self.weights == "gaussian",
            "partial_channels and keep_ops leave part of a posterior unused, whose KL would be "
            "paid for: add --weights point",
        )
        yield (
            len(set(self.partial_channels)) > 1 and self.weights == "generated",
            "partial_channels that change would need kernels of another size from the same "
            "embeddings: give one value, or add --weights point",
        )

    def _of_the_choice(self) -> Iterator[tuple[bool, str]]:
        """Yields what cannot be chosen from at the end, each with what to change."""
        yield (
            bool(self.keep_ops) and self.finalists > 0,
            "finalists are drawn from all candidates, keep_ops prunes them: leave one out",
        )
        yield (
            self.searches > 1 and "kl" in self.costs,
            "cost 'kl' is that of the weights of one search: add --searches 1, or price another "
            "cost",
        )
        lams = self.lam_range()
        for name, low, high in zip(self.costs, lams.low, lams.high, strict=True):
            yield (
                self.finalist_source in ("random", "evolved") and low == high,
                f"finalist_source {self.finalist_source!r} chooses by budget along a range of λ, "
                f"got the single λ {low} of {name}: give lam_low and lam_high instead of it",
            )

    def search_config(self, number: int) -> "SearchConfig":
        """Returns the settings of one of several searches: as of one alone, but for its seed.

        Args:
            number: of the search, from 1; the run itself is number 0 and keeps its seed.
        """
        assert 0 < number < self.searches
        drawn = torch.randint(2**31, (), generator=stream(self.seed, "search", number))
        return replace(self, searches=1, seed=int(drawn))


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
