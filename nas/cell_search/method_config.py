"""Settings of the method: which corner of the bound a search is."""

from dataclasses import dataclass

from cells.errors import InputError
from nas.architecture.budgets import parse_bound
from nas.architecture.discretise import RULES
from nas.architecture.relaxations import RELAXATIONS, SCHEDULES
from nas.hypernets.forms import HYPERNETS
from nas.objective.prices import PRICES, REGULARISERS
from nas.optim.constraints import CONSTRAINTS
from nas.optim.perturbation import KINDS
from nas.runtime.settings import check_choices

WEIGHTS = ("point", "gaussian", "generated")
ORDERS = ("first", "second", "exact")
ESTIMATORS = ("relaxed", "score")
RESOURCES = ("expected", "sampled")


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """How distribution, weights and bound are made; `SearchConfig` has everything else."""

    # Hypernetwork and relaxation
    hypernet: str = "gibbs"
    """λ to architecture logits: constant, linear, lowrank, piecewise, mlp or gibbs."""
    knots: int = 5
    """Knots of the piecewise linear and Gibbs forms."""
    hidden: int = 32
    """Hidden units of the low-rank and MLP forms."""
    rank: int = 2
    """Rank of the low-rank form."""
    edge_weights: bool = False
    """Weigh the edges into each node by a softmax of their own, as PC-DARTS does."""
    relax: str = "straight_through"
    """Logits to operation weights: softmax, gumbel, gumbel_example, straight_through, dirichlet or
    sigmoid."""
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
    """Rule from distribution to cell: most_probable, strongest_inputs as in DARTS, or threshold as
    in FairDARTS."""
    finalists: int = 0
    """Cells drawn for all λs at the end and scored on validation images. The position of λ in its
    range is then one in the range of their log costs, and the best near it is chosen; 0 chooses
    the discretised cell of q(γ|λ)."""
    finalist_source: str = "drawn"
    """Where finalists come from: drawn from q(γ|λ); random cells of all costs; mixed, half of each;
    evolved, all that a regularised evolution of likelihood against cost has scored. `finalists`
    limits each alike."""
    naswot: float = 0.15
    """What one unit of a finalist's NASWOT score is worth, in nats per example; 0 for nothing. The
    score tells, without training, how differently a cell's network responds to different images."""

    searches: int = 1
    """Searches that share the finalists, each with weights and a hypernetwork of its own: cells are
    drawn from all distributions and scored by the mean likelihood of all supernets. One seed alone
    ranks cells less surely. With threads set, they run side by side, a process each."""

    # Price of complexity
    price: str = "additive"
    """How likelihood and costs make one loss: additive, nll + λ·cost, or product as in FBNet,
    nll · log(cost)^λ with raw costs."""
    resource: str = "expected"
    """Costs that λ prices: expected, or sampled, those of the weights drawn, as in SNAS."""
    arch_kl: float = 0.01
    """Price κ of KL(q(γ|λ) ‖ uniform), in nats per example per nat; 0 for none."""
    arch_kl_end: float | None = None
    """κ at the end of the search, reached exponentially from the warm-up's end; None keeps κ."""
    regulariser: str = "none"
    """Regulariser of the distribution: none, or zero_one as in FairDARTS."""
    regulariser_price: float = 10.0
    """Its price, in nats per example."""
    bounds: tuple[str, ...] = ()
    """Upper bounds on costs, for every λ, such as params=100k or latency=2ms."""
    constraint: str = "none"
    """How the search is kept within the bounds: projection onto the nearest parameters within
    them (RC-DARTS), or multiplier, a Lagrange multiplier that adapts (budgeted super networks)."""
    bound_levels: int = 3
    """Levels in which a projection tightens the bounds from the dearest cell to what is asked."""

    # Supernet
    partial_channels: tuple[int, ...] = (1,)
    """1/k of the channels go through the operations, as in PC-DARTS; k, one for all stages or one
    for each."""
    keep_ops: tuple[int, ...] = ()
    """Candidates that every edge keeps from one stage of the search to the next, as in DrNAS; the
    stages are equal parts of the search after the warm-up."""
    perturb: str = "none"
    """Perturbation of the operations' weights while the supernet is trained, as in SDARTS: none,
    random or adversarial."""
    perturb_radius: float = 0.3
    """Its largest size at the end of the search; it grows evenly from 0 at the warm-up's end."""
    hessian: bool = False
    """Log the largest eigenvalue of the validation loss's Hessian in the architecture's logits, and
    its residual."""

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
    order: str = "first"
    """Hypergradient: first order, second order by finite differences, or exact second order."""
    epsilon: float = 0.01
    """Distance by which the finite differences of the second order move the weights."""

    def __post_init__(self) -> None:
        check_choices(
            ("hypernetwork", self.hypernet, HYPERNETS),
            ("relaxation", self.relax, RELAXATIONS),
            ("temperature schedule", self.temperature_schedule, SCHEDULES),
            ("discretisation rule", self.discretise, RULES),
            ("weights", self.weights, WEIGHTS),
            ("order", self.order, ORDERS),
            ("estimator", self.estimator, ESTIMATORS),
            ("price", self.price, PRICES),
            ("resource", self.resource, RESOURCES),
            ("regulariser", self.regulariser, REGULARISERS),
            ("constraint", self.constraint, CONSTRAINTS),
            ("perturbation", self.perturb, KINDS),
        )
        for text in self.bounds:
            parse_bound(text)
        for name in ("partial_channels", "keep_ops"):
            for value in getattr(self, name):
                if value < 1:
                    raise InputError(f"{name} must be at least 1, got {value}")
        stages = len(self.keep_ops) + 1
        if len(self.partial_channels) not in (1, stages):
            raise InputError(
                f"partial_channels must have 1 value, or one for each of the {stages} stages that "
                f"keep_ops makes, got {len(self.partial_channels)}"
            )
        for refused, message in self._refusals():
            if refused:
                raise InputError(message)

    def _refusals(self) -> list[tuple[bool, str]]:
        """Combinations without a meaning, each with what to change."""
        score = self.estimator == "score"
        sampled = RELAXATIONS[self.relax].sampled
        fewer = self.keep_ops or self.partial_channels != (1,)
        return [
            (
                self.arch_kl_end is not None and not (self.arch_kl > 0 and self.arch_kl_end > 0),
                "an arch_kl that changes exponentially must be positive at both ends, got "
                f"{self.arch_kl} and {self.arch_kl_end}",
            ),
            *(
                (
                    score and getattr(self, name) != value,
                    f"estimator 'score' works with {name} {value!r}, got "
                    f"{getattr(self, name)!r}: change one of them",
                )
                for name, value in (
                    ("relax", "straight_through"), ("order", "first"), ("price", "additive"),
                    ("resource", "expected"), ("edge_weights", False), ("keep_ops", ()),
                )
            ),
            (
                score and self.cells_per_step < 2,
                "estimator 'score' compares cells: cells_per_step must be at least 2, "
                f"got {self.cells_per_step}",
            ),
            (
                self.perturb != "none" and sampled,
                f"perturb {self.perturb!r} moves the weights of all operations, relaxation "
                f"{self.relax!r} computes one of them: add --relax softmax, or leave it out",
            ),
            (
                self.hessian and (sampled or self.relax == "dirichlet"),
                f"hessian needs a relaxation that is twice differentiable, got {self.relax!r}: "
                "add --relax softmax, or leave it out",
            ),
            (
                bool(self.bounds) and self.constraint == "none",
                f"bounds {', '.join(self.bounds)} need a way to be kept: add --constraint "
                "projection or --constraint multiplier",
            ),
            (
                not self.bounds and self.constraint != "none",
                f"constraint {self.constraint!r} has nothing to bound: add --bounds params=100k",
            ),
            (
                bool(fewer) and self.weights == "gaussian",
                "partial_channels and keep_ops leave part of a posterior unused, whose KL would "
                "be paid for: add --weights point",
            ),
            (
                len(set(self.partial_channels)) > 1 and self.weights == "generated",
                "partial_channels that change would need kernels of another size from the same "
                "embeddings: give one value, or add --weights point",
            ),
            (
                bool(self.keep_ops) and self.finalists > 0,
                "finalists are drawn from all candidates, keep_ops prunes them: leave one out",
            ),
            (
                any(
                    later >= earlier
                    for earlier, later in zip(self.keep_ops, self.keep_ops[1:], strict=False)
                ),
                f"keep_ops must fall from stage to stage, got {self.keep_ops}",
            ),
            (
                any(
                    earlier % later
                    for earlier, later in zip(
                        self.partial_channels, self.partial_channels[1:], strict=False
                    )
                ),
                "partial_channels must each divide the one before, so that channels only become "
                f"more, got {self.partial_channels}",
            ),
        ]  # fmt: skip
