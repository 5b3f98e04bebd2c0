"""Writes a trained network for other runtimes: python -m nas export MODEL --to FORM."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cells.errors import InputError
from cells.strict_json import typed
from nas.data.datasets import ImageData, load_data
from nas.data.pixels import STRETCH
from nas.export.deploy import RUNS, TARGETS, export
from nas.runtime.commandline import Parser, called
from nas.runtime.files import CONFIG, read_config


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
    parser.add_argument(
        "--int8", action="store_true",
        help="with onnx: weights and activations of 8 bits (QDQ); ranges from training images, "
        "accuracy before and after from test images",
    )  # fmt: skip
    parser.add_argument(
        "--data", help="with --int8: what the network was trained on (default: as in its run)"
    )
    parser.add_argument("--data-root", help="folder of the named data sets (default: likewise)")
    return parser


def command(args: Sequence[str]) -> None:
    """Exports a network and tells what it is worth there.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    given = parser().parse_args(args)
    if not given.int8 and (given.data or given.data_root):
        raise InputError("--data is for --int8: add it, or check with --images")
    data = _images_of(given.model, given.data, given.data_root) if given.int8 else None
    done = export(given.model, given.to, given.out, given.images, data)
    print(f"largest difference of {done.answers}: {done.difference:.1e}")
    print(f"  on {done.inputs}, in batches of 1 and 16")
    if (costs := done.quantisation) is not None:
        print(f"that is before 8 bits; accuracy on {costs.tested:,} test images:")
        print(f"  {100 * costs.before:.2f} %, with 8 bits {100 * costs.after:.2f} %")
        print(f"  ranges from {costs.calibration:,} training images")
    print(f"latency of the whole network: {done.latency:.3g} ms in this runtime, on this machine")
    print(f"  a batch of 1, median of {RUNS} runs, CPU threads: {done.threads}")
    print(f"{done.params:,} parameters, {done.flops:,} multiply–adds")
    print(f"{done.num_bytes:,} bytes in {done.path}")


def _images_of(model: Path, data: str | None, data_root: str | None) -> ImageData:
    """Reads the data of the run in whose folder a network lies, or others."""
    path = model.parent / CONFIG
    values: dict[str, Any] = read_config(path) if path.is_file() else {}
    if data is None and not isinstance(values.get("data"), str):
        raise InputError(f"{str(path)!r} tells of no data: name them by --data")
    root = data_root or typed(values.get("data_root", "data"), str, "data_root")
    size = values.get("image_size")
    return load_data(
        data or values["data"],
        Path(root),
        split_seed=typed(values.get("split_seed", 0), int, "split_seed"),
        image_size=None if size is None else typed(size, int, "image_size"),
        image_fit=typed(values.get("image_fit") or STRETCH, str, "image_fit"),
    ).whole()
