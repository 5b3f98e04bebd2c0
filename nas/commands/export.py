"""Writes a trained network for other runtimes: python -m nas export MODEL --to FORM."""

from collections.abc import Sequence
from pathlib import Path

from nas.export.deploy import RUNS, TARGETS, export
from nas.runtime.commandline import Parser, called


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(
        prog=called("export"),
        description="Write a trained network in a form that takes uint8 images (batch, channels, "
        "height, width) and gives probabilities (batch, classes); or, of a network for a table, "
        "rows, float64 (batch, columns) with the place of a category for a text and NaN for what "
        "is missing, and gives probabilities or values. It is checked beside the original before "
        "anything is written.",
    )
    parser.add_argument("model", type=Path, help="model.safetensors of a retraining, or generated")
    parser.add_argument(
        "--to", required=True, metavar="FORM",
        help=f"{', '.join(TARGETS)}; torch is for torch.export.load; torchscript, for "
        "torch.jit.load, is deprecated in torch; source is Python that imports torch alone and "
        "reads the weights from the model; onnx wants pip install 'lambda-nas[export]'",
    )  # fmt: skip
    suffixes = ", ".join(suffix for suffix, _ in TARGETS.values())
    parser.add_argument(
        "--out", type=Path,
        help=f"new file; default: the model's path with the suffix {suffixes}",
    )  # fmt: skip
    parser.add_argument(
        "--images", nargs="+", default=(), metavar="PATH",
        help="files, folders or globs to check with, or CSV files; default: 16 images of random "
        "bytes, or rows of random numbers",
    )  # fmt: skip
    return parser


def command(args: Sequence[str]) -> None:
    """Exports a network and tells what it is worth there.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    given = parser().parse_args(args)
    done = export(given.model, given.to, given.out, given.images)
    print(f"largest difference of {done.answers}: {done.difference:.1e}")
    print(f"  on {done.inputs}, in batches of 1 and 16")
    print(f"latency of the whole network: {done.latency:.3g} ms in this runtime, on this machine")
    print(f"  a batch of 1, median of {RUNS} runs, CPU threads: {done.threads}")
    print(f"{done.params:,} parameters, {done.flops:,} multiply–adds")
    print(f"{done.num_bytes:,} bytes in {done.path}")
