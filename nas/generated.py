"""A finished search in the space `mlp` as a function of λ: networks at once, without training.

    python -m nas.generated runs/mlp --lam 1 --out net.safetensors

writes the network at a λ; `network` gives it as an ordinary module.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from cells.chain import Chain
from cells.errors import InputError
from nas import checkpoint
from nas.commandline import Parser
from nas.examples import Task, load_task
from nas.runs import CHECKPOINT
from nas.runtime import run_script, write_atomically
from nas.settings import read_settings
from nas.weight_config import LOCAL, MLP, NONE, POINT, WeightConfig
from nas.weightnet import Posteriors, WeightHypernet


class Generated:
    """The networks of one search.

        generated = Generated.load("runs/mlp")
        net = generated.network(1.0)

    Attributes:
        config: the settings of the search.
        chain: the layers of every network.
        hypernet: λ -> posteriors.
        tuned: the λ that each run learned, (runs,) float64, if they learned one (`--tune local`).
    """

    def __init__(
        self,
        config: WeightConfig,
        chain: Chain,
        hypernet: WeightHypernet,
        tuned: Tensor | None = None,
    ) -> None:
        self.config = config
        self.chain = chain
        self.hypernet = hypernet
        self.tuned = tuned
        self.lam_range = config.lam_range()

    @classmethod
    def load(cls, run: str | Path) -> "Generated":
        """Reads a run folder.

        Raises:
            InputError: if it has no usable checkpoint of a search in the space mlp.
        """
        path = Path(run) / CHECKPOINT
        state = checkpoint.load(path)
        if state.get("config", {}).get("space") != MLP:
            raise InputError(f"{path} is not the checkpoint of a search in the space {MLP}")
        config = read_settings(WeightConfig, state["config"])
        task = state["task"]
        chain = Chain.parse(config.layers, task["input_shape"], task["outputs"])
        hypernet = build_weight_hypernet(config, chain, noisy_target=task["regression"])
        checkpoint.fill(hypernet, state["hypernet"], path)
        tuned = None
        if config.tune == LOCAL:
            tuned = config.lam_range().lam(state["tuned"]["unit_lams"][:, None])[:, 0]
        return cls(config, chain, hypernet, tuned)

    def at(self, lams: Sequence[float]) -> Posteriors:
        """Posteriors of every run's networks at some λs, of (runs, lams) networks.

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
        """What networks by themselves begin with in another search, of (runs, λs of its grid).

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
        """The network at a λ as an ordinary module, with the means of its weights.

        It takes images scaled to [0, 1], or a table's features as the search scaled them.

        Raises:
            InputError: as `at`.
        """
        return module_of(self.chain, [mean[run, 0] for mean, _ in self.at([lam]).layers])

    def task(self) -> Task:
        """Reads the data of the search once more.

        Raises:
            InputError: if they cannot be read.
        """
        return read_task(self.config)


_SHARED = (
    "data", "target", "split_seed", "val_fraction", "layers", "weights", "seed", "runs",
    "prior_variance",
)  # fmt: skip
"""What a search and the one that it starts have alike."""


def read_task(config: WeightConfig) -> Task:
    """Reads the data of a search.

    Raises:
        InputError: as `load_task`.
    """
    return load_task(
        config.data,
        Path(config.data_root),
        target=config.target,
        split_seed=config.split_seed,
        val_fraction=config.val_fraction,
    )


@torch.no_grad()
def module_of(chain: Chain, tables: Sequence[Tensor]) -> nn.Sequential:
    """An ordinary module with given weights, (outputs, inputs + 1) for each layer that has some."""
    module = chain.module()
    layers = [layer for layer in module if isinstance(layer, nn.Linear | nn.Conv2d)]
    for layer, table in zip(layers, tables, strict=True):
        layer.weight.copy_(table[:, :-1].reshape(layer.weight.shape))
        assert layer.bias is not None
        layer.bias.copy_(table[:, -1])
    return module


def build_weight_hypernet(
    config: WeightConfig, chain: Chain, *, noisy_target: bool
) -> WeightHypernet:
    """Builds a search's hypernetworks, or networks by themselves, at their initial parameters."""
    own = None
    if config.hypernet == NONE:
        lam_range = config.lam_range()
        own = lam_range.unit(lam_range.grid(config.grid))[:, 0]
    return WeightHypernet(
        chain,
        config.hypernet,
        range(config.seed, config.seed + config.runs),
        own=own,
        sigma=None
        if config.weights == POINT
        else (config.initial_sigma, config.initial_sigma_high),
        noisy_target=noisy_target,
        knots=config.knots,
        hidden=config.hidden,
        rank=config.rank,
    )


def save_generated(
    path: Path,
    generated: Generated,
    lam: float,
    run: int = 0,
    tables: Sequence[Tensor] | None = None,
) -> None:
    """Writes a network with the deviations of its weights as safetensors, whole or not at all.

    The metadata hold `format`, `version` and, as JSON, the layers, the shape of an input, the
    outputs and λ. Tensors are the weights of the module by their names in it, and, unless weights
    are points, `log_sigmas` of each layer, (outputs, inputs + 1).

    Args:
        tables: other weights than the means, e.g. pruned ones, (outputs, inputs + 1) each.

    Raises:
        InputError: as `Generated.at`, or if there is such a file.
    """
    if path.exists():
        raise InputError(f"{path} exists: choose another --out")
    layers = generated.at([lam]).layers
    module = module_of(generated.chain, tables or [mean[run, 0] for mean, _ in layers])
    tensors: dict[str, Tensor] = dict(module.state_dict())
    for number, (_, log_sigma) in enumerate(layers):
        if log_sigma is not None:
            tensors[f"log_sigmas.{number}"] = log_sigma[run, 0].contiguous()
    description: dict[str, Any] = {
        "layers": generated.config.layers,
        "input_shape": generated.chain.input_shape,
        "outputs": generated.chain.layers[-1].outputs,
        "lam": lam,
    }
    metadata = {"format": "nas-chain", "version": "1", "network": json.dumps(description)}
    write_atomically(path, save(tensors, metadata))


def _command() -> None:
    parser = Parser(prog="python -m nas.generated", description="Write the network at a λ.")
    parser.add_argument("run", type=Path, help="folder of a search in the space mlp")
    parser.add_argument("--lam", type=float, required=True, help="inside the searched range")
    parser.add_argument("--seed-number", type=int, default=0, help="which of the runs (default 0)")
    parser.add_argument("--out", type=Path, help="file (default RUN/network-LAM.safetensors)")
    args = parser.parse_args()
    generated = Generated.load(args.run)
    if not 0 <= args.seed_number < generated.config.runs:
        raise InputError(
            f"--seed-number must lie in 0 … {generated.config.runs - 1}, got {args.seed_number}"
        )
    out = args.out or args.run / f"network-{args.lam:g}.safetensors"
    save_generated(out, generated, args.lam, args.seed_number)
    print(f"{generated.chain.num_params:,} parameters in {out}")


def main() -> None:
    """`python -m nas.generated`."""
    run_script(_command)


if __name__ == "__main__":
    main()
