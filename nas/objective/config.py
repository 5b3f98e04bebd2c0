"""Settings of the bound: what is priced, and how."""

from dataclasses import dataclass
from typing import Annotated

from cells.errors import InputError
from nas.objective.prices import PRICES, REGULARISERS
from nas.runtime.settings import TEXT, Count, NotNegative, OneOf, Settings, at_least


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Settings):
    """How the bound is put together."""

    price: Annotated[str, OneOf("price", PRICES)] = "additive"
    """How likelihood and costs make one loss: additive, nll + λ·cost, or product as in FBNet,
    nll · log(cost)^λ with raw costs."""
    resource: Annotated[str, OneOf("resource", ("expected", "sampled"))] = "expected"
    """Costs that λ prices: expected, or sampled, those of the weights drawn, as in SNAS."""
    arch_kl: NotNegative = 0.01
    """Price κ of KL(q(γ|λ) ‖ uniform), in nats per example per nat; 0 for none."""
    arch_kl_end: Annotated[float | None, at_least(0)] = None
    """κ at the end of the search, reached exponentially from the warm-up's end; None keeps κ."""
    regulariser: Annotated[str, OneOf("regulariser", REGULARISERS)] = "none"
    """Regulariser of the distribution: none, or zero_one as in FairDARTS."""
    regulariser_price: NotNegative = 10.0
    """Its price, in nats per example."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.arch_kl_end is not None and not (self.arch_kl > 0 and self.arch_kl_end > 0):
            raise InputError(
                "an arch_kl that changes exponentially must be positive at both ends, got "
                f"{self.arch_kl} and {self.arch_kl_end}"
            )


@dataclass(frozen=True, kw_only=True)
class EstimatorConfig(Settings):
    """The architecture's gradient."""

    estimator: Annotated[str, OneOf("estimator", ("relaxed", "score"))] = "relaxed"
    """Architecture gradient: relaxed (through the operations' weights), or score (from sampled
    cells, each of which counts for every λ)."""
    score_lams: Count = 16
    """λs for which a cell that the score estimator draws counts."""


@dataclass(frozen=True, kw_only=True)
class LatencyConfig(Settings):
    """How latency is measured."""

    latency_batch: Count = 1
    """Images per batch for which latency is measured."""
    latency_file: Annotated[str | None, TEXT] = None
    """CSV file with lines genotype,latency (milliseconds) of networks that were measured on
    another device: latency is fitted to them instead of being measured here."""
