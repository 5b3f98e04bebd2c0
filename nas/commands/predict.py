"""Classifies images: python -m nas predict MODEL IMAGE…"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cells.errors import InputError
from nas.data.image_folder import find_images
from nas.export.predict import Prediction, predict_files, training_data
from nas.export.safetensors import load
from nas.runtime.commandline import Parser, called


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(
        prog=called("predict"),
        description="Classify images. A table on a terminal, else path, class and probability "
        "between tabs.",
    )
    parser.add_argument("model", type=Path, help="model.safetensors of a retraining")
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE",
        help="file, folder with all that is below it, or glob in quotes",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print a JSON object for each image")
    parser.add_argument(
        "--top", type=int, metavar="K",
        help="most probable classes of each image (default 1; with --json all)",
    )  # fmt: skip
    return parser


def command(args: Sequence[str]) -> None:
    """Prints class and probability of each image; leaves with 1 if a file could not be read.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    given = parser().parse_args(args)
    if given.top is not None and given.top < 1:
        raise InputError(f"--top must be at least 1, got {given.top}")
    network = load(given.model)
    files = find_images(given.images)
    unread = []

    def tell(error: InputError) -> None:
        unread.append(error)
        print(f"error: {error}", file=sys.stderr)

    found = predict_files(network, files, tell)
    if given.json:
        for each in found:
            probabilities = dict(list(each.probabilities.items())[: given.top])
            told = {"path": str(each.path), "class": each.class_name}
            print(json.dumps(told | {"probabilities": probabilities}))
    else:
        table = _Table(files, training_data(network).classes)
        for each in found:
            table.add(each, given.top or 1)
    if unread:
        sys.exit(1)


class _Table:
    """Lines with aligned columns on a terminal, else with tabs between them."""

    def __init__(self, files: Sequence[Path], classes: Sequence[str]) -> None:
        self.widths: tuple[int, int] | None = None
        if sys.stdout.isatty():
            self.widths = (
                max(len(_shown(file)) for file in files),
                max(len(_shown(name)) for name in (*classes, "class")),
            )
            self._print("path", "class", "probability")

    def add(self, found: Prediction, top: int) -> None:
        """Prints the most probable classes of an image, a line each."""
        for name, probability in list(found.probabilities.items())[:top]:
            self._print(_shown(found.path), _shown(name), f"{probability:.4f}")

    def _print(self, path: str, name: str, probability: str) -> None:
        if self.widths is None:
            print(path, name, probability, sep="\t")
        else:
            print(f"{path:<{self.widths[0]}}  {name:<{self.widths[1]}}  {probability:>11}")


def _shown(value: object) -> str:
    """Returns a text on one line: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
