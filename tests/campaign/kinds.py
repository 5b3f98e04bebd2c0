"""Kinds of run of about a second, how each is gone on with, and all that one leaves."""

import csv
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.export.safetensors import load
from nas.runtime import checkpoint

ALONE = "--device cpu --threads 1"
TINY = (
    "--data digits --channels 2 --num-cells 1 --stem-stride 2 --batch-size 256 --epochs 3 "
    f"--warmup-epochs 1 --grid 3 --eval-images 50 --w-lr 0.1 --arch-lr 0.1 {ALONE} --out run"
)
SMALL = f"--data digits --layers 4 --batch-size 512 --grid 3 --epochs 3 --draws 1 {ALONE} --out run"
RETRAIN = f"--batch-size 512 --epochs 2 --warmup-epochs 0 {ALONE}"
SCORE = "--estimator score --score-lams 4 --finalists 10"
TICKETS = f"--data digits --layers 4 --rounds 2 --epochs 2 --runs 1 --batch-size 512 {ALONE}"


class Kind(NamedTuple):
    """A kind of run."""

    command: str
    """How it begins; GENOTYPE stands for the first of the run in `found`."""
    found: str | None = None
    """The kind whose finished run is found beside it, under that name."""
    resumed: bool = True
    """Whether it goes on with --resume; otherwise with the same command."""
    done: str | None = None
    """File that is there when nothing is left to do, where the same command refuses it."""
    ranks: int = 1
    """Processes of it."""


def _search(options: str, preset: str = "digits") -> Kind:
    return Kind(f"search {preset} {TINY} {options}")


KINDS = {
    "digits": _search(""),
    "cells of nasbench201": _search("--space nasbench201"),
    "score": _search(f"--space nasbench201 {SCORE}"),
    "nasbench201": _search("--score-lams 4 --finalists 10 --searches 1", "nasbench201"),
    "projection": _search("--space nasbench201 --bounds params=400 --constraint projection"),
    "multiplier": _search("--space nasbench201 --bounds params=400 --constraint multiplier"),
    "stages": _search("--space nasbench201 --relax dirichlet --keep-ops 2 --partial-channels 2 1"),
    "darts-cc": _search("", "darts-cc"),
    "second order": _search("--space nasbench201 --relax softmax --order second"),
    "two costs": _search("--space nasbench201 --costs params latency --hypernet piecewise"),
    "gaussian": _search("--space nasbench201 --weights gaussian --costs kl"),
    "generated": _search("--space nasbench201 --weights generated --lams-per-step 2"),
    "perturbed": _search("--space nasbench201 --relax softmax --perturb adversarial"),
    "pc-darts": _search("--method pc-darts --channels 4"),
    "evolution": _search("--method evolution --finalists 70 --space nasbench201"),
    "two searches": _search(f"--space nasbench201 --searches 2 {SCORE} --threads 0"),
    "two processes": _search("--space nasbench201")._replace(ranks=2),
    "mlp": Kind(f"search mlp-digits {SMALL} --runs 2"),
    "mlp, point": Kind(f"search mlp-digits {SMALL} --weights point --val-fraction 0.2"),
    "mlp, local": Kind(f"search mlp-digits {SMALL} --tune local --val-fraction 0.2"),
    "report": Kind("search --resume found", "digits", resumed=False),
    "report of finalists": Kind("search --resume found", "score", resumed=False),
    "retrain": Kind(f"retrain --genotype GENOTYPE {RETRAIN} --out run", "digits"),
    "two seeds": Kind(f"retrain --genotype GENOTYPE {RETRAIN} --seeds 0 1 --out run", "digits"),
    "inherit": Kind(
        f"retrain --genotype GENOTYPE --inherit found {RETRAIN} --out run", "digits"
    ),
    "family": Kind(f"nas family found --cells 2 {RETRAIN}", "digits", resumed=False),
    "family at once": Kind(
        f"nas family found --cells 2 --at-once 2 --seeds 0 1 {RETRAIN}", "digits", resumed=False
    ),
    "tune": Kind("nas tune found", "mlp, point", resumed=False, done="found/tuned"),
    "generate": Kind(
        "nas generate found --lam 1", "mlp", resumed=False, done="found/network-1.safetensors"
    ),
    "draw": Kind("nas draw found --out pictures", "digits", resumed=False),
    "lottery": Kind(f"nas lottery {TICKETS} --out run", resumed=False),
}  # fmt: skip
"""By name."""


def arguments(kind: Kind, work: Path) -> list[str] | None:
    """How a kind of run begins, or goes on, in a folder; None if nothing is left to do."""
    if kind.done is not None and (work / kind.done).exists():
        return None
    program, *rest = kind.command.split()
    if kind.resumed and (work / "run" / "config.json").exists():
        return [program, "--resume", "run"]
    (first,) = sorted(work.glob("found/genotypes/00-*.json")) or [work]
    return [program, *(part.replace("GENOTYPE", str(first.relative_to(work))) for part in rest)]


def readable(work: Path) -> None:
    """Makes sure that every checkpoint, network and table that a killed run left can be read."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*went back to checkpoint.*")
        for path in work.rglob("*"):
            if any(part.startswith(".") for part in path.relative_to(work).parts):
                continue
            if path.name.startswith("checkpoint") and path.name.endswith(".sha256"):
                current = path.name.removesuffix(".sha256").replace(".previous", "")
                if checkpoint.exists(path.with_name(current)):  # not amid the first saving
                    checkpoint.load(path.with_name(current))
            elif path.name.startswith("model"):
                load(path)
            elif path.suffix == ".json":
                json.loads(path.read_text())


def record(work: Path) -> dict[str, Any]:
    """All that a finished run leaves, by file; of the time that it took nothing.

    Drafts and checkpoints before the last are no part of it, temporary files are.
    """
    found: dict[str, Any] = {}
    for path in sorted(work.rglob("*")):
        name = str(path.relative_to(work))
        if path.is_dir() or path.name == ".owner" or ".previous." in name:
            continue
        if path.suffix == ".pt":
            found[name] = _plain(checkpoint.load(path))
        elif path.name == "metrics.jsonl":
            rows = [_untimed(json.loads(line)) for line in path.read_text().splitlines()]
            # Networks that take turns write in another order when they go on.
            found[name] = sorted(rows, key=lambda row: row["step"])
            steps = [row["step"] for row in rows]
            assert len({*steps}) == len(steps), f"{name} has {steps}"
        elif path.name == "result.json":
            found[name] = _untimed(json.loads(path.read_text()))
        elif path.name == "retrained.csv":
            with path.open(newline="") as file:
                found[name] = [_untimed(row) for row in csv.DictReader(file)]
        elif path.suffix != ".sha256":
            found[name] = path.read_bytes()
    return found


def differences(found: dict[str, Any], expected: dict[str, Any]) -> Sequence[str]:
    """The files in which two records differ."""
    names = sorted(found.keys() | expected.keys())
    return [name for name in names if found.get(name) != expected.get(name)]


def _untimed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "seconds"}


def _plain(value: Any) -> Any:
    """A state with the bytes of its tensors in their place, without times."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in _untimed(value).items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Tensor):
        data = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return str(value.dtype), tuple(value.shape), data
    return repr(value) if isinstance(value, float) else value
