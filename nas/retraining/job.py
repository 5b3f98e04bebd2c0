"""One retraining: its settings, genotype and data, its networks, and what becomes of them."""

import re
import statistics
import sys
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cells.cell import Skeleton
from cells.cost import cost_table
from cells.errors import InputError
from cells.genotype import Genotype
from cells.notation import read_genotype
from cells.output_files import write_atomically
from nas.data.config import ACCURACY, BALANCED_ACCURACY
from nas.data.datasets import ImageData
from nas.data.image_task import ImageTask
from nas.data.source import locate, located
from nas.export.safetensors import save_network
from nas.export.training_data import TrainingData
from nas.retraining.card import GENOTYPE, write_card
from nas.retraining.config import RetrainConfig, read_retraining
from nas.retraining.sources import read_images, recorded_fingerprint, resolved
from nas.retraining.trainer import Trainer
from nas.runtime import checkpoint, form, loop
from nas.runtime.confusion import MOST_CLASSES, balanced_accuracy, to_csv
from nas.runtime.files import CONFIG, make_folder, refuse_existing, write_json
from nas.runtime.fingerprint import require_same_data
from nas.runtime.manifest import is_exact, note_resume, write_manifest
from nas.runtime.metrics import MetricsLog
from nas.runtime.owner import owning
from nas.runtime.processes import Processes, describe_machine, require_threads
from nas.runtime.settings import read_settings, require_same
from nas.runtime.signals import StopSignal
from nas.runtime.tensorboard import FOLDER, board, require_board

CONFUSION = "confusion.csv"


def measure_costs(genotype: Genotype, skeleton: Skeleton) -> dict[str, int]:
    """Counts the parameters of a network, and its multiply–adds for one image."""
    choices = genotype.choices()
    return {name: int(cost_table(name, skeleton).total(choices)) for name in ("params", "flops")}


class Job(NamedTuple):
    """One retraining among several."""

    config: RetrainConfig
    folder: Path | None = None
    """Where; must not exist unless `resume` is set. None for a free name under runs/."""
    resume: bool = False
    """Whether to go on with the run in `folder`."""
    genotype: Genotype | None = None
    """What is trained, if it is at hand; the settings then only name it."""
    only: int | None = None
    """The one of its seeds whose network is trained, and not tested; None for all."""

    @property
    def part(self) -> str | None:
        """What it owns of its folder alone, see `owning`."""
        return None if self.only is None else f"seed-{self.only}"


