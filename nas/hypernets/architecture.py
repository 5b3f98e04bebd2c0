"""The hypernetwork of a search for cells: λ -> logits of the operations of every edge."""

from collections.abc import Sequence

import torch
from torch.nn.functional import pad

from cells.cost import CostTable
from nas.hypernets.forms import Hypernet, build_hypernet
from nas.hypernets.lambda_range import LambdaRange
from nas.runtime.streams import stream


def build_architecture_hypernet(
    form: str,
    tables: Sequence[CostTable],
    lam_range: LambdaRange,
    *,
    lam_unit: str,
    balance: float,
    weighs_edges: bool,
    knots: int,
    hidden: int,
    rank: int,
    seed: int,
) -> Hypernet:
    """Builds a hypernetwork at its initial parameters.

    With a balance κ the Gibbs form starts from the solution for no knowledge of accuracy,
    β = λ·c / κ with c the cost in λ's unit: at it the pulls of cost and of κ KL(q(γ|λ) ‖ uniform)
    cancel for every λ, and the scores are free to learn from the likelihood alone.

    Args:
        form: a name in `HYPERNETS`.
        tables: of the costs with a λ, in order.
        lam_unit: what λ is paid for, see `CostTable.priced`.
        balance: κ, nats per example per nat; 0 starts with the form's own, gentle β.
        weighs_edges: whether there is a column for the weight of an edge, which costs nothing.
        knots, hidden, rank: sizes of the forms.
        seed: of the search.
    """
    betas = None
    if balance > 0:
        priced = torch.stack([table.priced(lam_unit)[0] for table in tables])
        widest = (priced.amax(dim=2) - priced.amin(dim=2)).amax(dim=1)
        ends = torch.tensor([lam_range.low, lam_range.high], dtype=torch.float64).T
        betas = widest[:, None] * ends / balance
    costs = torch.stack([table.table for table in tables]).float()
    costs = pad(costs, (0, 1)) if weighs_edges else costs
    _, num_edges, num_ops = costs.shape
    return build_hypernet(
        form,
        num_edges,
        num_ops,
        len(tables),
        knots=knots,
        hidden=hidden,
        rank=rank,
        costs=costs,
        betas=betas,
        generator=stream(seed, "hypernet", 0),
    )
