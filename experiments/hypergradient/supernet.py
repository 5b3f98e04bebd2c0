"""The mixed term on real supernets: finite differences against the exact form, float64.

    python -m experiments.hypergradient.supernet

Two small supernets on scikit-learn's digits, as they are, with ReLU, and with softplus in its
place. As in `experiments.hypergradient`, the validation loss is cut off from φ, so that the mixed
term is all that remains of a hypergradient.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from experiments.hypergradient.problems import flat
from nas.cell_search.config import SearchConfig
from nas.cell_search.searcher import Searcher
from nas.objective.terms import StepInputs
from nas.optim.bilevel import Hypergradient, exact, finite_difference
from nas.runtime.processes import Processes

EPSILONS = (1e-2, 1e-3, 1e-4, 1e-6, 1e-8)
CONFIGS = {
    "NAS-Bench-201, 3 cells × 8": SearchConfig(space="nasbench201", num_cells=3, channels=8),
    "DARTS, 2 cells × 4": SearchConfig(space="darts", num_cells=2, channels=4),
}


def soften(module: nn.Module) -> None:
    """Puts softplus in the place of every ReLU module."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.Softplus())
        soften(child)


def double(sample: StepInputs) -> StepInputs:
    """The same sample in float64."""
    noise = [None if x is None else x.double() for x in sample.relax_noise]
    return sample._replace(
        x=sample.x.double(), unit_lams=sample.unit_lams.double(), relax_noise=noise
    )


def errors(config: SearchConfig, *, smooth: bool, warmup: int = 20) -> tuple[float, list[float]]:
    """Measures one supernet after some steps of training.

    Returns:
        Norm of the mixed term times the learning rate, relative to that of the whole
        hypergradient; relative errors of the mixed term, one for each of `EPSILONS`.
    """
    searcher = Searcher(config, Processes(0, 1, torch.device("cpu")))
    if smooth:
        soften(searcher.supernet)
    for _ in range(warmup):
        searcher.advance()
    problem = searcher.problem
    state = searcher.w_optimizer.state
    buffers = [state[w]["momentum_buffer"].double() for w in problem.weights]
    problem.objective.double()
    train, val = (double(problem.sample(half, warmup)) for half in ("train", "val"))
    weights = tuple(w.detach() for w in problem.weights)
    arch = tuple(a.detach() for a in problem.arch)

    def train_loss(w: tuple[Tensor, ...], a: tuple[Tensor, ...]) -> Tensor:
        return problem.evaluate(train, w, a).total

    def val_loss(w: tuple[Tensor, ...], a: tuple[Tensor, ...]) -> Tensor:
        return problem.evaluate(val, w, a, balance_lams=True).objective

    def val_loss_cut(w: tuple[Tensor, ...], a: tuple[Tensor, ...]) -> Tensor:
        return val_loss(w, tuple(x.detach() for x in a))

    settings: dict[str, Any] = {
        "lr": searcher.w_lr(),
        "momentum": 0.9,
        "weight_decay": config.w_weight_decay,
    }

    def mixed(form: str, epsilon: float = 0.0) -> Tensor:
        result: Hypergradient
        if form == "exact":
            result = exact(train_loss, val_loss_cut, weights, arch, buffers=buffers, **settings)
        else:
            result = finite_difference(
                train_loss,
                val_loss_cut,
                weights,
                arch,
                buffers=buffers,
                epsilon=epsilon,
                **settings,
            )
        return flat(result)

    reference = mixed("exact")
    whole = flat(exact(train_loss, val_loss, weights, arch, buffers=buffers, **settings))
    relative = [float((mixed("fd", e) - reference).norm() / reference.norm()) for e in EPSILONS]
    return float(reference.norm() / whole.norm()), relative


def main() -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    print("| supernet | mixed term / hypergradient |", end="")
    print("".join(f" ε = {e:.0e} |" for e in EPSILONS))
    print("|:--|--:|" + "--:|" * len(EPSILONS))
    for name, config in CONFIGS.items():
        for smooth in (False, True):
            share, relative = errors(
                replace(config, relax="gumbel", hypernet="piecewise", epochs=5), smooth=smooth
            )
            cells = "".join(f" {error:.0e} |" for error in relative)
            kind = "softplus" if smooth else "ReLU"
            print(f"| {name}, {kind} | {share:.1e} |{cells}")


if __name__ == "__main__":
    main()
