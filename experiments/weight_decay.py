"""The weight decay of a network found through its best response, beside a grid of weight decays.

    python -m experiments.weight_decay --out runs/weight-decay

trains 64–100–10 on 288 digits, three seeds side by side: networks by themselves for 13 λs, one
hypernetwork for the whole range, whose λ is tuned afterwards, and hypernetworks whose λ is tuned as
they are trained. The same command resumes where it stopped.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.hypernets.bench import figures
from experiments.records import finished, recorded
from nas.runtime.commandline import Parser
from nas.runtime.metrics import MetricsLog
from nas.runtime.script import run_script
from nas.weight_search.config import WeightConfig
from nas.weight_search.evidence import means, quality, validation
from nas.weight_search.networks import Generated
from nas.weight_search.tuning import tune

BASE = WeightConfig(
    data="digits", layers=("100",), weights="point", val_fraction=0.8, lam_low=0.001, lam_high=1.0,
    epochs=400, batch_size=128, runs=3, device="cpu", threads=1,
)  # fmt: skip
GRID = "networks by themselves"
ROWS = {
    GRID: replace(BASE, hypernet="none", grid=13),
    "global": BASE,
    "local": replace(BASE, tune="local"),
    "local, twice the width": replace(BASE, tune="local", tune_width=1.0),
    "local, half the width": replace(BASE, tune="local", tune_width=0.25),
    "local, from λ = 1": replace(BASE, tune="local", lam_low=0.01, lam_high=100.0),
    "local, low rank": replace(BASE, tune="local", hypernet="lowrank"),
    "local, MLP": replace(BASE, tune="local", hypernet="mlp"),
    "local, linear": replace(BASE, tune="local", hypernet="linear"),
    "local, linear, 3 × the width, 8 λs": replace(
        BASE, tune="local", hypernet="linear", tune_width=1.5, lams_per_step=8
    ),
}


def measure(config: WeightConfig, folder: Path) -> dict[str, Any]:
    """What one row found: by run, and of networks by themselves by run and then by λ.

    Returns:
        `lam`, `val_nll` in nats per example, `test` accuracy, and the `seconds` of all steps.
    """
    generated = Generated.load(finished(config, folder))
    task = generated.task()
    lams: Tensor
    if generated.hypernet.own is None:
        lams = tune(generated, task)[:, None]
        unit_lams = generated.lam_range.unit(lams).float()
        with torch.no_grad():
            posteriors = generated.hypernet(unit_lams)
    else:
        lams = generated.lam_range.grid(config.grid)[:, 0]
        posteriors = generated.at(lams.tolist())
        lams = lams.expand(config.runs, -1)
    log = MetricsLog(folder / "metrics.jsonl").read()
    return {
        "lam": lams.tolist(),
        "val_nll": validation(task, generated.chain, posteriors)["val_nll"].tolist(),
        "test": quality(task, generated.chain, means(posteriors), task.test).tolist(),
        "seconds": sum(line["seconds"] for line in log),
    }


def best(found: dict[str, Any]) -> dict[str, Any]:
    """Of each run what has the least validation loss, lists of one."""
    places = [min(range(len(row)), key=row.__getitem__) for row in found["val_nll"]]
    return {
        name: [[row[place]] for row, place in zip(found[name], places, strict=True)]
        for name in ("lam", "val_nll", "test")
    }


def report(out: Path) -> str:
    """Both tables, in Markdown."""
    out.mkdir(parents=True, exist_ok=True)
    found = {}
    for number, (name, config) in enumerate(ROWS.items()):
        folder = out / f"row-{number}"
        found[name] = recorded(out / f"row-{number}.json", partial(measure, config, folder))
    alone = found[GRID]
    columns = (figures(alone["val_nll"], 4), figures(alone["test"], 4))
    lines = ["| λ | validation loss, nats | test accuracy |", "|--:|--:|--:|"]
    for lam, loss, accuracy in zip(alone["lam"][0], *columns, strict=True):
        lines.append(f"| {lam:.2g} | {loss} | {accuracy} |")
    lines += [
        "",
        "| way | λ of each seed | validation loss, nats | test accuracy | seconds |",
        "|:--|--:|--:|--:|--:|",
    ]
    for name, row in found.items():
        chosen = best(row)
        lams = ", ".join(f"{lam:.3f}" for (lam,) in chosen["lam"])
        (loss,), (accuracy,) = (figures(chosen[column], 4) for column in ("val_nll", "test"))
        title = "best of the grid" if name == GRID else name
        lines.append(f"| {title} | {lams} | {loss} | {accuracy} | {row['seconds']:.0f} |")
    return "\n".join(lines)


def _command() -> None:
    parser = Parser(prog="python -m experiments.weight_decay")
    parser.add_argument("--out", type=Path, default=Path("runs/weight-decay"), help="folder")
    print(report(parser.parse_args().out))


def main() -> None:
    """`python -m experiments.weight_decay`."""
    run_script(_command)


if __name__ == "__main__":
    main()
