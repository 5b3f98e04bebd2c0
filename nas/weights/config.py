"""Settings of a supernet's weights."""

from dataclasses import dataclass
from typing import Annotated

from nas.runtime.settings import Count, OneOf, Positive, Settings


@dataclass(frozen=True, kw_only=True)
class PosteriorConfig(Settings):
    """What a weight is."""

    weights: Annotated[str, OneOf("weights", ("point", "gaussian", "generated"))] = "point"
    """point, gaussian (mean-field posterior with local reparameterisation), or generated (kernels
    made from embeddings by a generator that all layers share)."""
    kernel_embedding: Count = 64
    """Length of the embedding of each block of a generated kernel."""
    prior_variance: Positive = 0.1
    """Variance σ₀² of the prior N(0, σ₀²) of Gaussian weights."""
    initial_sigma: Positive = 0.01
    """Standard deviation with which Gaussian weights start."""
