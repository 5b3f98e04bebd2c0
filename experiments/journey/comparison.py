"""One seed of the journey: the tool's own commands, then its rivals, every network trained alike.

Each part is made once and on record in a JSON file; one that was interrupted begins anew.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cells.cell import Skeleton
from cells.cost import cost_table
from cells.genotype import Genotype
from cells.notation import read_genotype
from experiments.journey.rivals import Fixed, largest_random, scaled_mobilenet, tpe, trained
from experiments.records import recorded
from nas.cell_search.presets import PRESETS, SIDE
from nas.data.datasets import ImageData, load_data
from nas.data.image_task import ImageTask
from nas.reports.report import read_rows
from nas.retraining.config import RetrainConfig
from nas.retraining.family import spread
from nas.retraining.trainer import Trainer
from nas.runtime.commandline import options
from nas.runtime.files import read_config
from nas.runtime.processes import Processes

MEMBERS = 3
"""Cells of each front that are retrained: the largest within the bound, the smallest, the one in
the middle."""
ALONE = Processes(0, 1, torch.device("cpu"))


@dataclass(frozen=True, kw_only=True)
class Journey:
    """What one seed is to do."""

    photos: Path
    """Folder of images."""
    out: Path
    """Folder to keep everything in."""
    seed: int
    minutes: float
    """Given to a search."""
    bound: int
    """Largest number of parameters."""
    epochs: int
    """Of every retraining."""

    @property
    def recipe(self) -> RetrainConfig:
        """How every network is trained: as by default, but mirrored, and on one thread."""
        preset = PRESETS["images"]
        return RetrainConfig(
            data=str(self.photos), image_size=SIDE, channels=preset.channels,
            num_cells=preset.num_cells, stem_stride=preset.stem_stride, epochs=self.epochs,
            batch_size=64, flip=True, seeds=(self.seed,), threads=1,
        )  # fmt: skip

    @cached_property
    def data(self) -> ImageData:
        """The images."""
        return load_data(str(self.photos), Path("data"), image_size=SIDE)

    @property
    def skeleton(self) -> Skeleton:
        """The sizes of every network of cells."""
        preset = PRESETS["images"]
        sizes = preset.channels, preset.num_cells, preset.stem_stride
        return ImageTask.of(self.data, preset.space, *sizes).skeleton

    def own(self) -> dict[str, Any]:
        """Goes the whole way by commands; then retrains cells along the front.

        Returns:
            `minutes` of each command, the `cell` within the bound, `members` of the front.
        """
        found = self._part("own", self._commands)
        run = self.out / f"search-{self.seed}"
        rows = [row for row in read_rows(run) if row["pareto"]]
        cells = [(row["params"], read_genotype(run / row["file"])) for row in rows]
        trained_already = {read_genotype(self.out / f"cell-{self.seed}.json").id: found["cell"]}
        return found | {"members": self._front("own", cells, trained_already)}

    def rivals(self) -> dict[str, Any]:
        """Trains the largest random cell that fits and a MobileNetV2, and searches by TPE.

        Returns:
            `random`, `mobilenet`, the number of `trials` of TPE and `members` of its front.
        """
        table = cost_table("params", self.skeleton)
        found = self._part(
            "tpe", lambda: tpe(self.data, self.recipe, self.skeleton, self.seed, self.minutes)
        )
        cells = [Genotype.from_json(text) for text in found["cells"]]
        sized = [(table.total(cell.choices()), cell) for cell in cells]
        largest = largest_random(self.skeleton.space, table, self.bound, self.seed)
        return {
            "random": self._retrained("random", largest),
            "mobilenet": self._retrained("mobilenet", largest, self._mobilenet()),
            "trials": found["trials"],
            "members": self._front("tpe", sized, {}),
        }

    def _commands(self) -> dict[str, Any]:
        run, cell, folder, network = (
            self.out / f"{name.format(self.seed)}"
            for name in ("search-{}", "cell-{}.json", "cell-{}", "cell-{}.onnx")
        )
        for left in (run, folder):
            shutil.rmtree(left, ignore_errors=True)
        for left in (cell, network):
            left.unlink(missing_ok=True)
        changed = {
            name: value
            for name, value in vars(self.recipe).items()
            if value != getattr(RetrainConfig(), name)
            and name not in ("channels", "num_cells", "stem_stride")
        }
        words = {
            "search": (self.photos, "--out", run, "--seed", self.seed, "--threads", 1,
                       "--time", f"{self.minutes:g}m"),
            "ask": (run, "--at-most", f"params={self.bound}", "--out", cell),
            "retrain": ("--genotype", cell, *options(changed), "--out", folder),
            "export": (folder / "model.safetensors", "--to", "onnx", "--out", network,
                       "--images", self.photos / "test"),
        }  # fmt: skip
        minutes = {verb: _nas(verb, *each) for verb, each in words.items()}
        result = read_config(folder / "result.json")
        return {
            "minutes": minutes,
            "bytes": network.stat().st_size,
            "cell": {"accuracy": result["mean"], "params": result["costs"]["params"]},
        }

    def _front(
        self,
        name: str,
        cells: Sequence[tuple[float, Genotype]],
        known: Mapping[str, dict[str, Any]],
    ) -> list[dict[str, Any]]:
        """Retrains cells of a front, given with their numbers of parameters.

        Args:
            known: what came of cells that are trained already, by their ids.
        """
        rows = [
            {"params": params, "genotype": genotype, "pareto": True}
            for params, genotype in cells
            if params <= self.bound
        ]
        chosen = spread(rows, "params", MEMBERS)
        return [
            known.get(row["genotype"].id) or self._retrained(f"{name}-{place}", row["genotype"])
            for place, row in enumerate(chosen)
        ]

    def _retrained(
        self, name: str, genotype: Genotype, network: nn.Module | None = None
    ) -> dict[str, Any]:
        """Trains the network of a cell, or another one in its place."""

        def make() -> dict[str, Any]:
            parts = self.recipe, genotype, self.data.whole(), ALONE, self.seed
            trainer = Trainer(*parts) if network is None else Fixed(network, *parts)
            begun = time.perf_counter()
            accuracy = trained(trainer)
            return {
                "accuracy": accuracy,
                "params": sum(weight.numel() for weight in trainer.network.parameters()),
                "minutes": (time.perf_counter() - begun) / 60,
            }

        return self._part(name, make)

    def _mobilenet(self) -> nn.Module:
        torch.manual_seed(self.seed)
        return scaled_mobilenet(len(self.data.classes), self.bound)

    def _part(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        print(f"seed {self.seed}: {name}", flush=True)
        return recorded(self.out / f"{name}-{self.seed}.json", make)


def _nas(verb: str, *words: Any) -> float:
    """Runs a verb of the tool, and returns the minutes that it took."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "nas", verb, *map(str, words)], check=True)
    return (time.perf_counter() - begun) / 60
