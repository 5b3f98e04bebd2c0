"""The training of one discrete network with one seed."""

import math
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from cells.cell import Skeleton
from cells.errors import InputError
from cells.genotype import Genotype
from cells.network import Network, inherit
from cells.space import find_space
from nas.data.batches import Batches, Split, evaluation_batches
from nas.data.datasets import ImageData
from nas.retraining.config import RetrainConfig
from nas.retraining.inherit import estimate_statistics, read_supernet
from nas.runtime import checkpoint
from nas.runtime.cuda_graph import CudaGraphStep
from nas.runtime.metrics import Average, MetricsLog, accuracy
from nas.runtime.processes import Processes, StopSignal, has_bfloat16
from nas.runtime.streams import stream

EAGER_STEPS = 3
"""Steps on a GPU before one is recorded: libraries and momenta are set up by then."""


class _Heads(nn.Module):
    """A network's training pass as one module, which is what DDP and `torch.compile` wrap."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Maps images to the logits of each head, (batch, num_classes)."""
        if self.network.auxiliary is None:
            return (self.network(x),)
        return self.network.with_auxiliary(x)


class Trainer:
    """The training of one network with one seed.

    Attributes:
        config: the settings, resolved.
        network: what is trained.
        step: finished steps.
        seconds: time spent so far.
        stream: of a GPU, on which all of its work has to be started; None on a CPU.
        record_at: how many steps are taken kernel by kernel before one is recorded, to be replayed
            from then on; None for all. One GPU can record, without drop path and `compile`.
    """

    def __init__(
        self,
        config: RetrainConfig,
        genotype: Genotype,
        data: ImageData,
        processes: Processes,
        seed: int,
        *,
        state: dict[str, Any] | None = None,
    ) -> None:
        """
        Args:
            state: checkpoint to continue from.

        Raises:
            InputError: if the settings do not fit the data, or the inherited weights the network.
        """
        self.config, self.processes, self.seed = config, processes, seed
        device = processes.device
        if config.threads:
            torch.set_num_threads(config.threads)
        self.batches = Batches(
            data.train.to(device),
            config.batch_size,
            seed=seed,
            name="train",
            augmentation=config,
            mean=data.mean,
            std=data.std,
            rank=processes.rank,
            world=processes.world,
        )
        self.total_steps = config.epochs * self.batches.steps_per_epoch
        self.step = 0
        self.seconds = 0.0
        self.averages = {"loss": Average(), "train_accuracy": Average()}
        with _seeded(seed, "weights", 0):
            self.network = Network(
                genotype,
                make_skeleton(config, genotype, data),
                auxiliary=config.auxiliary_weight > 0,
            )
        self.network.to(memory_format=torch.channels_last).to(device)
        on_gpu = device.type == "cuda"
        # A recorded step sees no number in Python change; the fused optimiser takes a tensor.
        self._lr = torch.zeros((), device=device) if on_gpu else None
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            fused=on_gpu or None,
        )
        if state is not None:
            self._restore(state)
        elif config.inherit is not None:
            inherit(self.network, read_supernet(Path(config.inherit), self.network.skeleton))
            steps = range(self.batches.steps_per_epoch)
            estimate_statistics(self.network, (self.batches.batch(step)[0] for step in steps))
        self.model: nn.Module = _Heads(self.network)
        if config.compile:
            self.model.compile()
        if processes.world > 1:
            # The graph is static, so that parameters of dead ends in a cell need no search.
            self.model = DistributedDataParallel(self.model, static_graph=True)
        bfloat16 = config.precision == "bfloat16" or (
            config.precision == "auto" and device.type == "cuda" and has_bfloat16(device)
        )
        self.precision = "bfloat16" if bfloat16 else "float32"
        # A look at a GPU's numbers waits for it, so there it is taken at some steps only.
        self._look_every = 20 if on_gpu else 1
        self._unseen: list[Tensor] = []
        self._graph: CudaGraphStep | None = None
        alone = processes.world == 1 and not config.compile
        self.record_at = EAGER_STEPS if on_gpu and alone and not config.drop_path else None
        self._eager_steps = 0
        self.stream: torch.cuda.Stream | None = None
        if on_gpu:
            self.stream = torch.cuda.Stream(device)
            self.stream.wait_stream(torch.cuda.current_stream(device))

    def lr(self) -> float:
        """Learning rate of the present step: a linear rise, then a cosine."""
        config, warmup = self.config, self.config.warmup_epochs * self.batches.steps_per_epoch
        if self.step < warmup:
            return config.lr * (self.step + 1) / warmup
        progress = (self.step - warmup) / (self.total_steps - warmup)
        return config.lr_min + (config.lr - config.lr_min) * (1 + math.cos(math.pi * progress)) / 2

    def advance(self) -> None:
        """One step of SGD."""
        lr = self.lr() if self._lr is None else self._lr.fill_(self.lr())
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.network.drop_path = self.config.drop_path * self.step / self.total_steps
        if self.record_at is None:
            numbers = self._learn(*self.batches.batch(self.step))
        else:
            numbers = self._replay(self.batches.draw(self.step))
        self._unseen.append(numbers)
        self.step += 1

    def _replay(self, drawn: tuple[Tensor, Tensor]) -> Tensor:
        """Learns from a batch by the graph of such a step, which is recorded when it is time."""

        def step(index: Tensor, noise: Tensor) -> Tensor:
            return self._learn(*self.batches.build(index, noise))

        if self._graph is None and self._eager_steps == self.record_at:
            self.optimizer.zero_grad()
            self._graph = CudaGraphStep(step, drawn)
        if self._graph is not None:
            return self._graph.run(drawn)
        self._eager_steps += 1
        return step(*drawn)

    def _learn(self, x: Tensor, y: Tensor) -> Tensor:
        """Moves the weights; returns loss, accuracy and the gradient's norm, (3,)."""
        config = self.config
        autocast = torch.autocast(
            x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"
        )
        name = f"drop_path/{self.processes.rank}"
        noise = _seeded(self.seed, name, self.step, x.device) if config.drop_path else nullcontext()
        with noise, autocast:
            logits, *auxiliary = self.model(x)
        loss = F.cross_entropy(logits.float(), y, label_smoothing=config.label_smoothing)
        for other in auxiliary:
            extra = F.cross_entropy(other.float(), y, label_smoothing=config.label_smoothing)
            loss = loss + config.auxiliary_weight * extra
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.grad_clip)
        self.optimizer.step()
        return torch.stack([loss.detach(), accuracy(logits, y), norm])

    def look(self, stop: bool) -> bool:
        """Takes in the numbers of the steps since the last look, in all processes alike.

        Args:
            stop: whether this process has been asked to stop.

        Returns:
            Whether one of them has.

        Raises:
            InputError: if a loss or a gradient is not finite.
        """
        asked = torch.tensor([float(stop)])
        steps, asked = self.processes.average((torch.stack(self._unseen), asked))
        first = self.step - len(self._unseen)
        self._unseen = []
        for step, (loss, right, norm) in enumerate(steps.tolist(), start=first):
            if not math.isfinite(loss + norm):
                raise InputError(
                    f"the loss became {loss}, its gradient {norm} at step {step} of seed "
                    f"{self.seed}: no later checkpoint is written; lower --lr"
                )
            self.averages["loss"].add(loss)
            self.averages["train_accuracy"].add(right)
        return bool(asked.item())

    def state(self) -> dict[str, Any]:
        """The checkpoint: with the configuration, all that the rest of the run depends on."""
        return {
            "config": self.config.to_dict(),
            "seed": self.seed,
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averages": {name: vars(average) for name, average in self.averages.items()},
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self.network.load_state_dict(state["network"])
        fused = [group["fused"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, fused, strict=True):
            group["fused"] = own  # the run may go on elsewhere
        self.averages = {name: Average(**a) for name, a in state["averages"].items()}

    def steps(
        self, path: Path, log: MetricsLog, offset: int, stop: StopSignal
    ) -> Generator[None, None, int | None]:
        """Trains to the end, or until SIGINT or SIGTERM; each step is taken when it is asked for.

        Args:
            path: of the checkpoint, written after every epoch and before leaving.
            log: gets a row per epoch.
            offset: steps of the seeds before this one, for the log.
            stop: tells of signals.

        Returns:
            The signal that stopped the training, or None.

        Raises:
            InputError: if the loss is not finite any more.
        """
        main = self.processes.is_main
        self.network.train()
        bar = tqdm(
            total=self.total_steps, initial=self.step, unit="step",
            desc=f"{path.parent.name}, seed {self.seed}",
            disable=not main, mininterval=0.2 if sys.stderr.isatty() else 20,
        )  # fmt: skip
        start = time.perf_counter() - self.seconds
        with bar:
            while self.step < self.total_steps:
                lr = self.lr()
                self.advance()
                epoch, rest = divmod(self.step, self.batches.steps_per_epoch)
                bar.update()
                if rest and self.step % self._look_every:
                    yield
                    continue
                stopped = self.look(stop.received is not None)
                self.seconds = time.perf_counter() - start
                means = {name: average.mean for name, average in self.averages.items()}
                bar.set_postfix_str(
                    f"loss {means['loss']:.3f}, train {100 * means['train_accuracy']:.1f}%, "
                    f"lr {lr:.3g}",
                    refresh=False,
                )
                if not rest:
                    row = {"step": offset + self.step, "seed": self.seed, "epoch": epoch, **means}
                    row |= {"lr": lr, "seconds": self.seconds}
                    self.averages = {name: Average() for name in means}
                    if main:
                        log.append(row)
                if main and (stopped or not rest):
                    checkpoint.save(path, self.state())
                if stopped:
                    return stop.received or 15
                yield
        return None


@contextmanager
def _seeded(seed: int, name: str, index: int, device: torch.device | None = None) -> Iterator[None]:
    """Seeds torch's global generators from a stream, and puts them back afterwards."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(stream(seed, name, index).initial_seed())
        yield


def make_skeleton(config: RetrainConfig, genotype: Genotype, data: ImageData) -> Skeleton:
    """Returns everything about the network but its cells' operations."""
    assert config.channels is not None and config.num_cells is not None, "resolve() comes first"
    assert config.stem_stride is not None, "resolve() comes first"
    return Skeleton(
        find_space(genotype.space),
        data.channels,
        data.num_classes,
        data.height,
        data.width,
        config.channels,
        config.num_cells,
        config.stem_stride,
    )


@torch.no_grad()
def evaluate(
    network: nn.Module, split: Split, mean: tuple[float, ...], std: tuple[float, ...]
) -> float:
    """Returns the accuracy in [0, 1] of a network in evaluation mode, in float32."""
    network.eval()
    right = sum(
        int((network(x).argmax(dim=1) == y).sum())
        for x, y in evaluation_batches(split, 256, mean, std)
    )
    return right / len(split)
