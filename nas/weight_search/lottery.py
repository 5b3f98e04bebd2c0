"""Lottery tickets: magnitude pruning, round by round, each from the initial weights.

    python -m nas lottery --data mnist --rounds 8 --out runs/lottery

Frankle, Carbin (2019): a network is trained, a share of its smallest weights is removed, those that
stay go back to their initial values, and it is trained again. What is left after some rounds is a
ticket. Beside each stands a control with the same weights removed and new initial values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from cells.chain import Chain
from nas.data.batches import RunBatches
from nas.data.config import AUTO, TaskName
from nas.data.examples import Task
from nas.objective.terms import Terms
from nas.optim.search import Search
from nas.runtime import checkpoint, loop
from nas.runtime.files import CHECKPOINT
from nas.runtime.processes import Processes
from nas.runtime.settings import (
    Between,
    Count,
    DeviceConfig,
    LogConfig,
    NotNegative,
    Positive,
    Seed,
)
from nas.runtime.streams import stream
from nas.weight_search.evidence import negative_log_likelihood, quality
from nas.weights.posteriors import initial_means, point_network


@dataclass(frozen=True, kw_only=True)
class LotteryConfig(DeviceConfig, LogConfig):
    """Rounds of pruning for one network."""

    data: str = "mnist"
    """What is learned, as for a search in the space mlp."""
    target: str | None = None
    """Column of a CSV file that is predicted; the last if none is named."""
    task: TaskName = AUTO
    """classification or regression, of a table, see a search in the space mlp."""
    split_seed: Seed = 0
    """Fixes the test part where the data set has none of its own."""
    layers: tuple[str, ...] = ("100",)
    """conv32 (3×3 with 32 channels), pool (2×2 maximum) or a number of hidden units, in a row."""
    rounds: Count = 8
    """Rounds of pruning after the first training."""
    share: Between = 0.4
    """Share of the remaining weights that each round removes."""
    epochs: Count = 5
    """Passes over the training part in each training."""
    batch_size: Count = 128
    """Examples per step."""
    w_lr: Positive = 0.002
    """Learning rate (Adam) at the start of each training; cosine to w_lr_min."""
    w_lr_min: NotNegative = 0.0
    """Learning rate at the end."""
    seed: Seed = 0
    """Seed of everything that is drawn but the split of the data."""
    runs: Count = 3
    """Networks, with seeds seed, seed + 1, …, that are trained side by side."""

    costs: ClassVar[tuple[str, ...]] = ()
    w_grad_clip: ClassVar[float] = math.inf


class TicketSample(NamedTuple):
    """One batch for every network."""

    x: Tensor
    """(networks, batch, *input_shape)."""
    y: Tensor
    """(networks, batch)."""


class TicketProblem:
    """The loss of several networks, each with weights of its own that are removed.

    Attributes:
        tables: weights and biases of each layer, (networks, outputs, inputs + 1).
        masks: 1 for those that are there, in the same shapes.
    """

    arch: tuple[Tensor, ...] = ()

    def __init__(
        self, config: LotteryConfig, task: Task, chain: Chain, seeds: Sequence[int],
        tables: Sequence[Tensor], masks: Sequence[Tensor], device: torch.device,
    ) -> None:  # fmt: skip
        self.task, self.chain = task, chain
        self.tables = tuple(table.clone().to(device).requires_grad_() for table in tables)
        self.masks = [mask.to(device) for mask in masks]
        self._batches = RunBatches(task.train.to(device), config.batch_size, seeds)
        self.steps_per_epoch = self._batches.steps_per_epoch
        self.total_steps = config.epochs * self.steps_per_epoch
        self.fingerprint = task.fingerprint

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """What is trained."""
        return self.tables

    def sample(self, half: str, step: int) -> TicketSample:
        """The batch of one step."""
        return TicketSample(*self._batches.batch(step))

    def masked(self, tables: Sequence[Tensor]) -> list[Tensor]:
        """The networks as they are, removed weights 0."""
        return [table * mask for table, mask in zip(tables, self.masks, strict=True)]

    def evaluate(
        self, sample: TicketSample, weights: Sequence[Tensor], arch: Sequence[Tensor] = ()
    ) -> Terms:
        """The mean loss of all networks; the objective is the sum, as they share nothing."""
        outputs = point_network(self.chain, self.masked(weights), sample.x)
        log_noise = outputs.new_zeros(len(outputs)) if self.task.regression else None
        nll = negative_log_likelihood(outputs, sample.y, log_noise).mean(dim=1)
        zero = nll.new_zeros(())
        return Terms(nll.mean(), nll.mean(), nll.new_zeros(0), zero, zero, zero, nll.sum(), zero)


class TicketTraining(Search):
    """One training of all networks: a round."""

    problem: TicketProblem

    def __init__(self, config: LotteryConfig, problem: TicketProblem, processes: Processes) -> None:
        optimizer = torch.optim.Adam(problem.weights, config.w_lr, fused=True)
        super().__init__(config, processes, problem, optimizer)

    def ends(self) -> dict[str, list[float]]:
        return {}

    def postfix(self) -> str:
        return f"loss {self.averages['train_loss'].mean:.3f}" if self.averages else ""

    def state(self) -> dict[str, Any]:
        return super().state() | {"tables": [table.detach() for table in self.problem.tables]}

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        for table, former in zip(self.problem.tables, state["tables"], strict=True):
            table.copy_(former)


def smallest_removed(
    tables: Sequence[Tensor], masks: Sequence[Tensor], share: float
) -> list[Tensor]:
    """Masks after one more round: of what remains, the smallest weights over the whole network go.

    Biases stay. Of n remaining weights round(share · n) are removed.

    Args:
        tables: (networks, outputs, inputs + 1) of each layer.
        masks: of the same shapes.
    """
    flat = torch.cat([table[..., :-1].abs().flatten(1) for table in tables], dim=1)
    there = torch.cat([mask[..., :-1].flatten(1) for mask in masks], dim=1) > 0
    gone = flat.masked_fill(~there, -1.0).argsort(dim=1, stable=True)
    counts = (~there).sum(dim=1) + (share * there.sum(dim=1)).round().long()
    places = torch.arange(flat.shape[1], device=flat.device).expand_as(gone)
    kept = torch.empty_like(gone).scatter_(1, gone, places) >= counts[:, None]
    parts = kept.split([mask[..., :-1].flatten(1).shape[1] for mask in masks], dim=1)
    found = []
    for part, mask in zip(parts, masks, strict=True):
        new = torch.ones_like(mask)
        new[..., :-1] = part.reshape(new[..., :-1].shape).to(new)
        found.append(new)
    return found


def lottery(
    config: LotteryConfig, task: Task, processes: Processes, folder: Path
) -> list[dict[str, Any]]:
    """Trains, prunes and rewinds, round by round, tickets and controls side by side.

    Args:
        folder: where each round has a folder of its own; rounds that lie there are gone on with.

    Returns:
        One row per round: `remaining` share of the weights, and, by run, `ticket` and `control`,
        accuracies on the test part, or errors of a regression.

    Raises:
        InputError: if a checkpoint is damaged, or a loss is not finite any more.
        Stopped: on SIGINT or SIGTERM, after saving.
    """
    chain = Chain.parse(config.layers, task.input_shape, task.outputs)
    seeds = range(config.seed, config.seed + config.runs)

    def initial(name: str) -> list[Tensor]:
        return [
            torch.stack([initial_means(layer, stream(s, f"{name}/{n}", 0)) for s in seeds])
            for n, layer in enumerate(chain.layers)
        ]

    # Tickets first, then as many controls, with the same batches.
    start = [torch.cat(pair) for pair in zip(initial("ticket"), initial("control"), strict=True)]
    masks = [torch.ones_like(table) for table in start]
    rows: list[dict[str, list[float] | float]] = []
    test = task.test.to(processes.device)
    name = "test rmse" if task.regression else "test accuracy"
    for number in range(config.rounds + 1):
        problem = TicketProblem(
            config, task, chain, [*seeds, *seeds], start, masks, processes.device
        )
        training, path = TicketTraining(config, problem, processes), folder / f"round-{number}"
        path.mkdir(exist_ok=True)
        if checkpoint.exists(path / CHECKPOINT):
            training.restore(checkpoint.load(path / CHECKPOINT))
        loop.run(training, path, f"round {number} of {config.rounds}")
        tables = [table.detach() for table in problem.tables]
        found = quality(task, chain, problem.masked(tables), test).tolist()
        weights = sum(mask[0, :, :-1].sum() for mask in problem.masks)
        total = sum(mask[0, :, :-1].numel() for mask in problem.masks)
        rows.append(
            {
                "remaining": float(weights) / total,
                "ticket": found[: config.runs],
                "control": found[config.runs :],
            }
        )
        print(f"round {number}: {_describe(rows[-1], name)}", flush=True)
        tickets = [table[: config.runs] for table in tables]
        own = [mask[: config.runs] for mask in problem.masks]
        masks = [
            torch.cat([mask, mask]).cpu() for mask in smallest_removed(tickets, own, config.share)
        ]
    return rows


def _describe(row: dict[str, Any], name: str) -> str:
    ticket, control = (sum(row[name]) / len(row[name]) for name in ("ticket", "control"))
    return (
        f"{100 * row['remaining']:.2f} % left, {name}: ticket {ticket:.4f}, control {control:.4f}"
    )
