"""Every reader of a file, with a good file for each."""

import hashlib
import io
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from cells.errors import InputError
from cells.notation import read_genotype, to_darts, to_nasbench201
from cells.space import find_space
from nas.architecture.budgets import parse_bound
from nas.cell_search.folder import read_run
from nas.cell_search.fronts import load_front
from nas.data.datasets import load_data
from nas.data.examples import load_task
from nas.data.pixels import decode_all
from nas.export.safetensors import load
from nas.objective.costs import read_latencies
from nas.reports.chance import read_chance
from nas.reports.latency import read_calibration
from nas.reports.report import read_rows
from nas.reports.retrained import read_retrained
from nas.retraining.config import read_retraining
from nas.retraining.job import read_state
from nas.run import any_config, read_any_run
from nas.runtime.files import read_config
from nas.runtime.manifest import note_resume
from nas.runtime.metrics import MetricsLog
from nas.runtime.processes import Processes
from nas.weight_search.networks import Generated

RUNS = Path(__file__).parents[1] / "golden" / "runs"
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
ALONE = Processes(0, 1, torch.device("cpu"))
DARTS_CC = (
    "[[[0, 7], [7, 7, 7], [1, 7, 2, 7], [7, 7, 7, 7, 7]], "
    "[[3, 4], [5, 6, 0], [7, 7, 7, 7], [1, 2, 3, 4, 5]]]"
)


class Reader(NamedTuple):
    """How a file is read."""

    file: str
    """Its name."""
    good: bytes
    """What it may hold."""
    read: Callable[[Path], Any]
    """Reads it by its path."""
    beside: Path | None = None
    """Folder whose files lie beside it."""


def written(write: Callable[[io.BytesIO], Any]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def _front(path: Path) -> None:
    front = load_front(path.parent)
    front.at(*front.lam_range.low)


def _picture(mode: str, kind: str) -> bytes:
    picture = Image.new("RGBA", (5, 4), (9, 8, 7, 100)).convert(mode)
    return written(lambda file: picture.save(file, kind))


def _image(path: Path) -> None:
    decode_all([path], 8)


def _retraining(path: Path) -> None:
    read_state(path.parent, 0, read_retraining(path.parent))


def _readers() -> dict[str, Reader]:
    labels = np.arange(6) % 3
    images = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
    parts = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    table = "a,b,c\n" + "".join(f"{i},{i * i},{-i}\n" for i in range(12))
    latencies = f"genotype,latency\n{CELL},3.5\n{CELL.replace('none', 'skip_connect')},2\n"
    modes = {"PNG": "RGBA", "GIF": "P", "TIFF": "RGB", "BMP": "RGB", "JPEG": "RGB", "WEBP": "RGB"}
    readers = {
        f"picture {kind}": Reader("cat.png", _picture(mode, kind), _image)
        for kind, mode in modes.items()
    }
    published = read_genotype("DARTS_V2")
    readers |= {
        "genotype": Reader("cell.json", published.to_json().encode(), read_genotype),
        "genotype of DARTS": Reader("cell.txt", to_darts(published).encode(), read_genotype),
        "genotype of NAS-Bench-201": Reader(
            "cell.txt", to_nasbench201(read_genotype(CELL)).encode(), read_genotype
        ),
        "genotype of DARTS-CC": Reader("cell.json", DARTS_CC.encode(), read_genotype),
        "bounds": Reader("bounds", b"params=2.5M", lambda path: parse_bound(
            path.read_bytes().decode("latin-1"))),
        "front.csv": Reader(
            "front.csv",
            (RUNS / "nasbench201" / "front.csv").read_bytes(),
            lambda path: read_rows(path.parent),
        ),
        "config.json": Reader(
            "config.json",
            (RUNS / "nasbench201" / "config.json").read_bytes(),
            lambda path: any_config(read_config(path)),
        ),
        "config.json of mlp": Reader(
            "config.json",
            (RUNS / "mlp-digits" / "config.json").read_bytes(),
            lambda path: any_config(read_config(path)),
        ),
        "metrics.jsonl": Reader(
            "metrics.jsonl",
            (RUNS / "nasbench201" / "metrics.jsonl").read_bytes(),
            lambda path: MetricsLog(path).read(),
        ),
        "manifest.json": Reader(
            "manifest.json",
            b'{"exact": true, "surroundings": [{"from": "step 0", "torch": "2.15.0"}]}',
            lambda path: note_resume(path.parent, "step 1", ALONE),
        ),
        "chance.csv": Reader(
            "chance.csv",
            b"params,val_accuracy,genotype,over\n2290.0,0.87,0123456789,params\n",
            lambda path: read_chance(path.parent),
        ),
        "latency.csv": Reader(
            "latency.csv",
            b"file,latency,measured\ngenotypes/00-0123456789.json,4.0,5.7\n",
            lambda path: read_calibration(path.parent),
        ),
        "retrained.csv": Reader(
            "retrained.csv",
            b"file,test_accuracy,test_accuracy_std\ngenotypes/00-0123456789.json,0.98,0.01\ngenotypes/01.json,0.97,\n",
            lambda path: read_retrained(path.parent),
        ),
        "latencies": Reader(
            "phone.csv",
            latencies.encode(),
            lambda path: read_latencies(path, find_space("nasbench201")),
        ),
        "table": Reader("t.csv", table.encode(), lambda path: load_task(str(path), path.parent)),
        "npz": Reader(
            "mine.npz",
            written(lambda file: np.savez_compressed(file, **parts)),
            lambda path: load_data(str(path), path.parent),
        ),
        "network": Reader(
            "model.safetensors", (RUNS / "network.safetensors").read_bytes(), load
        ),
        "checkpoint": Reader(
            "checkpoint.pt",
            (RUNS / "nasbench201" / "checkpoint.pt").read_bytes(),
            _front,
        ),
        "checkpoint to resume": Reader(
            "checkpoint.pt",
            (RUNS / "stages" / "checkpoint.pt").read_bytes(),
            lambda path: (read_run(path.parent), read_any_run(path.parent)),
            RUNS / "stages",
        ),
        "checkpoint of mlp": Reader(
            "checkpoint.pt",
            (RUNS / "mlp-digits" / "checkpoint.pt").read_bytes(),
            lambda path: Generated.load(path.parent).network(1.0),
        ),
        "checkpoint of a retraining": Reader(
            "checkpoint-seed-0.pt",
            (RUNS / "retraining" / "checkpoint-seed-0.pt").read_bytes(),
            _retraining,
            RUNS / "retraining",
        ),
    }  # fmt: skip
    return readers


READERS = _readers()


def outcome(reader: Reader, content: bytes, folder: Path) -> str:
    """Reads a file of some content: "read", or the message with which it is refused.

    A checkpoint gets the hash that fits. Any error but InputError and OSError goes through.
    """
    if reader.beside is not None and not folder.exists():
        shutil.copytree(reader.beside, folder)
    folder.mkdir(exist_ok=True)
    path = folder / reader.file
    path.write_bytes(content)
    if path.suffix == ".pt":
        digest = hashlib.sha256(content).hexdigest()
        path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except InputError as error:
        message = str(error)
        assert message.isprintable() and len(message) <= 1000, message
        return message
    except OSError as error:
        assert error.filename is not None, repr(error)
        return repr(error)
    return "read"
