"""A finished search in the space `mlp` as a function of λ: networks at once, without training.

    python -m nas generate runs/mlp --lam 1 --out net.safetensors

writes the network at a λ; `network` gives it as an ordinary module.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cells.chain import MLP, Chain, module_of
from cells.errors import InputError
from cells.strict_json import show
from nas.data.config import AUTO, CLASSIFICATION, REGRESSION
from nas.data.examples import Task, load_task
from nas.data.table_form import TableForm
from nas.export.chain import data_of, read_data, save_chain
from nas.export.training_data import TrainingData
from nas.hypernets.weights import WeightHypernet
from nas.runtime import checkpoint, form
from nas.runtime.files import CHECKPOINT
from nas.runtime.fingerprint import Fingerprint, require_same_data
from nas.runtime.settings import read_settings
from nas.weight_search.config import LOCAL, NONE, POINT, WeightConfig
from nas.weights.posteriors import Posteriors


class Generated:
    """The networks of one search.

        generated = Generated.load("runs/mlp")
        net = generated.network(1.0)

    Attributes:
        config: the settings of the search.
        chain: the layers of every network.
        hypernet: λ -> posteriors.
        tuned: the λ that each run learned, (runs,) float64, if they learned one (`--tune local`).
        fingerprint: of the data; empty if it was not recorded.
        recorded: what the networks are trained on; None in older runs, see `data`.
    """

    def __init__(
        self,
        config: WeightConfig,
        chain: Chain,
        hypernet: WeightHypernet,
        tuned: Tensor | None = None,
        fingerprint: Fingerprint | None = None,
        recorded: TrainingData | TableForm | None = None,
    ) -> None:
        self.config = config
        self.fingerprint = fingerprint or {}
        self.chain = chain
        self.hypernet = hypernet
        self.tuned = tuned
        self.recorded = recorded
        self.lam_range = config.lam_range()

    @classmethod
    def load(cls, run: str | Path) -> "Generated":
        """Reads a run folder.

        Raises:
            InputError: if it has no usable checkpoint of a search in the space mlp.
        """
        path = Path(run) / CHECKPOINT
        state = checkpoint.load(path)
        with form.from_checkpoint(path):
            values = form.plain(state.get("config"), "config")
            if values.get("space") != MLP:
                raise InputError(f"{path} is not the checkpoint of a search in the space {MLP}")
            config = read_settings(WeightConfig, values)
            check_state(state, config)
            task = state["task"]
            chain = Chain.parse(config.layers, task["input_shape"], task["outputs"])
            form.room(state["hypernet"], _least_size(config, chain))
            with form.fitting("hypernet"):
                hypernet = build_weight_hypernet(config, chain, noisy_target=task["regression"])
                hypernet.load_state_dict(state["hypernet"])
            recorded = None
            if "data" in task:
                try:
                    with form.fitting("data"):
                        recorded = read_data(json.loads(task["data"]), chain)
                except InputError as error:
                    raise form.Misfit(str(error)) from None
        tuned = None
        if config.tune == LOCAL:
            tuned = config.lam_range().lam(state["tuned"]["unit_lams"][:, None])[:, 0]
        return cls(config, chain, hypernet, tuned, state.get("fingerprint"), recorded)

    def at(self, lams: Sequence[float]) -> Posteriors:
        """Returns the posteriors of every run's networks at some λs, of (runs, lams) networks.

        Raises:
            InputError: if a λ lies outside the range that was searched, far from the one that was
                learned, or is not one of those for which networks were trained by themselves.
        """
        for lam in lams:
            self.lam_range.check((lam,))
            self._check_near(lam)
        wanted = torch.tensor(lams, dtype=torch.float64)
        unit_lams = self.lam_range.unit(wanted[:, None])[:, 0]
        if self.hypernet.own is not None:
            own = self.hypernet.own.double()
            missing = (unit_lams[:, None] - own).abs().amin(dim=1) > 1e-6
            if missing.any():
                known = ", ".join(
                    f"{lam:.6g}" for lam in self.lam_range.grid(self.config.grid)[:, 0].tolist()
                )
                raise InputError(
                    f"λ = {float(wanted[missing][0])} has no network: this search trained networks "
                    f"by themselves for λ = {known}"
                )
        with torch.no_grad():
            return self.hypernet.at(unit_lams)

    def _check_near(self, lam: float) -> None:
        """Refuses a λ of which a local search has drawn next to nothing, two deviations away."""
        if self.tuned is None:
            return
        if (self.tuned / lam).log().abs().min() > 2 * self.config.tune_width:
            known = ", ".join(f"{near:.6g}" for near in self.tuned.tolist())
            raise InputError(
                f"λ = {lam} is far from what this search learned, λ = {known}: ask for one "
                "near it, or search without --tune"
            )

    def starts(self, config: WeightConfig) -> Posteriors:
        """Returns the posteriors with which another search's own networks begin, (runs, λs).

        Raises:
            InputError: if this search has other layers, seeds or data, or lacks one of the λs.
        """
        for name in _SHARED:
            here, there = getattr(self.config, name), getattr(config, name)
            if here != there:
                raise InputError(
                    f"start has {name} {here!r}, this search {there!r}: give both the same"
                )
        lams = config.lam_range().grid(config.grid)[:, 0].tolist()
        return self.at(lams)

    def network(self, lam: float, run: int = 0) -> nn.Sequential:
        """Returns the network at a λ as an ordinary module, with the means of its weights.

        It takes images scaled to [0, 1], float32 (batch, channels, height, width), or of a table
        what `generated.data().features(rows)` makes of its rows, which are float64 (batch,
        columns), in the columns' own units. `generated.data().answers(outputs)` are a regression's
        values in the target's own unit, or the probabilities of classes.

        Raises:
            InputError: as `at`.
        """
        return module_of(self.chain, [mean[run, 0] for mean, _ in self.at([lam]).layers])

    def save(
        self, path: Path, lam: float, run: int = 0, tables: Sequence[Tensor] | None = None
    ) -> None:
        """Writes the network at a λ, with the deviations of its weights, as safetensors.

        Args:
            tables: other weights than the means, e.g. pruned ones, (outputs, inputs + 1) each, of
                as many layers, which may be narrower; they are points: deviations would bring
                pruned weights back.

        Raises:
            InputError: as `at` and `data`, or if there is such a file.
        """
        layers = [layer.at((run, 0)) for layer in self.at([lam]).layers]
        chain, names = self.chain, self.config.layers
        if tables:
            chain, names = chain.narrowed(names, [len(table) for table in tables])
        save_chain(
            path,
            chain,
            names,
            tables or [layer.mean for layer in layers],
            [None if tables else layer.log_sigma for layer in layers],
            self.data(),
            lam,
        )

    def data(self) -> TrainingData | TableForm:
        """Returns what the networks are trained on: how images or rows enter, what outputs mean.

        Raises:
            InputError: in a run of an older version, which did not record it, as `task`.
        """
        return self.recorded or data_of(self.task())

    def task(self) -> Task:
        """Reads the data of the search once more.

        Raises:
            InputError: if they cannot be read, or have changed.
        """
        task = read_task(self.config, regression=self.hypernet.noisy_target)
        require_same_data(self.fingerprint, task.fingerprint, "this search", "search anew")
        return task


_SHARED = (
    "data", "target", "task", "split_seed", "val_fraction", "layers", "weights", "seed", "runs",
    "prior_variance",
)  # fmt: skip
"""What a search and the one that it starts have alike."""


def check_state(state: dict[str, Any], config: WeightConfig) -> None:
    """Refuses a checkpoint of a search in the space mlp whose parts have another form.

    Raises:
        Misfit: naming the part.
    """
    task = form.mapping(state.get("task"), "task")
    shape = task.get("input_shape")
    if type(shape) is not list or len(shape) not in (1, 3):
        raise form.Misfit(f"input_shape must be 1 or 3 numbers, got {show(shape)}")
    for size in (*shape, task.get("outputs")):
        form.whole(size, "a size of the task", 1, 1 << 24)
    if type(task.get("data", "")) is not str:
        raise form.Misfit(f"data must be a text of JSON, got {show(task['data'])}")
    if type(task.get("regression")) is not bool:
        raise form.Misfit(f"regression must be true or false, got {show(task.get('regression'))}")
    form.weights(state.get("hypernet"), "hypernet")
    form.whole(state.get("step", 0), "step", 0, 1 << 62)
    form.averages(state.get("averages", {}))
    form.deadline(state.get("deadline"))
    form.texts(state.get("fingerprint", {}), "fingerprint")
    if "w_optimizer" in state:
        form.optimizer(state["w_optimizer"], "w_optimizer")
    if config.tune == LOCAL:
        tuned = form.mapping(state.get("tuned"), "tuned")
        form.tensor(tuned.get("unit_lams"), "tuned λs", (config.runs,), torch.float64)
        if bool(((tuned["unit_lams"] < 0) | (tuned["unit_lams"] > 1)).any()):
            raise form.Misfit("tuned λs must be from 0 to 1")
        form.optimizer(tuned.get("optimizer"), "the optimizer of λ")


def _least_size(config: WeightConfig, chain: Chain) -> int:
    """How many weights the hypernetworks have at least."""
    if config.hypernet == "lowrank":
        return config.runs * config.hidden * config.rank
    lams = 1 if config.lam_range().low == config.lam_range().high else config.grid
    tables = {"piecewise": config.knots, "mlp": config.hidden, NONE: lams}
    size = sum(layer.num_params for layer in chain.layers)
    return config.runs * size * tables.get(config.hypernet, 1)


def build_weight_hypernet(
    config: WeightConfig, chain: Chain, *, noisy_target: bool
) -> WeightHypernet:
    """Builds a search's hypernetworks, or networks by themselves, at their initial parameters.

    Args:
        noisy_target: whether the noise of a regression's target is learned, too.
    """
    own = None
    if config.hypernet == NONE:
        lam_range = config.lam_range()
        own = lam_range.unit(lam_range.grid(config.grid))[:, 0]
    sigmas = (config.initial_sigma, config.initial_sigma_high)
    return WeightHypernet(
        chain,
        config.hypernet,
        range(config.seed, config.seed + config.runs),
        own=own,
        sigma=None if config.weights == POINT else sigmas,
        noisy_target=noisy_target,
        knots=config.knots,
        hidden=config.hidden,
        rank=config.rank,
    )


def read_task(config: WeightConfig, *, regression: bool | None = None) -> Task:
    """Reads the data of a search.

    Args:
        regression: what the search took its task for; None where it has yet to be told. Versions
            without the setting `task` regressed every table.

    Raises:
        InputError: as `load_task`.
    """
    task = config.task
    if task == AUTO and regression is not None:
        task = REGRESSION if regression else CLASSIFICATION
    return load_task(
        config.data,
        Path(config.data_root),
        target=config.target,
        task=task,
        split_seed=config.split_seed,
        val_fraction=config.val_fraction,
    )
