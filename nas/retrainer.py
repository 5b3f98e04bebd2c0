"""Retraining: one genotype as a network of its own, trained to the end and tested once."""

import platform
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from cells.cell import Skeleton
from cells.cost import cost_table
from cells.errors import InputError
from cells.genotype import Genotype
from cells.notation import read_genotype
from nas import checkpoint
from nas.config import FREE
from nas.data import ImageData, load_data
from nas.export import TrainingData, save_network
from nas.metrics import MetricsLog
from nas.recipe import RetrainConfig, read_retraining, resolve
from nas.runs import CONFIG, make_folder, read_run, refuse_existing, write_json
from nas.runtime import Processes, start_processes, stop_processes
from nas.trainer import Retrainer, evaluate

GENOTYPE = "genotype.json"


def measure_costs(genotype: Genotype, skeleton: Skeleton) -> dict[str, int]:
    """Counts the parameters of a network, and its multiply–adds for one image."""
    choices = genotype.choices()
    return {name: int(cost_table(name, skeleton).total(choices)) for name in ("params", "flops")}


def describe_machine(processes: Processes) -> dict[str, Any]:
    """What a time or an accuracy was measured with."""
    return {
        "torch": torch.__version__,
        "device": _device_name(processes.device),
        "threads": torch.get_num_threads(),
        "processes": processes.world,
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")  # Python's own name for a processor is empty on Linux
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def retrain(
    config: RetrainConfig, folder: Path | None = None, *, resume: bool = False
) -> dict[str, Any] | None:
    """Trains one network per seed, tests each once, and writes the run folder.

    Args:
        folder: where; must not exist unless `resume` is set. By default a free name under runs/.
        resume: whether to go on with the run in `folder`.

    Returns:
        What is in result.json; None in all processes but the main one.

    Raises:
        InputError: for settings, data, genotypes or checkpoints that cannot be used, a folder
            that exists, or a loss that is not finite any more.
        SystemExit: on SIGINT or SIGTERM, after saving.
    """
    processes = start_processes(config.device)
    try:
        return _retrain(config, folder, resume, processes)
    finally:
        stop_processes()


def _retrain(
    config: RetrainConfig, folder: Path | None, resume: bool, processes: Processes
) -> dict[str, Any] | None:
    if resume:
        assert folder is not None
        require_same(read_retraining(folder).to_dict(), config, folder / CONFIG)
        genotype = read_genotype(folder / GENOTYPE)
    elif not config.genotype:
        raise InputError("no genotype: name one, e.g. --genotype runs/x/genotypes/….json")
    else:
        genotype = read_genotype(config.genotype)
        run = read_run(Path(config.inherit))[0] if config.inherit is not None else None
        config = resolve(config, genotype, run)
    if not resume and folder is not None:
        exact = folder
        processes.in_main(lambda: refuse_existing(exact))  # before any work is done
    data = _read_data(config, processes)
    accuracies, seconds = [], []
    for index, seed in enumerate(config.seeds):
        state = read_state(folder, seed, config) if resume and folder else None
        trainer = Retrainer(config, genotype, data, processes, seed, state=state)
        if index == 0 and not resume:  # everything that could be refused has been seen
            folder = _begin(config, genotype, folder, processes)
        assert folder is not None
        log, offset = MetricsLog(folder / "metrics.jsonl"), index * trainer.total_steps
        if processes.is_main and trainer.step < trainer.total_steps:
            log.keep(offset + trainer.step)
        stopped = trainer.run(checkpoint_path(folder, seed), log, offset)
        if stopped is not None:
            if processes.is_main:
                print(
                    f"stopped at step {trainer.step} of seed {seed}; go on with --resume {folder}"
                )
            sys.exit(128 + stopped)
        if processes.is_main:
            test = data.test.to(processes.device)
            accuracies.append(evaluate(trainer.network, test, data.mean, data.std))
            seconds.append(round(trainer.seconds, 3))
            name = "model.safetensors" if index == 0 else f"model-seed-{seed}.safetensors"
            save_network(folder / name, trainer.network, TrainingData.of(data))
    processes.barrier()
    if not processes.is_main or folder is None:
        return None
    std = statistics.stdev(accuracies) if len(accuracies) > 1 else None
    result = {
        "genotype": genotype.id,
        "name": genotype.name,
        "data": config.data,
        "seeds": list(config.seeds),
        "test_accuracy": accuracies,
        "mean": statistics.mean(accuracies),
        "std": std,
        "costs": measure_costs(genotype, trainer.network.skeleton),
        "epochs": config.epochs,
        "seconds": seconds,
        "precision": trainer.precision,
        "machine": describe_machine(processes),
    }
    write_json(folder / "result.json", result)
    spread = "" if std is None else f" ± {100 * std:.2f}"
    print(f"test accuracy {100 * statistics.mean(accuracies):.2f}{spread} %")
    print(f"model in {folder / 'model.safetensors'}, result in {folder / 'result.json'}")
    return result


def _begin(
    config: RetrainConfig, genotype: Genotype, folder: Path | None, processes: Processes
) -> Path:
    """Makes the run folder, with what does not change during the run, and returns it."""
    name = genotype.name or ""
    if not re.fullmatch(r"[\w.-]+", name):
        name = genotype.id
    path = folder or Path("runs") / f"retrain-{name}"

    def begin() -> Path:
        made = make_folder(path, exact=folder is not None)
        write_json(made / CONFIG, config.to_dict())
        genotype.save(made / GENOTYPE)
        return made

    return processes.in_main(begin) or path  # only the main process writes to it


def checkpoint_path(folder: Path, seed: int) -> Path:
    """Where the checkpoints of one seed lie."""
    return folder / f"checkpoint-seed-{seed}.pt"


def read_state(folder: Path, seed: int, config: RetrainConfig) -> dict[str, Any] | None:
    """Reads the checkpoint of one seed; None if its training had not come to one.

    Raises:
        InputError: if it is damaged, or from another configuration.
    """
    path = checkpoint_path(folder, seed)
    if not path.exists() and not checkpoint.previous_file(path).exists():
        return None
    state = checkpoint.load(path)
    if not {"config", "seed", "step", "network", "optimizer", "averages"} <= state.keys():
        raise InputError(f"{path} is not the checkpoint of a retraining")
    require_same(state["config"], config, path)
    return state


def require_same(former: dict[str, Any], config: RetrainConfig, path: Path) -> None:
    """Makes sure that a run goes on with the settings it began with.

    Args:
        former: the settings found in `path`.

    Raises:
        InputError: naming the first setting that differs.
    """
    for name, value in config.to_dict().items():
        if name not in FREE and former.get(name) != value:
            raise InputError(
                f"{path} is from another configuration: {name} was {former.get(name)!r}, now "
                f"{value!r}; leave the option out, or start anew"
            )


def _read_data(config: RetrainConfig, processes: Processes) -> ImageData:
    assert config.data is not None and config.split_seed is not None
    source, split_seed = config.data, config.split_seed
    return processes.main_first(
        lambda: load_data(
            source, Path(config.data_root), split_seed=split_seed, image_size=config.image_size
        )
    )
