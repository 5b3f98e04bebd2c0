"""The generalised evidence lower bound and its terms.

    −L(λ) = E_q[−log p(y | x, w, γ)] + Σ_k λ_k · C_k(q) + κ · KL(q(γ|λ) ‖ uniform)

all in nats per example. The KL / N of Gaussian weights is one of the C_k, or, where λ prices other
costs, a term of its own at its price in the evidence lower bound, 1.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cells.supernet import Supernet
from nas.hypernet import Hypernet
from nas.metrics import accuracy
from nas.posterior import kl
from nas.relax import Relaxation
from nas.score import Scored, expected_loss


class Terms(NamedTuple):
    """A negative evidence lower bound and what it is made of; the mean over some λs."""

    total: Tensor
    """nll + λ·costs + weight_kl + κ·arch_kl, a scalar."""
    nll: Tensor
    """Mean negative log-likelihood, nats per example, a scalar."""
    costs: Tensor
    """Expected cost of each kind, (num_costs,), in the unit of its λ: 0 cheapest … 1 dearest, or
    parameters, multiply–adds, microseconds; KL / N for `kl`."""
    arch_kl: Tensor
    """KL(q(γ|λ) ‖ uniform) in nats, a scalar."""
    weight_kl: Tensor
    """Expected KL / N of Gaussian weights where no λ prices it, else 0; a scalar."""
    objective: Tensor
    """What is minimised: the total, or with `even` the totals over 1 + Σλ; a scalar."""
    accuracy: Tensor
    """Share of examples classified correctly, a scalar without gradient."""

    def detached(self) -> "Terms":
        """The same values without their graph."""
        return Terms(*(term.detach() for term in self))


class Sample(NamedTuple):
    """Everything random about one evaluation of the bound, so that it can be repeated."""

    x: Tensor
    """Images (batch, channels, height, width)."""
    y: Tensor
    """Labels (batch,) int64."""
    lams: Tensor
    """(num_lams, num_costs) float64, nats per unit of cost."""
    unit_lams: Tensor
    """(num_lams, num_costs), positions of log λ in its range."""
    relax_noise: Sequence[Tensor | None]
    """Noise of the relaxation for each λ."""
    weight_seed: int
    """Seed of the noise of Gaussian weights."""
    temperature: float
    """Temperature of the relaxation."""
    arch_kl_price: float
    """κ, nats per example per nat."""
    prior: bool
    """Whether operations are as likely as before any search, whatever the hypernetwork says."""


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
        relaxation: Relaxation,
        tables: Tensor,
        offsets: Tensor,
        *,
        kl_column: int | None = None,
        kl_scale: float = 0.0,
        prior_variance: float = 1.0,
        op_probs: Sequence[float] | None = None,
        weight_noise: torch.Generator | None = None,
        autocast: bool = False,
    ) -> None:
        """
        Args:
            tables: (num_costs, edges, ops), costs of the operations in the units of the λs.
            offsets: (num_costs,), costs of the network around them, alike.
            kl_column: which of the costs is the KL of the weights, taken from them each time.
            kl_scale: 1 / N for N training examples.
            prior_variance: σ₀² of the weights' prior.
            op_probs: probabilities (ops,) of the operations where a sample asks for those from
                before the search; None makes all alike.
            weight_noise: source of the noise of Gaussian weights; reseeded by every sample.
            autocast: whether the supernet, and nothing else, computes in bfloat16.
        """
        super().__init__()
        self.supernet = supernet
        self.hypernet = hypernet
        self.relaxation = relaxation
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

    def unit_costs(self) -> tuple[Tensor, Tensor]:
        """Unit costs at the present weights: those with a λ, and the KL / N if it has none.

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

    def forward(self, sample: Sample, *, even: bool = False) -> Terms:
        """Evaluates the bound's terms.

        Args:
            even: weigh the objective of each λ by 1 / (1 + Σ_k λ_k). No λ's own optimum moves, but
                the gradients of large λs, which are proportional to λ, do not drown those of small
                ones where all of them share the hypernetwork's parameters. A λ for a single
                parameter is so small that all weights are 1.
        """
        if self.weight_noise is not None:
            self.weight_noise.manual_seed(sample.weight_seed)
        tables, offsets = self.unit_costs()
        arch_logits = self.hypernet(sample.unit_lams)  # (num_lams, edges, ops)
        if sample.prior:
            arch_logits = self.prior_logits.expand_as(arch_logits)
        terms = []
        for lam, logits, noise in zip(sample.lams, arch_logits, sample.relax_noise, strict=True):
            weights, active = self.relaxation(logits, noise, sample.temperature)
            class_logits = self._class_logits(sample.x, weights, active)
            nll = F.cross_entropy(class_logits, sample.y)
            right = accuracy(class_logits.detach(), sample.y)
            terms.append(
                self._terms(nll, right, lam, logits, tables, offsets, sample.arch_kl_price, even)
            )
        return mean_terms(terms)

    def _class_logits(self, x: Tensor, weights: Tensor, active: Sequence[int] | None) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.autocast):
            class_logits: Tensor = self.supernet(x, weights, active)
        return class_logits.float() if class_logits.dtype == torch.bfloat16 else class_logits

    @staticmethod
    def _terms(
        nll: Tensor,
        right: Tensor,
        lam: Tensor,
        arch_logits: Tensor,
        tables: Tensor,
        offsets: Tensor,
        arch_kl_price: float,
        even: bool,
    ) -> Terms:
        """The bound's terms at one λ, (num_costs,), with arch_logits (edges, ops)."""
        log_probs = arch_logits.log_softmax(dim=-1)
        probs = log_probs.exp()
        all_costs = offsets + (tables * probs).sum(dim=(1, 2))
        costs, weight_kl = all_costs[: len(lam)], all_costs[len(lam) :].sum()
        arch_kl = (probs * log_probs).sum() + len(probs) * math.log(probs.shape[1])
        total = nll + (lam.to(costs) * costs).sum() + weight_kl + arch_kl_price * arch_kl
        objective = total / (1 + lam.sum().to(total)) if even else total
        return Terms(total, nll, costs, arch_kl, weight_kl, objective, right)

    @torch.no_grad()
    def score(self, sample: Sample, choices: Tensor) -> tuple[Tensor, Tensor]:
        """Likelihood and accuracy of discrete cells on the images of a sample.

        Args:
            choices: (n, edges) int64.

        Returns:
            Mean negative log-likelihoods, nats per example, and accuracies, (n,) each.
        """
        if self.weight_noise is not None:
            self.weight_noise.manual_seed(sample.weight_seed)
        nlls, rights = [], []
        one_hots = F.one_hot(choices, self.tables.shape[2]).to(self.tables)
        for cell, one_hot in zip(choices.tolist(), one_hots, strict=True):
            class_logits = self._class_logits(sample.x, one_hot, cell)
            nlls.append(F.cross_entropy(class_logits, sample.y))
            rights.append(accuracy(class_logits, sample.y))
        return torch.stack(nlls), torch.stack(rights)

    def from_scores(
        self, sample: Sample, memory: Sequence[Scored], nll: Tensor, right: Tensor
    ) -> Terms:
        """The bound's terms, weighed evenly over λs, from scored cells.

        Values of the likelihood are those of the present step's cells; the gradient with respect to
        the hypernetwork is the score function's, from all cells in memory (`nas/score.py`).

        Args:
            memory: scored cells of this step and earlier ones.
            nll: mean of this step's cells, a scalar.
            right: mean accuracy of this step's cells, a scalar.
        """
        log_probs = self.hypernet(sample.unit_lams).log_softmax(dim=-1)  # (num_lams, edges, ops)
        probs = log_probs.exp()
        tables, offsets = (part.detach() for part in self.unit_costs())
        lams = sample.lams.to(tables)
        # The KL of the weights has the price 1 where no λ prices it.
        by_cost = torch.cat([lams, lams.new_ones(len(lams), len(tables) - lams.shape[1])], dim=1)
        one_hots = F.one_hot(torch.cat([cells.choices for cells in memory]), tables.shape[2])
        prices = by_cost @ (tables.flatten(1) @ one_hots.to(tables).flatten(1).T)
        expected = expected_loss(log_probs, memory, prices)
        all_costs = offsets + probs.detach().flatten(1) @ tables.flatten(1).T
        arch_kl = (probs * log_probs).sum(dim=(1, 2)) + probs.shape[1] * math.log(probs.shape[2])
        total = nll + (by_cost * all_costs).sum(dim=1) + sample.arch_kl_price * arch_kl
        total = total + expected - expected.detach()
        costs, weight_kl = all_costs.mean(dim=0).split([lams.shape[1], len(tables) - lams.shape[1]])
        objective = (total / (1 + lams.sum(dim=1))).mean()
        return Terms(
            total.mean(), nll, costs, arch_kl.mean(), weight_kl.sum(), objective, right
        )  # fmt: skip