class Retraining:
    """One job: its networks, and what becomes of them.

    Attributes:
        job: as it was asked for.
        folder: where; None until it is made, if it has no name of its own.
        result: what is in result.json, once all networks are tested; None in all processes but the
            main one.
    """

    def __init__(
        self,
        job: Job,
        processes: Processes,
        data: dict[tuple[Any, ...], ImageData],
        held: ExitStack,
    ) -> None:
        """
        Args:
            data: what has been read so far, by where it is from.
            held: gets the ownership of the folder.
        """
        config, folder = job.config, job.folder
        require_board(config.tensorboard)
        if job.resume:
            assert folder is not None
            held.enter_context(owning(folder, part=job.part))
            former = read_retraining(folder).to_dict()
            config = located(config)
            require_same(config.to_dict(), former, folder / CONFIG)
            genotype = read_genotype(folder / GENOTYPE)
        elif not config.genotype:
            raise InputError("no genotype: name one, e.g. --genotype runs/x/genotypes/….json")
        else:
            genotype = job.genotype or read_genotype(config.genotype)
            config = resolved(config, genotype, processes, data)
        if not job.resume:
            require_threads(config.threads)
        if not job.resume and folder is not None:
            exact = folder
            processes.in_main(lambda: refuse_existing(exact))  # before any work is done
        images = read_images(config, processes, data)
        if locate(str(genotype.search.get("data")), Path(config.data_root)) == config.data:
            require_same_data(
                recorded_fingerprint(genotype),
                images.fingerprint,
                f"the search that found {config.genotype}",
                "search again: images that it has seen might be tested on",
            )
        self.job, self._held = job, held
        self.result: dict[str, Any] | None = None
        self._config, self.folder, self._resume = config, folder, job.resume
        self._genotype, self._data, self._processes = genotype, images, processes
        self._confusions: dict[int, Tensor] = {}
        self._seconds: dict[int, float] = {}
        self._models: dict[int, str] = {}

    def networks(self, stop: StopSignal) -> Iterator[tuple[Trainer, Generator[None, None, None]]]:
        """Makes one network per seed, when it is asked for the next; the first makes the folder.

        Yields:
            A trainer, and its steps.
        """
        config, main, resumed = self._config, self._processes.is_main, self._resume
        begun = self._resume
        for index, seed in enumerate(config.seeds):
            if self.job.only not in (None, seed):
                continue
            state = None
            if self._resume and self.folder:
                state = read_state(self.folder, seed, config)
            parts = self._genotype, self._data, self._processes, seed
            if state is None or self.folder is None:
                trainer = Trainer(config, *parts)
            else:
                with form.from_checkpoint(checkpoint_path(self.folder, seed)):
                    with form.fitting("network or optimizer"):
                        trainer = Trainer(config, *parts, state=state)
                    form.require_usable(trainer.optimizer, "optimizer")
            if resumed and main and self.folder and trainer.step < trainer.total_steps:
                where = f"step {trainer.step} of seed {seed}"
                note_resume(self.folder, where, self._processes)
                resumed = False
            if not begun:  # everything that could be refused has been seen
                self.folder, begun = self._begin(trainer), True
                self._held.enter_context(owning(self.folder, part=self.job.part))
            assert self.folder is not None
            events = self.folder / FOLDER / f"seed-{seed}"
            events_of = board(main and config.tensorboard, events, trainer.step)
            apart = self.folder / f"metrics-seed-{seed}.jsonl"
            log = MetricsLog(self.folder / "metrics.jsonl", events_of)
            if self.job.only is not None:
                log = MetricsLog(apart, events_of)  # others write to theirs
            elif main and apart.exists():
                log.take_in(MetricsLog(apart))
            if main and trainer.step < trainer.total_steps:
                log.keep(index * trainer.total_steps + trainer.step, seed)
            path, name = checkpoint_path(self.folder, seed), f"{self.folder.name}, seed {seed}"
            yield trainer, loop.steps(trainer, path, log, stop, name)

    def _begin(self, trainer: Trainer) -> Path:
        """Makes the run folder, with what does not change during the run, and returns it.

        Whether a network can be saved shows here, before the first step.
        """
        settings = self._config.to_dict()

        def fill(draft: Path) -> None:
            self._genotype.save(draft / GENOTYPE)
            write_manifest(draft, settings, self._data.fingerprint, self._processes)
            model = draft / "model.safetensors"
            save_network(model, trainer.network, TrainingData.of(self._data))
            model.unlink()

        name = self._genotype.name or ""
        if not re.fullmatch(r"[\w.-]+", name):
            name = self._genotype.id
        path = self.folder or Path("runs") / f"retrain-{name}"
        exact = self.folder is not None
        return self._processes.told_by_main(
            lambda: make_folder(path, exact=exact, config=settings, fill=fill)
        )

    def rough_bytes(self, count: int) -> int:
        """Bytes that a step of some networks side by side does not exceed, from sizes alone."""
        config = self._config
        assert config.data is not None and config.channels is not None
        assert config.num_cells is not None and config.stem_stride is not None
        sizes = config.channels, config.num_cells, config.stem_stride
        task = ImageTask.of(self._data, self._genotype.space, *sizes)
        return count * task.skeleton.rough_bytes(config.batch_size) // self._processes.world

    def trial(self) -> tuple[Trainer, ImageData]:
        """Makes the network of the first seed, to be tried, and tells the data."""
        parts = self._genotype, self._data, self._processes, self._config.seeds[0]
        return Trainer(self._config, *parts), self._data

    def attempt(self, count: int) -> None:
        """Takes a step with some networks side by side, of which nothing is kept."""
        parts = self._genotype, self._data, self._processes
        trainers = [Trainer(self._config, *parts, seed) for seed in range(count)]
        for trainer in trainers:
            trainer.advance()
            trainer.look()

    def test(self, trainer: Trainer) -> bool:
        """Tests a trained network and saves it; after the last one the result is written.

        Returns:
            Whether it was the last one.
        """
        config, data, folder, main = self._config, self._data, self.folder, self._processes.is_main
        assert folder is not None
        if main:
            self._confusions[trainer.seed] = trainer.test()
            first = trainer.seed == config.seeds[0]
            name = "model.safetensors" if first else f"model-seed-{trainer.seed}.safetensors"
            self._models[trainer.seed] = name
            save_network(folder / name, trainer.network, TrainingData.of(data))
        self._seconds[trainer.seed] = round(trainer.seconds, 3)
        if len(self._seconds) < len(config.seeds):
            return False
        self._processes.barrier()
        if not main:
            return True
        majority = float(data.test.labels.bincount().max()) / len(data.test)
        counts = [self._confusions[seed] for seed in config.seeds]
        found = {
            ACCURACY: [int(each.trace()) / len(data.test) for each in counts],
            BALANCED_ACCURACY: [balanced_accuracy(each) for each in counts],
        }
        values, all_counts = found[config.metric], torch.stack(counts).sum(dim=0)
        std = statistics.stdev(values) if len(values) > 1 else None
        self.result = {
            "genotype": self._genotype.id,
            "name": self._genotype.name,
            "data": config.data,
            "seeds": list(config.seeds),
            "test_accuracy": found[ACCURACY],
            "balanced_accuracy": found[BALANCED_ACCURACY],
            "metric": config.metric,
            "mean": statistics.mean(values),
            "std": std,
            "majority": majority,
            "costs": measure_costs(self._genotype, trainer.network.skeleton),
            "epochs": config.epochs,
            "seconds": [self._seconds[seed] for seed in config.seeds],
            "precision": trainer.precision,
            "machine": describe_machine(self._processes),
            "exact": is_exact(folder),
        }
        if len(data.classes) <= MOST_CLASSES:
            # Summed over seeds; a row for each true class, a column for each that is predicted.
            self.result |= {"classes": list(data.classes), "confusion": all_counts.tolist()}
        write_atomically(folder / CONFUSION, to_csv(all_counts, data.classes))
        write_json(folder / "result.json", self.result)
        write_card(folder, config, self._genotype, data, self.result, self._models)
        spread = "" if std is None else f" ± {100 * std:.2f}"
        print(f"test {config.metric.replace('_', ' ')} {100 * self.result['mean']:.2f}{spread} %")
        if statistics.mean(found[ACCURACY]) <= majority + 0.01 or majority > 0.5:
            print(
                f"warning: to name the most frequent class alone gives {100 * majority:.2f} %",
                file=sys.stderr,
            )
        print(
            f"model in {folder / 'model.safetensors'}, result in {folder / 'result.json'}, "
            f"classes in {folder / CONFUSION}"
        )
        return True


