"""Writes the network at a λ: python -m nas generate RUN."""

from collections.abc import Sequence
from pathlib import Path

from cells.errors import InputError
from nas.runtime.commandline import Parser, called
from nas.runtime.signals import held_back


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(prog=called("generate"), description="Write the network at a λ.")
    parser.add_argument("run", type=Path, help="folder of a search in the space mlp")
    parser.add_argument("--lam", type=float, required=True, help="inside the searched range")
    parser.add_argument("--seed-number", type=int, default=0, help="which of the runs (default 0)")
    parser.add_argument("--out", type=Path, help="file (default RUN/network-LAM.safetensors)")
    return parser


def command(args: Sequence[str]) -> None:
    """Writes the network at a λ as safetensors.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    given = parser().parse_args(args)
    # Here, as these take seconds, and --help needs none of them.
    with held_back():
        from nas.weight_search.evidence import means, quality
        from nas.weight_search.networks import Generated

    generated = Generated.load(given.run)
    if not 0 <= given.seed_number < generated.config.runs:
        raise InputError(
            f"--seed-number must lie in 0 … {generated.config.runs - 1}, got {given.seed_number}"
        )
    out = given.out or given.run / f"network-{given.lam:g}.safetensors"
    generated.save(out, given.lam, given.seed_number)
    print(f"{generated.chain.num_params:,} parameters in {out}")
    try:
        task = generated.task()
    except InputError as error:
        print(f"not tested: {error}")
        return
    found = quality(task, generated.chain, means(generated.at([given.lam])), task.test)
    value = float(found[given.seed_number, 0])
    measured = f"error (rmse) {value:.4g}" if task.regression else f"accuracy {100 * value:.2f} %"
    print(f"test {measured}, with the means of the weights, {len(task.test):,} examples")
