"""Networks of layers in a row as files: read back, asked about rows and images, exported."""

import csv
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import nas
from cells.chain import Chain
from cells.errors import InputError
from nas.__main__ import main
from nas.data.examples import load_task
from nas.export.chain import ChainNetwork, data_of, save_chain
from nas.export.deploy import TARGETS, export, form_of, random_inputs
from nas.run import search
from nas.weight_search.config import WeightConfig
from nas.weight_search.networks import Generated

ROWS = [
    {"age": str(20 + row % 9) if row % 5 else "", "city": ("Bern", 'Zug "alt"', "")[row % 3],
     "size": f"{1 + row / 7:.3f}", "price": f"{1e5 + 900 * row:.1f}", "kind": "ab"[row % 2]}
    for row in range(60)
]  # fmt: skip


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """rows.csv, and networks with random weights for its price and its kind, and for digits."""
    folder = tmp_path_factory.mktemp("chains")
    table = write(folder / "rows.csv", ROWS)
    for name, source, target, layers in (
        ("price", str(table), "price", ("5", "4")),
        ("kind", str(table), "kind", ("5",)),
        ("digits", "digits", None, ("conv3", "pool", "6")),
    ):
        task = load_task(source, Path("data"), target=target)
        chain = Chain.parse(layers, task.input_shape, task.outputs)
        torch.manual_seed(0)
        tables = [torch.randn(layer.outputs, layer.fan_in + 1) for layer in chain.layers]
        sigmas = [torch.randn(table.shape) for table in tables]
        save_chain(
            folder / f"{name}.safetensors", chain, layers, tables, sigmas, data_of(task), 1.0
        )
    return folder


def by_hand(network: ChainNetwork, row: dict[str, str]) -> Tensor:
    """Outputs for one row, its features written out."""
    columns = {column.name: column for column in network.data.columns}
    age, size = columns["age"], columns["size"]
    features = [(float(row["age"]) - age.mean) / age.std if row["age"] else 0.0]
    features += [float(row["city"] == name) for name in ("Bern", 'Zug "alt"', "")]
    features += [(float(row["size"]) - size.mean) / size.std]
    if "price" in columns:
        price = columns["price"]
        features += [(float(row["price"]) - price.mean) / price.std]
    else:
        features += [float(row["kind"] == name) for name in "ab"]
    return network(torch.tensor([features]))[0].detach()


def test_rows_are_answered_in_the_targets_own_unit(folder: Path) -> None:
    network = nas.load(folder / "price.safetensors")
    found = list(nas.predict(folder / "price.safetensors", [folder / "rows.csv"]))
    assert [each.line for each in found] == list(range(2, 62))
    prices = [float(row["price"]) for row in ROWS]
    target = network.data.target
    assert min(prices) < target.mean < max(prices)
    for row, each in zip(ROWS, found, strict=True):
        wanted = float(by_hand(network, row)[0]) * target.std + target.mean
        assert each.value == pytest.approx(wanted, abs=1e-3)
        assert each.target == "price" and each.class_name is None


def test_rows_are_classified(folder: Path) -> None:
    network = nas.load(folder / "kind.safetensors")
    for row, each in zip(
        ROWS, nas.predict(folder / "kind.safetensors", [folder / "rows.csv"]), strict=True
    ):
        wanted = by_hand(network, row).softmax(dim=0)
        assert [each.probabilities[name] for name in "ab"] == pytest.approx(wanted.tolist())
        assert each.class_name == "ab"[int(wanted.argmax())] and each.value is None