def mean_terms(terms: Sequence[Terms]) -> Terms:
    """The mean over λs."""
    return Terms(*(torch.stack(term).mean(dim=0) for term in zip(*terms, strict=True)))


def kl_costs(supernet: Supernet, prior_variance: float) -> tuple[Tensor, Tensor]:
    """KL of a Gaussian supernet's weights to their prior, operation by operation.

    Returns:
        (edges, ops) table and the scalar of everything that stands on no edge, in nats.
    """
    space = supernet.skeleton.space
    zero = supernet.body.classifier.weight.new_zeros(())
    terms: dict[tuple[int, int], Tensor] = {}
    for row, column, op in supernet.candidates():
        terms[row, column] = terms.get((row, column), zero) + kl(op, prior_variance)
    rows = [
        torch.stack([terms.get((row, column), zero) for column in range(len(space.ops))])
        for row in range(space.num_edges)
    ]
    table = torch.stack(rows)
    return table, kl(supernet, prior_variance) - table.sum()


def entropy(arch_logits: Tensor) -> Tensor:
    """Mean entropy of the edges' distributions, nats, (…) for logits (…, edges, ops)."""
    log_probs = arch_logits.log_softmax(dim=-1)
    return -(log_probs.exp() * log_probs).sum(dim=-1).mean(dim=-1)
