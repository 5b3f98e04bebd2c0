"""Settings of λ and of what maps it to an architecture."""

from dataclasses import dataclass
from typing import Annotated

from cells.cost import COSTS, LAM_UNITS
from cells.errors import InputError
from nas.hypernets.forms import HYPERNETS
from nas.hypernets.lambda_range import LambdaRange
from nas.runtime.settings import Count, OneOf, Settings, at_least


@dataclass(frozen=True, kw_only=True)
class LambdaConfig(Settings):
    """Complexity, and the range of its price λ."""

    costs: Annotated[tuple[str, ...], OneOf("cost", COSTS)] = ("params",)
    """What λ prices: params, flops, latency, kl; several have a λ each."""
    lam: tuple[float, ...] | None = None
    """Search for this single λ (one per cost) instead of a range."""
    lam_low: tuple[float, ...] = (1e-3,)
    """Low end of the range of λ (one per cost, or one for all)."""
    lam_high: tuple[float, ...] = (10.0,)
    """High end of the range of λ (one per cost, or one for all)."""
    lam_unit: Annotated[str, OneOf("unit of λ", LAM_UNITS)] = "range"
    """What λ is paid for: range (from the space's least to its most expensive architecture), or
    raw (a parameter, a multiply–add, a microsecond: λ is then some 1e-8 to 1e-4). kl is always
    KL / N."""
    lams_per_step: Count = 1
    """λs drawn at every step; the step's loss is their mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(set(self.costs)) != len(self.costs) or not self.costs:
            raise InputError(f"costs must be different and at least one, got {self.costs}")
        self.lam_range()

    def lam_range(self) -> LambdaRange:
        """Returns the range of λ, one axis per cost.

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


@dataclass(frozen=True, kw_only=True)
class FormSizes(Settings):
    """Sizes of a hypernetwork."""

    knots: Annotated[int, at_least(2)] = 5
    """Knots of the piecewise linear and Gibbs forms."""
    hidden: Count = 32
    """Hidden units of the low-rank and MLP forms."""
    rank: Count = 2
    """Rank of the low-rank form."""


@dataclass(frozen=True, kw_only=True)
class HypernetConfig(FormSizes):
    """Hypernetwork."""

    hypernet: Annotated[str, OneOf("hypernetwork", HYPERNETS)] = "gibbs"
    """λ to architecture logits: constant, linear, lowrank, piecewise, mlp or gibbs."""
