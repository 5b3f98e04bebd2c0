"""Settings of the distribution over cells."""

from dataclasses import dataclass
from typing import Annotated

from nas.architecture.discretise import RULES
from nas.architecture.relaxations import RELAXATIONS, SCHEDULES
from nas.runtime.settings import OneOf, Positive, Settings


@dataclass(frozen=True, kw_only=True)
class RelaxationConfig(Settings):
    """From logits to operation weights, and to a cell."""

    relax: Annotated[str, OneOf("relaxation", RELAXATIONS)] = "straight_through"
    """Logits to operation weights: softmax, gumbel, gumbel_example, straight_through, dirichlet or
    sigmoid."""
    temperature: Positive = 1.0
    """Temperature of the relaxation at the start."""
    temperature_end: Positive = 0.2
    """Temperature of the relaxation at the end."""
    temperature_schedule: Annotated[str, OneOf("temperature schedule", SCHEDULES)] = "linear"
    """How the temperature changes: linear, exponential or constant."""
    edge_weights: bool = False
    """Weigh the edges into each node by a softmax of their own, as PC-DARTS does."""
    discretise: Annotated[str, OneOf("discretisation rule", RULES)] = "most_probable"
    """Rule from distribution to cell: most_probable, strongest_inputs as in DARTS, or threshold as
    in FairDARTS."""