def test_images_are_classified(folder: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    (found,) = nas.predict(folder / "digits.safetensors", [tmp_path / "noise.png"])
    network = nas.load(folder / "digits.safetensors")
    wanted = network(torch.tensor(pixels)[None, None] / 255).softmax(dim=1)[0]
    assert [found.probabilities[str(label)] for label in range(10)] == pytest.approx(
        wanted.tolist(), abs=1e-6
    )


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Returns the exit status of `python -m nas`."""
    monkeypatch.setattr(sys, "argv", ["nas", *map(str, arguments)])
    try:
        main()
    except SystemExit as exit:
        return int(exit.code or 0)
    return 0


def test_the_command_prints_values_and_classes(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = write(tmp_path / "some.csv", [ROWS[0], ROWS[1] | {"city": "Rom"}, ROWS[2]])
    assert run(monkeypatch, "predict", folder / "price.safetensors", rows) == 1
    printed = capsys.readouterr()
    assert "line 3: 'Rom' is no category of column 'city'" in printed.err
    values = [
        each.value for each in nas.predict(folder / "price.safetensors", [folder / "rows.csv"])
    ]
    assert printed.out == f"{rows}:2\t{values[0]:.6g}\n{rows}:4\t{values[2]:.6g}\n"
    assert run(monkeypatch, "predict", folder / "price.safetensors", rows, "--json") == 1
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first == {"path": str(rows), "line": 2, "target": "price", "value": values[0]}
    assert run(monkeypatch, "predict", folder / "kind.safetensors", rows, "--json") == 1
    first = json.loads(capsys.readouterr().out.splitlines()[0])
    assert first["class"] == next(iter(first["probabilities"])) and first["target"] == "kind"
    assert run(monkeypatch, "predict", folder / "kind.safetensors", tmp_path / "no.csv") == 1
    assert "cannot read" in capsys.readouterr().err


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("change", ["version", "columns", "outputs", "layers", "sigmas"])
def test_what_does_not_fit_together_gets_one_line(
    folder: Path, tmp_path: Path, change: str
) -> None:
    source = folder / "price.safetensors"
    tensors = load_file(source)
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    del metadata["sha256"]
    network, data = json.loads(metadata["network"]), json.loads(metadata["data"])
    message = {
        "version": "version '1' of the format, this program reads '2': write it again",
        "columns": "its data have 5 features and 1 outputs, its network has 7 and 1",
        "outputs": "its sizes must be from 1",
        "layers": "layers and weights differ",
        "sigmas": "its tensor 'log_sigmas.0' is torch.float32 .2, 2., the layers needs",
    }[change]
    if change == "version":
        metadata["version"] = "1"
    elif change == "columns":
        data["columns"] = [each for each in data["columns"] if each["name"] != "kind"]
    elif change == "outputs":
        network["outputs"] = 0
    elif change == "layers":
        network["layers"] = ["5"]
    else:
        tensors["log_sigmas.0"] = torch.zeros(2, 2)
    metadata |= {"network": json.dumps(network), "data": json.dumps(data)}
    path = tmp_path / "other.safetensors"
    save_file(tensors, path, metadata)
    with pytest.raises(InputError, match=message):
        nas.load(path)


def test_deviations_come_back(folder: Path) -> None:
    network = nas.load(folder / "digits.safetensors")
    tensors = load_file(folder / "digits.safetensors")
    assert [tuple(each.shape) for each in network.log_sigmas] == [(3, 10), (6, 49), (10, 7)]
    assert all(
        torch.equal(each, tensors[f"log_sigmas.{number}"])
        for number, each in enumerate(network.log_sigmas)
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 1, 8, 8))
    assert network.chain.flops == counter.get_total_flops() // 2


# ---------------------------------------------------------------- other forms


def read_back(path: Path, target: str, model: Path) -> Callable[[Tensor], Tensor]:
    """Reads an exported file as a stranger would, and checks its metadata."""
    names = {"columns": "", "target": "", "data": "", "layers": ""}
    if target == "torch":
        program = torch.export.load(path, extra_files=names).module()
    elif target == "torchscript":
        program = torch.jit.load(path, _extra_files=names)
    elif target == "onnx":
        session = onnxruntime.InferenceSession(path)
        names = session.get_modelmeta().custom_metadata_map

        def program(rows: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {"rows": rows.numpy()})[0])
    else:
        spec = importlib.util.spec_from_file_location("a_table", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        network = module.load(model)
        texts = [{name: text or None for name, text in row.items()} for row in ROWS]
        wanted = form_of(nas.load(model))
        names = {
            "columns": json.dumps(
                [{key: each[key] for key in ("name", "categories")} for each in module.COLUMNS]
            ),
            "target": json.dumps({key: module.TARGET[key] for key in ("name", "classes")}),
        }
        encoded = module.encode(texts)
        assert encoded.shape == (60, len(wanted.columns))
        return network.values if wanted.regression else network.probabilities
    told: dict[str, Any] = {name: json.loads(text) for name, text in names.items()}
    form = nas.load(model).data
    assert [each["name"] for each in told["columns"]] == [each.name for each in form.columns]
    assert told["columns"][1]["categories"] == ["Bern", 'Zug "alt"']
    assert told["target"] == {"name": form.target.name, "classes": [*form.target.classes]}
    return program


@pytest.mark.filterwarnings("ignore:`torch.jit.*:FutureWarning")
@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("onnx", "price"), ("torch", "kind"), ("torchscript", "price"), ("torchscript", "kind"),
        ("source", "price"), ("source", "kind"),
    ],
)  # fmt: skip
def test_other_runtimes_answer_alike(target: str, name: str, folder: Path, tmp_path: Path) -> None:
    model = folder / f"{name}.safetensors"
    rows = [folder / "rows.csv"] if target in ("source", "onnx") else []
    done = export(model, target, tmp_path / f"{name}{TARGETS[target][0]}", rows)
    assert done.difference < 1e-5 and done.inputs.startswith("the rows" if rows else "16 rows")
    network = nas.load(model)
    given = random_inputs(network)
    assert bool(given.isnan().any())
    wanted = network.data.answers(network(network.data.features(given)))
    for batch in (1, 3, 16):
        found = read_back(done.path, target, model)(given[:batch])
        torch.testing.assert_close(found, wanted[:batch], rtol=1e-6, atol=1e-5)


def test_images_leave_as_source(folder: Path, tmp_path: Path) -> None:
    done = export(folder / "digits.safetensors", "source", tmp_path / "digits.py")
    assert done.difference < 1e-6 and done.params == 30 + 294 + 70
    assert "import torch" in done.path.read_text() and "nas" not in done.path.read_text().split()


# ---------------------------------------------------------------- from a search


def test_a_search_on_a_table_ends_in_answers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kind is told by the size alone: after a few steps most rows are right."""
    rows = [row | {"kind": "ab"[number >= 30]} for number, row in enumerate(ROWS)]
    table = write(tmp_path / "rows.csv", [{k: row[k] for k in ("size", "kind")} for row in rows])
    config = WeightConfig(
        data=str(table), layers=("4",), epochs=60, batch_size=54, w_lr=0.1, grid=2, draws=1,
        lam_low=0.01, lam_high=0.1, lams_per_step=1, device="cpu",
    )  # fmt: skip
    search(config, tmp_path / "run")
    assert capsys.readouterr().err.count("'kind' has 2 classes: classification") == 1
    assert "accuracy" in (tmp_path / "run" / "front.csv").read_text().splitlines()[0]
    generated = Generated.load(tmp_path / "run")
    assert generated.recorded == data_of(generated.task()) == generated.data()
    generated.save(tmp_path / "network.safetensors", 0.01)
    found = [each.class_name for each in nas.predict(tmp_path / "network.safetensors", [table])]
    right = sum(name == row["kind"] for name, row in zip(found, rows, strict=True))
    assert right >= 57
