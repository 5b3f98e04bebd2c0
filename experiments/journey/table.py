"""What the journey found, as tables."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from nas.selection.pareto import hypervolume

CHANCE = 0.1
"""Accuracy of ten classes by chance."""


def share(members: Sequence[dict[str, Any]], bound: int) -> float:
    """Returns the hypervolume of a front, as a share of 100 % accuracy without any parameter.

    Args:
        members: with `accuracy` and `params`.
        bound: parameters beyond which nothing counts.
    """
    volume = hypervolume(
        [each["accuracy"] for each in members],
        [[each["params"]] for each in members],
        least=CHANCE,
        most=[bound],
    )
    return volume / ((1 - CHANCE) * bound)


def tables(own: Sequence[dict[str, Any]], rivals: Sequence[dict[str, Any]], bound: int) -> str:
    """Returns the tables in Markdown, for one seed after the other of both sides."""
    steps = list(own[0]["minutes"])
    lines = [f"| minutes | {' | '.join(steps)} | whole | ONNX file, kB |"]
    lines.append("|:--|" + "--:|" * (len(steps) + 2))
    for seed, each in enumerate(own):
        times = [each["minutes"][step] for step in steps]
        numbers = " | ".join(f"{time:.1f}" for time in [*times, sum(times)])
        lines.append(f"| seed {seed} | {numbers} | {each['bytes'] / 1000:.0f} |")
    lines += ["", f"| within {bound:,} parameters | parameters | test accuracy, % |"]
    lines.append("|:--|--:|--:|")
    for name, nets in (
        ("the tool's cell", [each["cell"] for each in own]),
        ("the largest random cell", [each["random"] for each in rivals]),
        ("MobileNetV2, scaled", [each["mobilenet"] for each in rivals]),
    ):
        sizes = " ".join(f"{net['params']:,}" for net in nets)
        lines.append(f"| {name} | {sizes} | {_percent([net['accuracy'] for net in nets])} |")
    lines += ["", "| front | members retrained | hypervolume, % |", "|:--|:--|--:|"]
    for name, fronts in (
        ("the tool's", [each["members"] for each in own]),
        (f"optuna's TPE, {_trials(rivals)} trials", [each["members"] for each in rivals]),
    ):
        shown = "; ".join(
            ", ".join(f"{net['params']:,}: {100 * net['accuracy']:.1f}" for net in front)
            for front in fronts
        )
        shares = _percent([share(front, bound) for front in fronts])
        lines.append(f"| {name} | {shown} | {shares} |")
    return "\n".join(lines)


def _trials(rivals: Sequence[dict[str, Any]]) -> str:
    return ", ".join(str(each["trials"]) for each in rivals)


def _percent(values: Sequence[float]) -> str:
    spread = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{spread}"
