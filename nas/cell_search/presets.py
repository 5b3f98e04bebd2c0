"""Settings by name: presets, tried on one kind of data, and the methods of the literature.

A method says what it changes in a search, and nothing of λ: the cells stay those of a hypernetwork
over a range of λ. With `CORNER` besides, which takes λ and the distribution's KL away, they are the
searches of the papers, for one cell each. docs/methods.md has the equation and source of each.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cells.errors import unknown
from nas.cell_search.config import SearchConfig
from nas.runtime.commandline import parse

_DARTS = SearchConfig(
    space="darts",
    num_cells=8,
    relax="softmax",
    temperature_end=1.0,
    epochs=50,
)

_MNIST = SearchConfig(
    data="mnist",
    space="darts",
    channels=8,
    num_cells=3,
    stem_stride=2,
    crop_padding=2,
    epochs=12,
    warmup_epochs=5,
    batch_size=64,
    w_lr=0.1,
    arch_lr=0.02,
    arch_weight_decay=0.0,
    threads=1,
    chance=25,
)

PRESETS: dict[str, SearchConfig] = {
    "digits": SearchConfig(
        data="digits",
        space="darts",
        channels=8,
        num_cells=2,
        crop_padding=1,
        epochs=120,
        warmup_epochs=60,
        batch_size=64,
        w_lr=0.1,
        arch_lr=0.03,
        arch_weight_decay=0.0,
        threads=1,
    ),
    "mnist": _MNIST,
    "fashion": replace(_MNIST, data="fashion", flip=True),
    "cifar10": replace(_DARTS, data="cifar10", crop_padding=4, flip=True),
    # DARTS-CC, https://github.com/Intelligent-Systems-Phystech/DARTS-CC,
    # configs/mini_cifar_hyper_final/cifar_hyper.cfg and preproc.py; SGD is that of DARTS. Not here:
    # its classifier depends on λ, too, its knots move, and its logits start wider than ours.
    "darts-cc": SearchConfig(
        data="cifar10",
        crop_padding=4,
        flip=True,
        space="darts_free",
        channels=16,
        num_cells=3,
        lam_unit="raw",
        lam_low=(1e-8,),
        lam_high=(1e-4,),
        arch_kl=0.0,
        hypernet="piecewise",
        knots=5,
        relax="gumbel_example",
        temperature=1.0,
        temperature_end=0.2,
        order="second",
        epochs=50,
        batch_size=64,
        arch_lr=1e-3,
    ),
    "nasbench201": SearchConfig(
        data="cifar10",
        channels=16,
        num_cells=9,
        crop_padding=4,
        flip=True,
        shrink=2,
        lam_high=(30.0,),
        arch_kl=0.006,
        hypernet="piecewise",
        knots=9,
        estimator="score",
        score_lams=32,
        finalists=2000,
        finalist_source="mixed",
        searches=2,
        threads=1,
        epochs=45,
        warmup_epochs=40,
        op_probs=(0.1, 0.25, 0.2, 0.35, 0.1),
        trained_cells="prior",
        batch_size=64,
        w_lr=0.1,
        arch_lr=0.02,
        arch_lr_end=0.0,
        arch_beta1=0.9,
        arch_weight_decay=0.0,
        precision="auto",
        chance=25,
    ),
}


# The search of nasbench201 in the space of DARTS. As there, a quarter of the operations are skips
# and two in three convolutions; as many edges are absent as a node with two inputs leaves out.
PRESETS["images"] = replace(
    PRESETS["nasbench201"],
    space="darts",
    num_cells=3,
    epochs=50,
    warmup_epochs=45,
    arch_kl=0.02,
    arch_kl_end=0.006,
    finalists=500,
    searches=1,
    op_probs=(0.43, 0.04, 0.04, 0.14, 0.0875, 0.0875, 0.0875, 0.0875),
    w_lr=0.03,
    chance=50,
)
"""One's own images, of about 32×32 pixels, which are searched at half their size."""
SIDE = 32
"""Pixels to which files of images are brought, if nothing else is asked for."""


def preset_for(path: str) -> SearchConfig:
    """Returns the preset `images` for a file or folder of one's own.

    Args:
        path: of something that exists, as `--data` takes it.
    """
    size = None if path.endswith(".npz") else SIDE
    return replace(PRESETS["images"], data=path, image_size=size)


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
    """Returns a method's settings as a command line has them; `settled` does the rest.

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


def with_method(default: SearchConfig, name: str, args: Sequence[str], prog: str) -> SearchConfig:
    """Reads a user's options over default settings that a method has changed.

    Raises:
        InputError: if there is no such method, or an option does not fit.
    """
    return settled(parse(SearchConfig, default, [*options(name), *args], prog), name)


def settled(config: SearchConfig, name: str) -> SearchConfig:
    """Returns the configuration, its architecture at rest if the method wants that."""
    return replace(config, warmup_epochs=config.epochs) if name in RESTING else config
