"""Classifies images, or predicts rows of a table: python -m nas predict MODEL FILE…"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cells.errors import InputError
from cells.network import Network
from nas.data.image_folder import find_images
from nas.data.table_form import TableForm
from nas.export.chain import ChainNetwork
from nas.export.predict import Prediction, predict_files, training_data
from nas.export.predict_rows import RowPrediction, predict_rows
from nas.export.safetensors import load
from nas.runtime.commandline import Parser, called


def parser() -> Parser:
    """Returns the options of this command."""
    parser = Parser(
        prog=called("predict"),
        description="Classify images, or predict the target of each row of CSV files with a "
        "network that was generated for a table. A table on a terminal, else path (and line), "
        "class and probability, or value, between tabs.",
    )
    parser.add_argument("model", type=Path, help="model.safetensors of a retraining, or generated")
    parser.add_argument(
        "files", nargs="+", metavar="FILE",
        help="image, folder with all images below it, or glob in quotes; or a CSV file with the "
        "columns that were trained on",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print a JSON object for each")
    parser.add_argument(
        "--top", type=int, metavar="K",
        help="most probable classes of each (default 1; with --json all)",
    )  # fmt: skip
    return parser


def command(args: Sequence[str]) -> None:
    """Prints what is predicted for each image or row; leaves with 1 if one could not be read.

    Args:
        args: the command line behind the verb; `--help` explains it.
    """
    given = parser().parse_args(args)
    if given.top is not None and given.top < 1:
        raise InputError(f"--top must be at least 1, got {given.top}")
    network = load(given.model)
    unread = []

    def tell(error: InputError) -> None:
        unread.append(error)
        print(f"error: {error}", file=sys.stderr)

    if isinstance(network, ChainNetwork) and isinstance(network.data, TableForm):
        _tell_rows(predict_rows(network, [*map(Path, given.files)], tell), given.json, given.top)
    else:
        _tell_images(network, find_images(given.files), tell, given.json, given.top)
    if unread:
        sys.exit(1)


def _tell_images(
    network: Network | ChainNetwork,
    files: Sequence[Path],
    tell: Callable[[InputError], None],
    as_json: bool,
    top: int | None,
) -> None:
    found = predict_files(network, files, tell)
    if as_json:
        for each in found:
            told = {"path": str(each.path), "class": each.class_name}
            print(json.dumps(told | {"probabilities": _first(each.probabilities, top)}))
        return
    table = _Table(files, training_data(network).classes)
    for each in found:
        table.add(each, top or 1)


def _tell_rows(found: Iterator[RowPrediction], as_json: bool, top: int | None) -> None:
    for each in found:
        where: dict[str, Any] = {"path": str(each.path), "line": each.line}
        if each.value is not None:
            told = {"target": each.target, "value": each.value}
            line = [f"{each.value:.6g}"]
        else:
            shown = _first(each.probabilities, top)
            told = {"target": each.target, "class": each.class_name, "probabilities": shown}
            line = [
                part
                for name, probability in _first(each.probabilities, top or 1).items()
                for part in (_shown(name), f"{probability:.4f}")
            ]
        print(json.dumps(where | told) if as_json else "\t".join([_row(each), *line]))


def _row(found: RowPrediction) -> str:
    return f"{_shown(found.path)}:{found.line}"


def _first(probabilities: dict[str, float], top: int | None) -> dict[str, float]:
    return dict(list(probabilities.items())[:top])


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
        for name, probability in _first(found.probabilities, top).items():
            self._print(_shown(found.path), _shown(name), f"{probability:.4f}")

    def _print(self, path: str, name: str, probability: str) -> None:
        if self.widths is None:
            print(path, name, probability, sep="\t")
        else:
            print(f"{path:<{self.widths[0]}}  {name:<{self.widths[1]}}  {probability:>11}")


def _shown(value: object) -> str:
    """Returns a text on one line: what cannot be printed is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
