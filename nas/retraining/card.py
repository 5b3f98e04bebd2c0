"""CARD.md of a retraining: what its networks are, were trained on, are worth and cost."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from cells.genotype import Genotype
from cells.output_files import write_atomically
from nas.data.datasets import ImageData
from nas.reports.cell_graph import draw_genotype
from nas.retraining.config import PRESETS, RetrainConfig, fine_tuning

CARD = "CARD.md"
GENOTYPE = "genotype.json"
BASE = "default"
"""Preset that the command names, so that no other is chosen by the data."""
LICENCES = {"fashion": "MIT"}
"""Of the named data sets whose authors state one beside the data."""


def write_card(
    folder: Path,
    config: RetrainConfig,
    genotype: Genotype,
    data: ImageData,
    result: Mapping[str, Any],
    models: Mapping[int, str],
) -> None:
    """Draws the cell and writes CARD.md beside the networks.

    Args:
        config: with all that was left to the genotype's search filled in.
        result: what is in result.json.
        models: file of the network of each seed.
    """
    picture = draw_genotype(genotype, folder / "cell").name
    text = card(folder, config, genotype, data, result, models, picture)
    write_atomically(folder / CARD, text.encode("utf-8", "backslashreplace"))


def card(
    folder: Path,
    config: RetrainConfig,
    genotype: Genotype,
    data: ImageData,
    result: Mapping[str, Any],
    models: Mapping[int, str],
    picture: str,
) -> str:
    """Returns the text of CARD.md, see `write_card`."""
    shape = "×".join(map(str, (data.channels, data.height, data.width)))
    spread = "" if result["std"] is None else f" ± {100 * result['std']:.2f}"
    seeds = ", ".join(map(str, result["seeds"]))
    metric = result["metric"].replace("_", " ")
    facts = {
        "Data": f"{escape(str(config.data))}: {len(data.train):,} training and {len(data.test):,} "
        f"test images of {shape}, {len(data.classes)} classes",
        "Licence of the data": LICENCES.get(str(config.data), "not known to this program"),
        f"Test {metric}": f"{100 * result['mean']:.2f}{spread} %, seeds {seeds}",
        "The most frequent class alone": f"{100 * result['majority']:.2f} %",
        "Parameters": f"{result['costs']['params']:,}",
        "Multiply–adds of one image": f"{result['costs']['flops']:,}",
        "Cells": f"{config.num_cells} of space {genotype.space}, {config.channels} channels",
        "Training": f"{result['epochs']} epochs, {result['precision']}",
    }
    if genotype.lam:
        told = ", ".join(f"{escape(name)} {lam:.4g}" for name, lam in genotype.lam.items())
        facts["λ of the search"] = told
    networks = [
        f"| {models[seed]} | {seed} | {100 * accuracy:.2f} % |"
        for seed, accuracy in zip(result["seeds"], result["test_accuracy"], strict=True)
    ]
    command = command_of(folder, config)
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", command)), default=0))
    deviation = f"The {metric} is the mean over the seeds"
    deviation += "." if result["std"] is None else ", ± their sample standard deviation."
    return "\n".join(
        [
            f"# {escape(genotype.name or genotype.id)}",
            "",
            f"![its cells]({picture})",
            "",
            "| | |",
            "|:--|:--|",
            *(f"| {name} | {value} |" for name, value in facts.items()),
            "",
            f"{deviation} Each network was tested once, after its last epoch; nothing was chosen "
            "by the test images.",
            "",
            "| file | seed | test accuracy |",
            "|:--|--:|--:|",
            *networks,
            "",
            "Made again, from the folder in which it was made, by",
            "",
            f"{fence}sh",
            command,
            fence,
            "",
        ]
    )


def command_of(folder: Path, config: RetrainConfig) -> str:
    """Returns the command that trains the same networks once more, in another folder."""
    base = PRESETS[BASE] if config.inherit is None else fine_tuning(PRESETS[BASE])
    words = ["python", "-m", "nas", "retrain", BASE, "--genotype", str(folder / GENOTYPE)]
    for field in fields(config):
        value = getattr(config, field.name)
        # The warm-up would follow the epochs, if it were not named.
        if field.name == "genotype" or (
            value == getattr(base, field.name) and field.name != "warmup_epochs"
        ):
            continue
        words.append(f"--{field.name.replace('_', '-')}")
        words += map(str, value if isinstance(value, tuple) else [value])
    return shlex.join([*words, "--out", f"{folder}-again"])


def escape(text: str) -> str:
    """Returns a text that Markdown shows as it is, on one line, unprintable characters escaped."""
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&:.\-])", r"\\\1", plain)
