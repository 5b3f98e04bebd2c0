"""Hypergradients against a problem solved by hand, and finite differences against the exact form.

    python -m experiments.hypergradient [--out FILE]

1.  A quadratic bilevel problem whose hypergradient is a few matrix products.
2.  A small network of mixed operations on scikit-learn's digits: the error of the mixed term by
    finite differences for a range of ε, in double and single precision, with smooth operations
    and with ReLU, whose kinks a smaller ε does not smooth.

Prints Markdown. Everything is seeded and runs on one thread: the same table every time.
"""

from pathlib import Path

import numpy as np
import torch

from experiments.hypergradient.problems import (
    EPSILONS,
    FIT_RANGE,
    KINKED,
    SMOOTH,
    Step,
    digits_problem,
    flat,
    mixed_term_errors,
    quadratic,
    slope,
)
from nas.optim.bilevel import exact, finite_difference, first_order
from nas.runtime.commandline import Parser
from nas.runtime.script import run_script


def quadratic_table() -> list[str]:
    """Returns the Markdown lines of the first table."""
    (train_loss, val_loss, weights, arch, buffers), solution = quadratic(seed=0)
    step = Step(lr=0.1)
    hand = solution(step)
    first = first_order(val_loss, weights, arch)
    second, double = (
        form(train_loss, val_loss, weights, arch, buffers=buffers, **step._asdict())
        for form in (finite_difference, exact)
    )
    columns = {
        "by hand": hand,
        "first order": flat(first).numpy(),
        "finite differences, ε = 0.01": flat(second).numpy(),
        "exact": flat(double).numpy(),
    }
    lines = ["| hypergradient | φ₁ | φ₂ | φ₃ | relative error |", "|:--|--:|--:|--:|--:|"]
    for name, grad in columns.items():
        error = np.linalg.norm(grad - hand) / np.linalg.norm(hand)
        lines.append(f"| {name} | {' | '.join(f'{x:.9f}' for x in grad)} | {error:.0e} |")
    return lines


def error_table() -> list[str]:
    """Returns the Markdown lines of the second table, then its slope."""
    smooth, kinked = digits_problem(SMOOTH), digits_problem(KINKED)
    columns = {
        "smooth, float64": mixed_term_errors(smooth, EPSILONS),
        "smooth, float32": mixed_term_errors(smooth, EPSILONS, torch.float32),
        "ReLU, float64": mixed_term_errors(kinked, EPSILONS),
    }
    lines = [f"| ε | {' | '.join(columns)} |", "|--:|" + "--:|" * len(columns)]
    for epsilon, *errors in zip(EPSILONS, *columns.values(), strict=True):
        lines.append(f"| {epsilon:.0e} | {' | '.join(f'{x:.1e}' for x in errors)} |")
    low, high = FIT_RANGE
    double, single, _ = columns.values()
    lines += [
        "",
        f"Smooth, float64: log-log slope {slope(EPSILONS, double):.3f} for ε from {low:g} to "
        f"{high:g}; rounding sets in at a relative error of {min(double):.0e} "
        f"(float32: {min(single):.0e}).",
    ]
    return lines


def report() -> str:
    """Returns both tables as Markdown, each under a line that says what it shows."""
    lines = [
        "A quadratic bilevel problem (5 weights, 3 upper-level parameters), float64. ∇_φ L_t "
        "is linear in w here, so finite differences have no error but rounding.",
        "",
        *quadratic_table(),
        "",
        "Relative error of the mixed term by finite differences against the exact one in float64, "
        "for a network of mixed operations on scikit-learn's digits. Smooth: tanh and softplus. "
        "ReLU: ReLU and leaky ReLU; once w ± ε g/‖g‖ lie on two sides of a kink the difference "
        "contains its jump, which double backward, a derivative almost everywhere, does not see.",
        "",
        *error_table(),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Reads the command line, prints the tables and writes them if asked."""
    parser = Parser(prog="python -m experiments.hypergradient", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    text = report()
    print(text, end="")
    if out:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run_script(main)
