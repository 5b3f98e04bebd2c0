"""Generated networks on other data: Boston housing and CIFAR-10."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor

from experiments.records import finished, recorded
from nas.weight_search.config import WEIGHT_PRESETS, WeightConfig
from nas.weight_search.evidence import evidence, means, quality
from nas.weight_search.networks import Generated

SPLITS = 10
LAMS = (0.01, 0.1, 1.0, 10.0)
HIDDEN = 50
BOSTON = WeightConfig(
    data="boston.csv", layers=(str(HIDDEN),), lam_low=LAMS[0], lam_high=LAMS[-1], epochs=400,
    batch_size=64, w_lr=0.01, grid=len(LAMS), threads=1, device="cpu",
)  # fmt: skip
PENALTIES = (1e-4, 1e-2, 1.0, 10.0)
"""Weight decays among which cross-validation chooses the plain network's."""
CIFAR_LAMS = (0.01, 0.1, 1.0, 10.0)
CIFAR_EPOCHS = 5
"""What 2 cores do in a quarter of an hour."""


def _spread(values: list[float], digits: int) -> str:
    return f"{np.mean(values):,.{digits}f} ± {np.std(values, ddof=1):,.{digits}f}"


def boston_split(out: Path, data_root: Path, split: int) -> dict[str, Any]:
    """One random 90/10 split: ours at every λ, ridge regression, a plain network."""

    def make() -> dict[str, Any]:
        folder = out / f"boston-{split}"
        config = replace(BOSTON, data_root=str(data_root), split_seed=split, seed=split)
        generated = Generated.load(finished(config, folder))
        task, chain = generated.task(), generated.chain
        posteriors = generated.at(LAMS)
        settings: dict[str, Any] = {"prior_variance": config.prior_variance, "draws": 100}
        found = {
            name: evidence(task, chain, posteriors, torch.tensor(LAMS), part, **settings)
            for name, part in (("train", task.train), ("test", task.test))
        }
        x, y = task.train.x.numpy(), task.train.y.numpy()
        plain = GridSearchCV(
            MLPRegressor(hidden_layer_sizes=(HIDDEN,), max_iter=3000, random_state=split),
            {"alpha": PENALTIES}, cv=3,
        )  # fmt: skip
        others = {"ridge": RidgeCV(np.logspace(-3, 3, 25)), "plain": plain}
        errors = {
            name: model.fit(x, y).predict(task.test.x.numpy()) - task.test.y.numpy()
            for name, model in others.items()
        }
        return {
            "rmse": quality(task, chain, means(posteriors), task.test)[0].tolist(),
            "evidence": found["train"].evidence[0].tolist(),
            "test_log_likelihood": (found["test"].log_likelihood[0] / len(task.test)).tolist(),
            "kl": found["train"].kl[0].tolist(),
            **{
                name: task.target_std * float(np.sqrt(np.mean(error**2)))
                for name, error in errors.items()
            },
        }

    return recorded(out / f"boston-{split}.json", make)


def boston_table(out: Path, data_root: Path) -> str:
    """Test error and evidence against λ over random splits, Markdown."""
    found = [boston_split(out, data_root, split) for split in range(SPLITS)]
    lines = [
        "| model | test RMSE, $1000 | evidence of the training part, nats | "
        "test log-likelihood, nats per house | KL, nats |",
        "|:--|--:|--:|--:|--:|",
    ]
    for column, lam in enumerate(LAMS):
        cells = [
            _spread([f["rmse"][column] for f in found], 2),
            _spread([f["evidence"][column] for f in found], 0),
            _spread([f["test_log_likelihood"][column] for f in found], 2),
            _spread([f["kl"][column] for f in found], 0),
        ]
        lines.append(f"| λ = {lam:g} | " + " | ".join(cells) + " |")
    for name, title in (("ridge", "ridge regression"), ("plain", f"network with {HIDDEN} units")):
        lines.append(f"| {title} | {_spread([f[name] for f in found], 2)} | | | |")
    return "\n".join(lines)


def cifar10_table(out: Path, data_root: Path, threads: int) -> str:
    """The small convolution network at four λs, Markdown."""
    folder = out / "cifar10"
    config = replace(
        WEIGHT_PRESETS["mlp-cifar10"], data_root=str(data_root), threads=threads, device="cpu",
        grid=len(CIFAR_LAMS), draws=3, epochs=CIFAR_EPOCHS,
    )  # fmt: skip
    generated = Generated.load(finished(config, folder))
    task, chain = generated.task(), generated.chain
    posteriors = generated.at(CIFAR_LAMS)
    found = evidence(
        task, chain, posteriors, torch.tensor(CIFAR_LAMS), task.train,
        prior_variance=config.prior_variance, draws=3,
    )  # fmt: skip
    accuracy = quality(task, chain, means(posteriors), task.test)
    lines = [
        "| λ | test accuracy | evidence, nats, 50,000 images | KL, nats |",
        "|--:|--:|--:|--:|",
    ]
    for column, lam in enumerate(CIFAR_LAMS):
        values = (float(part[0, column]) for part in (found.evidence, found.kl))
        cells = [f"{lam:g}", f"{float(accuracy[0, column]):.4f}", *(f"{v:,.0f}" for v in values)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
