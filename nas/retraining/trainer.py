"""The training of one discrete network with one seed."""

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cells.errors import InputError
from cells.genotype import Genotype
from cells.network import Network, inherit
from nas.data.batches import Split
from nas.data.datasets import ImageData
from nas.data.image_task import ImageTask
from nas.optim.rates import cosine
from nas.retraining.config import RetrainConfig
from nas.retraining.inherit import estimate_statistics, read_supernet
from nas.runtime.confusion import balanced_weights, confusion
from nas.runtime.cuda_graph import CudaGraphStep
from nas.runtime.loop import Training
from nas.runtime.metrics import accuracy
from nas.runtime.processes import Processes, has_bfloat16
from nas.runtime.settings import total_steps
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


class Trainer(Training):
    """The training of one network with one seed.

    Attributes:
        config: the settings, resolved.
        task: the images, and the sizes of the network.
        network: what is trained.
        stream: of a GPU, on which steps and looks are started; None on a CPU.
        record_at: how many steps are taken kernel by kernel before one is recorded, to be replayed
            from then on; None for all. One GPU can record, without drop path and `compile`.
    """

    config: RetrainConfig

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
        device, self.seed = processes.device, seed
        self._class_weights: Tensor | None = None
        if config.class_weights != "none":
            self._class_weights = balanced_weights(data.train.labels, data.num_classes).to(device)
        if config.threads:
            torch.set_num_threads(config.threads)
        assert config.channels is not None and config.num_cells is not None, "resolve() is first"
        assert config.stem_stride is not None, "resolve() is first"
        sizes = config.channels, config.num_cells, config.stem_stride
        self.task = ImageTask.of(data, genotype.space, *sizes)
        self.batches = self.task.batches(
            data.train,
            config.batch_size,
            seed=seed,
            name="train",
            augmentation=config,
            processes=processes,
            auxiliary=config.auxiliary_weight > 0,
        )
        per_epoch = self.batches.steps_per_epoch
        length = total_steps(config, per_epoch)
        super().__init__(config, processes, per_epoch, length, data.fingerprint)
        with _seeded(seed, "weights", 0):
            self.network = self.build(genotype)
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
            self.restore(state)
        elif config.inherit is not None:
            supernet = read_supernet(Path(config.inherit), self.network.skeleton, data.fingerprint)
            inherit(self.network, supernet)
            batches = (self.batches.batch(step)[0] for step in range(per_epoch))
            estimate_statistics(self.network, batches)
        self.model: nn.Module = _Heads(self.network)
        if config.compile:
            self.model.compile()
        if processes.world > 1:
            processes.barrier()  # DDP itself waits for nobody who is at work
            # The graph is static, so that parameters of dead ends in a cell need no search.
            self.model = DistributedDataParallel(self.model, static_graph=True)
        bfloat16 = config.precision == "bfloat16" or (
            config.precision == "auto" and device.type == "cuda" and has_bfloat16(device)
        )
        self.precision = "bfloat16" if bfloat16 else "float32"
        # A look at a GPU's numbers waits for it, so there it is taken at some steps only.
        self.look_every = 20 if on_gpu else 1
        self._unseen: list[Tensor] = []
        self._graph: CudaGraphStep | None = None
        alone = processes.world == 1 and not config.compile
        self.record_at = EAGER_STEPS if on_gpu and alone and not config.drop_path else None
        self._eager_steps = 0
        self.stream: torch.cuda.Stream | None = None
        if on_gpu:
            self.stream = torch.cuda.Stream(device)
            self.stream.wait_stream(torch.cuda.current_stream(device))

    def build(self, genotype: Genotype) -> Network:
        """Builds the network, at its initial weights."""
        return Network(genotype, self.task.skeleton, auxiliary=self.config.auxiliary_weight > 0)

    def lr(self) -> float:
        """Learning rate of the present step: a linear rise, then a cosine."""
        config, warmup = self.config, self.config.warmup_epochs * self.steps_per_epoch
        if self.step < warmup or self.total_steps <= warmup:
            return config.lr * (self.step + 1) / warmup
        progress = (self.step - warmup) / (self.total_steps - warmup)
        return cosine(config.lr, config.lr_min, progress)

    def advance(self) -> None:
        """One step of SGD, whose numbers the next look takes in."""
        if self.step % self.steps_per_epoch == 0:
            self.processes.barrier()  # the main process may have been saving
        self._taken_lr = self.lr()
        self.network.drop_path = self.config.drop_path * self.step / self.total_steps
        with torch.cuda.stream(self.stream):
            lr = self._taken_lr if self._lr is None else self._lr.fill_(self._taken_lr)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
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
        loss = self._loss(logits, y)
        for other in auxiliary:
            loss = loss + config.auxiliary_weight * self._loss(other, y)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.grad_clip)
        self.optimizer.step()
        return torch.stack([loss.detach(), accuracy(logits, y), norm])

    def _loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Returns the mean loss of a batch, whose images count as their classes do."""
        smoothing = self.config.label_smoothing
        if self._class_weights is None:
            return F.cross_entropy(logits.float(), y, label_smoothing=smoothing)
        losses = F.cross_entropy(logits.float(), y, label_smoothing=smoothing, reduction="none")
        return (self._class_weights[y] * losses).mean()

    def look(self) -> None:
        """Takes in the numbers of the steps since the last look, in all processes alike.

        Raises:
            InputError: if a loss or a gradient is not finite.
        """
        with torch.cuda.stream(self.stream):
            (steps,) = self.processes.average((torch.stack(self._unseen),))
            numbers = steps.tolist()
        first = self.step - len(self._unseen)
        self._unseen = []
        for step, (loss, correct, norm) in enumerate(numbers, start=first):
            if not math.isfinite(loss + norm):
                raise InputError(
                    f"the loss became {loss}, its gradient {norm} at step {step} of seed "
                    f"{self.seed}: no later checkpoint is written; lower --lr"
                )
            self.add("loss", loss)
            self.add("train_accuracy", correct)

    def postfix(self) -> str:
        means = self.means()
        percent = 100 * means["train_accuracy"]
        return f"loss {means['loss']:.3f}, train {percent:.1f}%, lr {self._taken_lr:.3g}"

    def row(self) -> dict[str, Any]:
        """See `Training`; `step` counts those of the seeds before this one."""
        before = self.config.seeds.index(self.seed) * self.total_steps
        return {
            "step": before + self.step, "seed": self.seed,
            "epoch": self.step // self.steps_per_epoch, **self.means(),
            "lr": self._taken_lr, "seconds": self.seconds,
        }  # fmt: skip

    def test(self) -> Tensor:
        """Returns what the network takes the test images for; see `confusion`."""
        return self.confusion(self.task.data.test)

    @torch.no_grad()
    def confusion(self, images: Split) -> Tensor:
        """Returns what the network takes images for, in evaluation mode; see `confusion`.

        Returns:
            int64 (classes, classes).
        """
        self.network.eval()
        batches = self.task.evaluation_batches(images, 256)
        return torch.stack([confusion(self.network(x), y) for x, y in batches]).sum(dim=0)

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "seed": self.seed,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.network.load_state_dict(state["network"])
        fused = [group["fused"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, own in zip(self.optimizer.param_groups, fused, strict=True):
            group["fused"] = own  # the run may go on elsewhere


@contextmanager
def _seeded(seed: int, name: str, index: int, device: torch.device | None = None) -> Iterator[None]:
    """Seeds torch's global generators from a stream, and puts them back afterwards."""
    devices = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(stream(seed, name, index).initial_seed())
        yield