def checkpoint_path(folder: Path, seed: int) -> Path:
    """Where the checkpoints of one seed lie."""
    return folder / f"checkpoint-seed-{seed}.pt"


def read_state(folder: Path, seed: int, config: RetrainConfig) -> dict[str, Any] | None:
    """Reads the checkpoint of one seed; None if its training had not come to one.

    Raises:
        InputError: if it is damaged, or from another configuration.
    """
    path = checkpoint_path(folder, seed)
    if not checkpoint.exists(path):
        return None
    state = checkpoint.load(path)
    if not {"config", "seed", "step", "network", "optimizer", "averages"} <= state.keys():
        raise InputError(f"{path} is not the checkpoint of a retraining")
    with form.from_checkpoint(path):
        values = form.plain(state["config"], "config")
        try:
            former = read_settings(RetrainConfig, values)
        except InputError as error:
            raise form.Misfit(str(error)) from error
        require_same(config.to_dict(), former.to_dict(), path)
        form.whole(state["seed"], "seed", seed, seed)
        form.whole(state["step"], "step", 0, 1 << 62)
        form.finite(state.get("seconds"), "seconds")
        form.weights(state["network"], "network")
        form.optimizer(state["optimizer"], "optimizer")
        form.averages(state["averages"])
        form.deadline(state.get("deadline"))
        form.texts(state.get("fingerprint", {}), "fingerprint")
    return state
