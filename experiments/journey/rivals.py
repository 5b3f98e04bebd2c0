"""What else fits a budget: a random cell, a scaled MobileNetV2, cells found by TPE."""

import random
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any, cast

import optuna
import torch
from timm.layers.norm_act import BatchNormAct2d
from timm.models import EfficientNet
from timm.models._efficientnet_builder import decode_arch_def, round_channels
from torch import nn

from cells.cell import Skeleton
from cells.cost import CostTable, cost_table
from cells.errors import InputError
from cells.genotype import Genotype
from cells.network import Network
from cells.sampling import random_cell
from cells.space import SearchSpace
from nas.data.batches import stratified_split
from nas.data.datasets import ImageData
from nas.retraining.config import RetrainConfig
from nas.retraining.trainer import Trainer
from nas.runtime.processes import Processes

DRAWS = 20_000
"""Random cells, of which the largest that fits is taken."""
MOBILENET = (
    ("ds_r1_k3_s1_c16",), ("ir_r2_k3_s1_e6_c24",), ("ir_r3_k3_s2_e6_c32",),
    ("ir_r4_k3_s2_e6_c64",), ("ir_r3_k3_s1_e6_c96",), ("ir_r3_k3_s2_e6_c160",),
    ("ir_r1_k3_s1_e6_c320",),
)  # fmt: skip
"""Sandler et al. 2018, table 2, in timm's notation. As everybody does for images of 32×32, the stem
and the second stage keep the size of the image."""
STEM, FEATURES = 32, 1280
TRIAL_EPOCHS = 8
"""Of a cell that TPE tries."""


def largest_random(space: SearchSpace, params: CostTable, bound: int, seed: int) -> Genotype:
    """Returns the largest of many random cells within a bound on parameters.

    Raises:
        InputError: if none of them fits.
    """
    draw = random.Random(seed)
    cells = [random_cell(space, draw) for _ in range(DRAWS)]
    sizes = params.totals(torch.tensor(cells)).tolist()
    fitting = [(size, cell) for size, cell in zip(sizes, cells, strict=True) if size <= bound]
    if not fitting:
        raise InputError(f"no random cell has {bound:,} parameters or less: allow more")
    return Genotype.from_choices(space, max(fitting)[1])


def scaled_mobilenet(classes: int, bound: int) -> nn.Module:
    """Returns the widest MobileNetV2 within a bound on parameters, all widths scaled alike.

    Raises:
        InputError: if the narrowest does not fit.
    """
    best = None
    for percent in range(5, 101):
        network = _mobilenet(classes, percent / 100)
        if sum(weight.numel() for weight in network.parameters()) > bound:
            break
        best = network
    if best is None:
        raise InputError(f"no MobileNetV2 has {bound:,} parameters or less: allow more")
    return best


def _mobilenet(classes: int, multiplier: float) -> nn.Module:
    widths = partial(round_channels, multiplier=multiplier, divisor=1, round_limit=0.0)
    network = EfficientNet(
        decode_arch_def([list(stage) for stage in MOBILENET]),
        num_classes=classes,
        stem_size=STEM,
        num_features=int(widths(FEATURES)),
        round_chs_fn=widths,
        norm_layer=BatchNormAct2d,
        act_layer=nn.ReLU6,
    )
    network.conv_stem.stride = (1, 1)
    return network


class Fixed(Trainer):
    """Trains a network that is at hand as every cell is trained."""

    def __init__(self, network: nn.Module, *args: Any) -> None:
        """
        Args:
            network: maps images to logits.
            args: those of `Trainer`, whose genotype only says how large the images are.
        """
        self._given = network
        super().__init__(*args)

    def build(self, genotype: Genotype) -> Network:
        """Returns the network."""
        self._given.auxiliary = None  # type: ignore[assignment]  # it has no second head
        return cast(Network, self._given)


def trained(trainer: Trainer) -> float:
    """Trains to the end and returns the accuracy in [0, 1] on the test part."""
    while trainer.step < trainer.total_steps:
        trainer.advance()
        trainer.look()
    counts = trainer.test()
    return int(counts.trace()) / int(counts.sum())


def _suggested(space: SearchSpace, trial: optuna.Trial) -> Genotype:
    """Asks for the inputs of each node, a pair of states, and an operation for both."""
    ops = [op for op in range(len(space.ops)) if op != space.none]
    cell = [space.none] * space.num_edges
    for node, rows in enumerate(space.incoming):
        pairs = list(combinations(rows, space.inputs_per_node or len(rows)))
        pair = pairs[trial.suggest_int(f"inputs-{node}", 0, len(pairs) - 1)]
        for place, row in enumerate(pair):
            names = [space.ops[op] for op in ops]
            chosen = trial.suggest_categorical(f"op-{node}-{place}", names)
            cell[row] = space.ops.index(chosen)
    return Genotype.from_choices(space, cell)


def tpe(
    data: ImageData, config: RetrainConfig, skeleton: Skeleton, seed: int, minutes: float
) -> dict[str, Any]:
    """Searches by the multi-objective tree-structured Parzen estimator of optuna.

    Each cell is trained for a few epochs on half of the training part and judged by its accuracy
    on the other half and its parameters. All defaults are optuna's.

    Args:
        config: how the cells are trained, but for their epochs.
        minutes: for all trials together; the last one is finished.

    Returns:
        `cells`, genotypes in JSON that no other one dominates, and how many `trials` there were.
    """
    space = skeleton.space
    train, val = stratified_split(data.train, 0.5, 0)
    parts = replace(data, train=train, test=val, val=None)
    table = cost_table("params", skeleton)
    brief = replace(config, epochs=TRIAL_EPOCHS, warmup_epochs=1)
    alone = Processes(0, 1, torch.device("cpu"))

    def judge(trial: optuna.Trial) -> tuple[float, float]:
        genotype = _suggested(space, trial)
        trial.set_user_attr("cell", genotype.to_json())
        accuracy = trained(Trainer(brief, genotype, parts, alone, seed))
        return accuracy, table.total(genotype.choices())

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    study.optimize(judge, timeout=60 * minutes)
    return {
        "cells": [trial.user_attrs["cell"] for trial in study.best_trials],
        "trials": len(study.trials),
    }
