"""The run of a search in the space `mlp`, and what it leaves: a table and a picture along λ."""

import io
import math
import sys
import time
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from cells.chain import MLP
from nas.data.examples import Task
from nas.export.chain import data_of
from nas.optim.kind import SearchKind
from nas.reports.page import PAGE, attempt_page
from nas.reports.style import draw_letter, plain_axes, save_picture
from nas.reports.weights_page import write_weights_page
from nas.runtime import loop
from nas.runtime.files import write_csv
from nas.runtime.metrics import MetricsLog
from nas.runtime.processes import Processes
from nas.runtime.settings import read_settings
from nas.weight_search.config import POINT, WEIGHT_PRESETS, WeightConfig
from nas.weight_search.evidence import evidence, means, quality, validation
from nas.weight_search.networks import Generated, check_state, read_task
from nas.weight_search.searcher import WeightSearcher
from nas.weight_search.tuning import describe, tuned_rows

PAGE_EVERY = 2.0
"""Seconds between two pages of a search that goes on: its epochs may be much shorter."""


@torch.no_grad()
def weight_rows(generated: Generated, task: Task) -> list[dict[str, Any]]:
    """Makes a row for each λ of the grid: means and, of several runs, sample deviations.

    Everything is over the training part: the generalised evidence, the expected log-likelihood and
    the KL in nats, `train_accuracy` (or `train_rmse`, of a regression) of the networks with the
    means of their weights. Where there is a validation part, `val_nll`, nats per example, and
    `val_accuracy` (or `val_rmse`) of these are over it.
    """
    config = generated.config
    lams = generated.lam_range.grid(config.grid)[:, 0]
    posteriors = generated.at(lams.tolist())
    train = task.train.to(posteriors.layers[0].mean.device)
    found = evidence(
        task,
        generated.chain,
        posteriors,
        lams,
        train,
        prior_variance=config.prior_variance,
        draws=config.draws,
        seed=config.seed,
    )
    name = "train_rmse" if task.regression else "train_accuracy"
    values = {
        "evidence": found.evidence,
        "log_likelihood": found.log_likelihood,
        "kl": found.kl,
        name: quality(task, generated.chain, means(posteriors), train),
    }
    values |= validation(task, generated.chain, posteriors)
    rows = []
    for column, lam in enumerate(lams.tolist()):
        row = {"lam": lam}
        for key, value in values.items():
            row[key] = float(value[:, column].mean())
            if config.runs > 1:
                row[f"{key}_std"] = float(value[:, column].std())
        rows.append(row)
    return rows


def write_weight_report(folder: Path, generated: Generated, task: Task) -> list[dict[str, Any]]:
    """Writes front.csv and front.svg.

    Returns:
        The rows of front.csv.
    """
    rows = weight_rows(generated, task)
    last = "train_rmse" if task.regression else "train_accuracy"
    point = generated.config.weights == POINT

    def plot(figure: Figure) -> None:
        titles = {
            "evidence": "generalised evidence, nats per example",
            "kl": "Σ w² / 2σ₀²" if point else "KL of the weights, nats",
            last: f"training {last[6:]}, means of the weights",
        }
        lams = [row["lam"] for row in rows]
        for axes, (name, title) in zip(figure.subplots(1, 3), titles.items(), strict=True):
            share = len(task.train) if name == "evidence" else 1
            mean = [row[name] / share for row in rows]
            std = [row.get(f"{name}_std", 0.0) / share for row in rows]
            axes.plot(lams, mean, marker="." if len(rows) < 60 else "", linewidth=1.5)
            low, high = ([m + s * d for m, d in zip(mean, std, strict=True)] for s in (-1, 1))
            axes.fill_between(lams, low, high, alpha=0.2)
            axes.set_xscale("log")
            axes.set_xlabel("λ")
            if name == "kl":
                axes.set_yscale("log")
            plain_axes(axes, title)

    save_picture(folder / "front.svg", (12, 3.6), plot)
    write_csv(folder / "front.csv", rows)
    return rows


def begin(
    config: WeightConfig, processes: Processes, state: dict[str, Any] | None
) -> WeightSearcher:
    """Builds a search; networks by themselves may begin with another search's weights."""
    regression = None if state is None else bool(state["task"]["regression"])
    task = processes.main_first(lambda: read_task(config, regression=regression))
    if processes.is_main:
        for line in task.told:
            print(line, file=sys.stderr)
    start = None
    if config.start is not None and state is None:
        start = Generated.load(config.start).starts(config)
    return WeightSearcher(config, processes, task, start=start, state=state)


