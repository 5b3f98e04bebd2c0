"""Methods of the literature as settings, by name: what each changes in a search.

None of them touches λ: the cells stay those of a hypernetwork over a range of λ. With `CORNER`
besides, which takes λ and the distribution's KL away, they are the searches of the papers, for one
cell each. docs/methods.md has the equation and the source of every entry.
"""

from dataclasses import replace
from typing import Any

from cells.errors import unknown
from nas.config import SearchConfig

CORNER: dict[str, Any] = {"hypernet": "constant", "lam": (1e-6,), "arch_kl": 0.0}
"""One architecture, whatever it costs."""

SAMPLED: dict[str, Any] = {"relax": "straight_through", "temperature_end": 0.2}
"""One operation per edge is computed."""

DARTS: dict[str, Any] = {
    "relax": "softmax", "temperature_end": 1.0, "discretise": "strongest_inputs",
}  # fmt: skip
"""All operations are, in the proportions of a softmax."""

METHODS: dict[str, dict[str, Any]] = {
    "darts": DARTS,
    "darts-second": {**DARTS, "order": "second"},
    "snas": {
        "relax": "gumbel", "temperature_end": 0.03, "temperature_schedule": "exponential",
        "resource": "sampled",
    },
    "gdas": {"relax": "straight_through", "temperature": 10.0, "temperature_end": 0.1},
    "fbnet": {
        "relax": "gumbel", "temperature": 5.0, "temperature_end": 0.1,
        "temperature_schedule": "exponential", "costs": ("latency",), "price": "product",
        "lam_unit": "raw", "lam_low": (0.06,), "lam_high": (6.0,), "resource": "sampled",
    },
    "drnas": {"relax": "dirichlet", "keep_ops": (3,), "partial_channels": (4, 2)},
    "fairdarts": {
        "relax": "sigmoid", "temperature_end": 1.0, "space": "darts_free",
        "regulariser": "zero_one", "regulariser_price": 10.0, "discretise": "threshold",
    },
    "pc-darts": {**DARTS, "partial_channels": (4,), "edge_weights": True},
    "sdarts-rs": {**DARTS, "perturb": "random", "hessian": True},
    "sdarts-adv": {**DARTS, "perturb": "adversarial", "hessian": True},
    "rc-darts": {"relax": "softmax", "temperature_end": 1.0, "constraint": "projection"},
    "budgeted": {"relax": "straight_through", "constraint": "multiplier"},
    "darts-cc": {
        "relax": "gumbel_example", "hypernet": "piecewise", "knots": 5, "order": "second",
        "space": "darts_free", "lam_unit": "raw", "lam_low": (1e-8,), "lam_high": (1e-4,),
        "arch_kl": 0.0,
    },
    "hypernetworks": {**SAMPLED, "weights": "generated"},
    "random-search": {
        **SAMPLED, "hypernet": "constant", "trained_cells": "prior", "finalists": 200,
        "finalist_source": "random", "naswot": 0.0,
    },
    "evolution": {
        **SAMPLED, "hypernet": "constant", "trained_cells": "prior", "finalists": 200,
        "finalist_source": "evolved", "naswot": 0.0,
    },
    "gibbs": {**SAMPLED, "hypernet": "gibbs"},
}  # fmt: skip

RESTING = ("random-search", "evolution")
"""Methods whose architecture never moves: every epoch is one of the warm-up."""


def options(name: str) -> list[str]:
    """A method's settings as a command line has them; `settled` does the rest.

    Raises:
        InputError: if there is no such method.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    args: list[str] = []
    for key, value in METHODS[name].items():
        values = value if isinstance(value, tuple) else (value,)
        args += [f"--{key.replace('_', '-')}", *map(str, values)]
    # A preset's warm-up may be longer than the search that the user asks for.
    return [*args, "--warmup-epochs", "0"] if name in RESTING else args


def settled(config: SearchConfig, name: str) -> SearchConfig:
    """The configuration with its architecture at rest, if that is what the method wants."""
    return replace(config, warmup_epochs=config.epochs) if name in RESTING else config
