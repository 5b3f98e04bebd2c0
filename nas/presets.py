"""The presets of a search, by name: settings that have been tried on one kind of data."""

from dataclasses import replace

from nas.config import SearchConfig
from nas.weight_config import AnyConfig, WeightConfig

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
    ),
}

WEIGHT_PRESETS: dict[str, WeightConfig] = {
    "mlp": WeightConfig(),
    "mlp-digits": WeightConfig(
        data="digits", layers=("32",), lam_low=0.01, lam_high=10.0, epochs=150, batch_size=128
    ),
    "mlp-cifar10": WeightConfig(
        data="cifar10",
        layers=("conv16", "pool", "conv32", "pool", "conv32", "pool", "64"),
        lam_low=0.01,
        lam_high=10.0,
        lams_per_step=2,
        batch_size=256,
        w_lr=0.003,
        # Deep networks drown in the noise of larger ones before they have learned anything.
        initial_sigma=0.02,
        initial_sigma_high=0.02,
    ),
}
"""Networks without cells whose weights follow λ."""

ALL_PRESETS: dict[str, AnyConfig] = {**PRESETS, **WEIGHT_PRESETS}
