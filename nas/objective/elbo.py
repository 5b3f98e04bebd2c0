"""The generalised evidence lower bound and its terms.

    −L(λ) = E_q[−log p(y | x, w, γ)] + Σ_k λ_k · C_k(q) + κ · KL(q(γ|λ) ‖ uniform)

all in nats per example, and, if a search asks for them, a regulariser of q(γ|λ) and the multipliers
of bounds on costs. The KL / N of Gaussian weights is one of the C_k, or, where λ prices other
costs, a term of its own at its price in the evidence lower bound, 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells.supernet import Supernet
from nas.architecture.budgets import Budgets
from nas.architecture.distribution import ArchitectureDistribution, edge_shares
from nas.architecture.relaxations import Relaxed, perturbed
from nas.hypernets.forms import Hypernet
from nas.objective.config import ObjectiveConfig
from nas.objective.costs import kl_costs
from nas.objective.likelihood import RecordedLikelihood
from nas.objective.prices import PRICES, REGULARISERS, priced
from nas.objective.score_function import Scored, surrogate_loss
from nas.objective.terms import StepInputs, Terms, mean_terms
from nas.runtime.metrics import accuracy


class NegativeElbo(nn.Module):
    """−L(λ) as a function of all parameters: the supernet's and the hypernetwork's.

    A module, so that `torch.func.functional_call` can evaluate it at other weights or another
    architecture than its own.
    """

    tables: Tensor
    offsets: Tensor
    prior_logits: Tensor

    def __init__(
        self,
        supernet: Supernet,
        hypernet: Hypernet,
        distribution: ArchitectureDistribution,
        tables: Tensor,
        offsets: Tensor,
        *,
        kl_column: int | None = None,
        kl_scale: float = 0.0,
        prior_variance: float = 1.0,
        op_probs: Sequence[float] | None = None,
        weight_noise: torch.Generator | None = None,
        autocast: bool = False,
        config: ObjectiveConfig | None = None,
        class_weights: Tensor | None = None,
    ) -> None:
        """
        Args:
            distribution: what the hypernetwork's output means.
            tables: (num_costs, edges, ops), costs of the operations in the units of the λs.
            offsets: (num_costs,), costs of the network around them, alike.
            kl_column: which of the costs is the KL of the weights, taken from them each time.
            kl_scale: 1 / N for N training examples.
            prior_variance: σ₀² of the weights' prior.
            op_probs: probabilities (ops,) of the operations where a sample asks for those from
                before the search; None makes all alike.
            weight_noise: source of the noise of Gaussian weights; reseeded by every sample.
            autocast: whether the supernet, and nothing else, computes in bfloat16.
            config: how the terms are put together; None for the bound as it is above.
            class_weights: (classes,) weights of the examples' likelihoods; None makes all alike.
        """
        super().__init__()
        self.supernet = supernet
        self.hypernet = hypernet
        self.distribution = distribution
        self.relaxation = distribution.relaxation
        self.register_buffer("tables", tables)
        self.register_buffer("offsets", offsets)
        self.kl_column = kl_column
        self.kl_scale = kl_scale
        self.prior_variance = prior_variance
        ops = tables.shape[2]
        probs = torch.tensor(op_probs or [1 / ops] * ops, dtype=torch.float64)
        self.register_buffer("prior_logits", probs.log().to(tables))
        self.weight_noise = weight_noise
        self.autocast = autocast
        self.config = config or ObjectiveConfig()
        self.class_weights = class_weights
        self.recorded: RecordedLikelihood | None = None
        """Recordings of the likelihood at the supernet's own weights, on a GPU."""
        self.multipliers: tuple[Budgets, Tensor] | None = None
        """Bounds on expected costs, and their multipliers (num_bounds,)."""

    def restrict(self, kept: Tensor) -> None:
        """Leaves only some candidates on every edge.

        Args:
            kept: (edges, n) int64, increasing column numbers.
        """
        self.distribution = replace(self.distribution, kept=kept.to(self.tables.device))
        self.supernet.columns = [tuple(row) for row in kept.tolist()]

    def expected_weights(self, unit_lams: Tensor) -> Tensor:
        """Returns the operations' expected weights (n, edges, ops) at unit λs (n, num_costs)."""
        return self.distribution.log_probs(self.hypernet(unit_lams)).exp()

    def arch_logits(
        self, sample: StepInputs, raw: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the logits, of the hypernetwork or the prior, of the candidates that are left.

        Args:
            raw: (num_lams, edges, columns) in the place of what the hypernetwork says.

        Returns:
            Logits (num_lams, edges, n), and (num_lams, edges) of the edges if they are weighed.
        """
        raw = self.hypernet(sample.unit_lams) if raw is None else raw
        logits, edges = self.distribution.op_logits(raw), self.distribution.edge_logits(raw)
        if sample.prior:
            prior = self.prior_logits.expand(*raw.shape[:-1], -1)
            logits = self.distribution.left(prior)
            edges = None if edges is None else torch.zeros_like(edges)
        return logits, edges

    def op_weights(self, sample: StepInputs, logits: Tensor) -> Iterator[Relaxed]:
        """Yields the operations' weights at each λ, perturbed if the sample says so; see `Relaxed`.

        Args:
            logits: (num_lams, edges, n) of the candidates that are left.
        """
        deltas: Sequence[Tensor | None] = sample.perturbations or [None] * len(logits)
        for own, noise, delta in zip(logits, sample.relax_noise, deltas, strict=True):
            weights, active = self.relaxation(own, noise, sample.temperature)
            if delta is not None:
                delta = self.distribution.left(delta)
                weights = perturbed(weights, delta, sum_to_one=self.relaxation.sum_to_one)
            yield self.distribution.everywhere(weights, active)

    def unit_costs(self) -> tuple[Tensor, Tensor]:
        """Returns unit costs at the present weights: those with a λ, and KL / N if it has none.

        Returns:
            Tables (num_costs or num_costs + 1, edges, ops) and offsets alike.
        """
        if self.weight_noise is None:
            return self.tables, self.offsets
        table, rest = kl_costs(self.supernet, self.prior_variance)
        table, rest = self.kl_scale * table, self.kl_scale * rest
        if self.kl_column is None:
            return torch.cat([self.tables, table[None]]), torch.cat([self.offsets, rest[None]])
        tables, offsets = self.tables.clone(), self.offsets.clone()
        tables[self.kl_column], offsets[self.kl_column] = table, rest
        return tables, offsets

    def forward(
        self,
        sample: StepInputs,
        *,
        balance_lams: bool = False,
        arch_logits: Tensor | None = None,
        own: Sequence[Tensor] | None = None,
    ) -> Terms:
        """Evaluates the bound's terms.

        Args:
            arch_logits: (num_lams, edges, columns) in the place of the hypernetwork's.
            balance_lams: divide the objective of each λ by 1 + Σ_k λ_k, or what its price says. No
                λ's own optimum moves. But gradients are proportional to λ, and all λs share the
                hypernetwork's parameters: undivided, large λs would drown small ones.
            own: the supernet's parameters as they are, or the same without gradient, if the terms
                are at these and are differentiated once: then recordings may be used.
        """
        if self.weight_noise is not None:
            self.weight_noise.manual_seed(sample.weight_seed)
        unit_costs = self.unit_costs()
        logits, edge_logits = self.arch_logits(sample, arch_logits)
        terms = []
        for number, (weights, active) in enumerate(self.op_weights(sample, logits)):
            shares = None
            if edge_logits is not None:
                shares = edge_shares(self.supernet.skeleton.space, edge_logits[number])
            found = self.likelihood(sample.x, sample.y, weights, active, shares, own)
            lam, own_logits = sample.lams[number], logits[number]
            each = self._terms(sample, lam, own_logits, weights, found, unit_costs, balance_lams)
            terms.append(each)
        return mean_terms(terms)

    def likelihood(
        self,
        x: Tensor,
        y: Tensor,
        weights: Tensor,
        active: Sequence[int] | None,
        shares: Tensor | None = None,
        own: Sequence[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Returns the supernet's mean negative log-likelihood, weighted by class if classes have
        weights, and accuracy, scalars.

        Args:
            x, y: images (batch, channels, height, width) and labels (batch,).
            weights, active, shares: see `Supernet.forward`.
            own: see `forward`; without it nothing recorded is used.
        """
        if self.recorded is not None and own is not None:
            found = self.recorded(own, x, y, weights, active, shares)
            if found is not None:
                return found
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            logits: Tensor = self.supernet(x, weights, active, shares)
        logits = logits.float() if logits.dtype == torch.bfloat16 else logits
        if self.class_weights is None:
            nll = F.cross_entropy(logits, y)
        else:
            nll = (self.class_weights[y] * F.cross_entropy(logits, y, reduction="none")).mean()
        return nll, accuracy(logits.detach(), y)

    def _terms(
        self,
        sample: StepInputs,
        lam: Tensor,
        logits: Tensor,
        weights: Tensor,
        found: tuple[Tensor, Tensor],
        unit_costs: tuple[Tensor, Tensor],
        balance_lams: bool,
    ) -> Terms:
        """Returns the bound's terms at one λ.

        Args:
            lam: (num_costs,).
            logits: (edges, n), of the candidates that are left.
            weights: what the relaxation made of them.
            found: what `likelihood` returned.
            unit_costs: what `unit_costs` returned.
        """
        config = self.config
        (nll, accuracy), (tables, offsets) = found, unit_costs
        log_probs = self.relaxation.log_probs(logits)
        probs = self.distribution.everywhere(log_probs.exp()).weights
        spent = probs
        if config.resource == "sampled":
            spent = weights.mean(dim=0) if weights.ndim == 3 else weights
        all_costs = offsets + (tables * spent).sum(dim=(1, 2))
        costs, weight_kl = all_costs[: len(lam)], all_costs[len(lam) :].sum()
        arch_kl = self.relaxation.kl(log_probs, logits)
        penalty = self._penalty(probs)
        loss, scale, pull = PRICES[config.price](nll, lam.to(costs), costs)
        total = loss + weight_kl + sample.arch_kl_price * arch_kl + penalty
        objective = total / (pull if balance_lams else scale)
        return Terms(total, nll, costs, arch_kl, weight_kl, penalty, objective, accuracy)

    def _penalty(self, probs: Tensor) -> Tensor:
        """Returns what regulariser and bounds add, a scalar, for expected weights (edges, ops)."""
        regularise = REGULARISERS[self.config.regulariser]
        penalty = self.config.regulariser_price * regularise(probs)
        if self.multipliers is not None:
            bounds, multipliers = self.multipliers
            penalty = penalty + priced(bounds.expected(probs) - 1, multipliers)
        return penalty

    @torch.no_grad()
    def score(self, sample: StepInputs, choices: Tensor) -> tuple[Tensor, Tensor]:
        """Scores discrete cells by likelihood and accuracy on the images of a sample.

        Args:
            choices: (n, edges) int64.

        Returns:
            Mean negative log-likelihoods, nats per example, and accuracies, (n,) each.
        """
        if self.weight_noise is not None:
            self.weight_noise.manual_seed(sample.weight_seed)
        nlls, accuracies = [], []
        one_hots = F.one_hot(choices, self.tables.shape[2]).to(self.tables)
        for cell, one_hot in zip(choices.tolist(), one_hots, strict=True):
            nll, accuracy = self.likelihood(sample.x, sample.y, one_hot, cell, own=())
            nlls.append(nll)
            accuracies.append(accuracy)
        return torch.stack(nlls), torch.stack(accuracies)

    def from_scores(
        self, sample: StepInputs, memory: Sequence[Scored], nll: Tensor, accuracy: Tensor
    ) -> Terms:
        """Evaluates the bound's terms, λs balanced, from scored cells.

        Values of the likelihood are those of the present step's cells; the gradient with respect to
        the hypernetwork is the score function's, from all cells in memory
        (`nas/objective/score_function.py`).

        Args:
            memory: scored cells of this step and earlier ones.
            nll: mean of this step's cells, a scalar.
            accuracy: mean accuracy of this step's cells, a scalar.
        """
        logits, _ = self.arch_logits(sample)
        log_probs = self.relaxation.log_probs(logits)  # (num_lams, edges, ops)
        probs = log_probs.exp()
        tables, offsets = (part.detach() for part in self.unit_costs())
        lams = sample.lams.to(tables)
        # The KL of the weights has the price 1 where no λ prices it.
        by_cost = torch.cat([lams, lams.new_ones(len(lams), len(tables) - lams.shape[1])], dim=1)
        one_hots = F.one_hot(torch.cat([cells.choices for cells in memory]), tables.shape[2])
        prices = by_cost @ (tables.flatten(1) @ one_hots.to(tables).flatten(1).T)
        expected = probs.detach().flatten(1) @ tables.flatten(1).T  # (num_lams, num_costs)
        all_costs = offsets + expected
        arch_kl = self.relaxation.kl(log_probs, logits)
        penalty = torch.stack([self._penalty(each) for each in probs])
        total = nll + (by_cost * all_costs).sum(dim=1) + sample.arch_kl_price * arch_kl
        expected_prices = (by_cost * expected).sum(dim=1)
        total = total + penalty + surrogate_loss(log_probs, memory, prices, expected_prices)
        costs, weight_kl = all_costs.mean(dim=0).split([lams.shape[1], len(tables) - lams.shape[1]])
        objective = (total / (1 + lams.sum(dim=1))).mean()
        return Terms(
            total.mean(), nll, costs, arch_kl.mean(), weight_kl.sum(), penalty.mean(), objective,
            accuracy,
        )  # fmt: skip