def describe_task(searcher: WeightSearcher) -> str:
    """Says in a line what the examples are; see `SearchKind`."""
    task = searcher.problem.task
    held_out = "" if task.val is None else f", {len(task.val):,} held out"
    what = "a regression" if task.regression else f"{task.outputs} classes"
    shape = "×".join(map(str, task.input_shape))
    return f"{len(task.train):,} examples train{held_out}, {len(task.test):,} test; {shape}, {what}"


def rough_bytes(searcher: WeightSearcher) -> int:
    """Bytes that a step does not exceed, as if 32 numbers were kept for each output and weight."""
    config, problem = searcher.config, searcher.problem
    lams = config.lams_per_step if problem.own_lams is None else len(problem.own_lams)
    outputs = sum(math.prod(shape) for shape in problem.chain.output_shapes)
    weights = sum(weight.numel() for weight in problem.weights)
    inputs = math.prod(problem.task.input_shape)
    examples = config.batch_size * config.runs * lams
    return 4 * 32 * (examples * (inputs + outputs) + weights * (lams + 1))


def trial(searcher: WeightSearcher, batch_size: int) -> WeightSearcher:
    """Builds a search like another one, on its data; see `SearchKind`."""
    config = replace(searcher.config, batch_size=batch_size)
    return WeightSearcher(config, searcher.processes, searcher.problem.task)


def after(searcher: WeightSearcher, folder: Path) -> dict[str, float]:
    """Tells what the report will take, by writing one; see `SearchKind`."""
    begun = time.perf_counter()
    with redirect_stdout(io.StringIO()):
        report(searcher, folder)
    return {"report": time.perf_counter() - begun}


def complete(searcher: WeightSearcher, folder: Path, resumed: bool) -> None:
    """Runs a search to its end and reports it; its page shows how far it has come."""
    written = -math.inf

    def epoch_ends() -> None:
        nonlocal written
        if time.monotonic() - written >= PAGE_EVERY:
            _write_page(searcher, folder)
            written = time.monotonic()

    loop.run(searcher, folder, epoch_ends=epoch_ends)
    searcher.processes.in_main(lambda: report(searcher, folder))


def report(searcher: WeightSearcher, path: Path) -> None:
    """Writes the table, the picture and the page of a finished search."""
    generated, task = _generated(searcher), searcher.problem.task
    if generated.tuned is not None:
        rows = tuned_rows(generated, generated.tuned, task)
        write_csv(path / "front.csv", rows)
        print("\n".join(describe(rows, generated)))
        _write_page(searcher, path)
        print(f"table in {path / 'front.csv'}; the networks: python -m nas tune {path}")
        return
    rows = write_weight_report(path, generated, task)
    _write_page(searcher, path)
    for row in (rows[0], rows[-1]) if len(rows) > 1 else rows:
        print(f"λ = {row['lam']:g}: evidence {row['evidence']:,.0f} nats, KL {row['kl']:,.0f} nats")
    print(f"{len(rows)} λs in {path / 'front.csv'}, picture in {path / 'front.svg'}")
    print(f"page: {path / PAGE}")


def _write_page(searcher: WeightSearcher, folder: Path) -> None:
    attempt_page(folder, lambda: write_weights_page(folder, searcher.config.to_dict()))


def rehearse(searcher: WeightSearcher, folder: Path) -> None:
    """Makes the table of `report` on two examples, with one draw of the weights."""
    generated, task, two = _generated(searcher), searcher.problem.task, torch.arange(2)
    val = None if task.val is None else task.val.at(two % len(task.val))
    task = replace(task, train=task.train.at(two), val=val)
    if generated.tuned is not None:
        rows = tuned_rows(generated, generated.tuned, task)
    else:
        generated.config = replace(generated.config, draws=1)
        rows = weight_rows(generated, task)
    write_csv(folder / "front.csv", rows)
    draw_letter(folder / "front.svg")
    MetricsLog(folder / "metrics.jsonl").append({"step": 0, **searcher.ends()})
    write_weights_page(folder, searcher.config.to_dict())


def _generated(searcher: WeightSearcher) -> Generated:
    """Returns the networks of a search as they are."""
    problem = searcher.problem
    return Generated(
        searcher.config, problem.chain, problem.hypernet, problem.tuned_lams, problem.fingerprint,
        data_of(problem.task),
    )  # fmt: skip


KIND = SearchKind(
    config=WeightConfig,
    presets=WEIGHT_PRESETS,
    recognises=lambda values: values.get("space") == MLP,
    read_config=lambda values: read_settings(WeightConfig, values),
    state_keys=frozenset({"config", "step", "hypernet"}),
    check_state=check_state,
    begin=begin,
    rehearse=rehearse,
    describe=describe_task,
    rough_bytes=rough_bytes,
    trial=trial,
    after=after,
    complete=complete,
)
