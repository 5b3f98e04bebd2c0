"""Combinations without a meaning are refused by name, in one line with a remedy."""

import pytest

from cells.errors import InputError
from nas.cell_search.config import SearchConfig

DARTS = {"space": "darts"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"perturb": "adversarial"},
            "perturb 'adversarial' moves the weights of all operations, relaxation "
            "'straight_through' computes one of them: add --relax softmax, or leave it out",
        ),
        ({"perturb": "random", "relax": "straight_through"}, "perturb 'random' moves"),
        (
            {"constraint": "projection"},
            "constraint 'projection' has nothing to bound: add --bounds params=100k",
        ),
        ({"bounds": ("params=1k",)}, "bounds params=1k need a way to be kept: add --constraint"),
        (
            {"bounds": ("kl=3",), "constraint": "projection"},
            "unknown bounded cost 'kl': choose from params, flops, latency",
        ),
        (
            {"bounds": ("params",), "constraint": "projection"},
            "cannot read the budget 'params': write for example params=100k or latency=2ms",
        ),
        ({"hessian": True}, "hessian needs a relaxation that is twice differentiable, got"),
        ({"hessian": True, "relax": "dirichlet"}, "hessian needs a relaxation"),
        (
            {"discretise": "threshold", **DARTS},
            "discretise 'threshold' keeps fewer inputs than the 2 that nodes of 'darts' have",
        ),
        (
            {"edge_weights": True, **DARTS},
            "edge_weights rank the inputs of a node, discretise 'most_probable' does not",
        ),
        ({"partial_channels": (3,)}, "16 channels cannot be divided by partial_channels 3"),
        ({"partial_channels": (0,)}, "partial_channels must be at least 1, got 0"),
        (
            {"partial_channels": (4, 2)},
            "partial_channels must have 1 value, or one for each of the 1 stages",
        ),
        (
            {"partial_channels": (2, 4), "keep_ops": (2,)},
            "partial_channels must each divide the one before, so that channels only become more",
        ),
        ({"keep_ops": (2, 3)}, "keep_ops must fall from stage to stage, got (2, 3)"),
        ({"keep_ops": (0,)}, "keep_ops must be at least 1, got 0"),
        (
            {"keep_ops": (4,)},
            "keep_ops must be less than the 4 operations of 'nasbench201' besides none, got 4",
        ),
        ({"keep_ops": (2,), "finalists": 20}, "finalists are drawn from all candidates"),
        (
            {"keep_ops": (2,), "weights": "gaussian"},
            "partial_channels and keep_ops leave part of a posterior unused",
        ),
        (
            {"estimator": "score", "resource": "sampled"},
            "estimator 'score' works with resource 'expected', got 'sampled': change one of them",
        ),
        ({"estimator": "score", "edge_weights": True}, "estimator 'score' works with edge_weights"),
        ({"estimator": "score", "price": "product"}, "estimator 'score' works with price"),
        ({"regulariser": "zero-one"}, "unknown regulariser 'zero-one': did you mean 'zero_one'?"),
        (
            {"partial_channels": (2, 1), "keep_ops": (2,), "weights": "generated"},
            "partial_channels that change would need kernels of another size",
        ),
        ({"price": "product"}, "price 'product' takes the logarithm of a cost in its own unit"),
        ({"price": "sum"}, "unknown price 'sum'"),
        ({"perturb": "adverserial"}, "did you mean 'adversarial'?"),
        ({"constraint": "project"}, "did you mean 'projection'?"),
        ({"regulariser_price": -1.0}, "regulariser_price must be at least 0, got -1.0"),
        ({"perturb_radius": 0.0}, "perturb_radius must be positive and finite, got 0.0"),
        ({"bound_levels": 0}, "bound_levels must be at least 1, got 0"),
    ],
    ids=str,
)
def test_bad_combinations_are_refused_by_name(settings, message) -> None:
    with pytest.raises(InputError) as error:
        SearchConfig(**settings)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_methods_combine() -> None:
    """Everything that has a meaning together is one search."""
    SearchConfig(
        relax="dirichlet",
        hypernet="gibbs",
        costs=("latency",),
        perturb="adversarial",
        keep_ops=(3, 1),
        partial_channels=(4, 2, 1),
        edge_weights=True,
        discretise="strongest_inputs",
        regulariser="zero_one",
        bounds=("params=100k", "latency=3ms"),
        constraint="multiplier",
        **DARTS,
    )
