"""Exported networks, read by other runtimes alone, beside the network they were made of."""

import copy
import importlib.util
import json
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor

import nas
from cells.cell import Skeleton
from cells.errors import InputError
from cells.network import Network
from cells.notation import read_genotype
from cells.space import SPACES
from nas.__main__ import main
from nas.data.augmentation import normalise
from nas.data.datasets import load_data
from nas.export import deploy
from nas.export.deploy import BATCH_SIZE, TARGETS, Deployment, export, largest_difference
from nas.export.programs import Program, facts, to_torchscript
from nas.export.safetensors import save_network
from nas.export.training_data import TrainingData
from nas.runtime.files import write_json
from tests.export.conftest import CELLS, CLASSES

ROOT = Path(__file__).parents[2]


def read_torch(path: Path, model: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    found = dict.fromkeys(("classes", "genotype", "data"), "")
    return torch.export.load(path, extra_files=found).module(), found


def read_torchscript(path: Path, model: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    found = dict.fromkeys(("classes", "genotype", "data"), "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.load(path, _extra_files=found), found


def read_onnx(
    path: Path, model: Path, classes: int = len(CLASSES)
) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    session = onnxruntime.InferenceSession(path)
    (given,), (made,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[0]) == ("images", "tensor(uint8)", "batch")
    assert (made.name, made.type, made.shape) == (
        "probabilities", "tensor(float)", ["batch", classes],
    )  # fmt: skip

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return run, session.get_modelmeta().custom_metadata_map


def read_source(path: Path, model: Path) -> tuple[Callable[[Tensor], Tensor], dict[str, Any]]:
    spec = importlib.util.spec_from_file_location("a_network", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = {"classes": module.CLASSES, "genotype": module.GENOTYPE, "data": module.DATA}
    network, original = module.load(model), nas.load(model)
    assert network.state_dict().keys() == original.state_dict().keys()
    x = torch.randn(5, *original.data.shape)
    torch.testing.assert_close(network(x), original(x), atol=1e-6, rtol=1e-6)
    return network.probabilities, {name: json.dumps(value) for name, value in found.items()}


READERS = {
    "onnx": read_onnx, "torch": read_torch, "torchscript": read_torchscript, "source": read_source,
}  # fmt: skip
CASES = [("darts", target) for target in TARGETS]
CASES += [("nasbench201", target) for target in TARGETS if target != "torch"]  # part of onnx's way
EACH = pytest.mark.parametrize("exported", CASES, indirect=True, ids=str)


@pytest.fixture(scope="session")
def exports(
    models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Deployment]:
    """Exports a network once, as a conversion takes seconds."""
    folder = tmp_path_factory.mktemp("exports")
    done: dict[tuple[str, str], Deployment] = {}

    def find(space: str, target: str) -> Deployment:
        if (space, target) not in done:
            out = folder / f"{space}{TARGETS[target][0]}"
            done[space, target] = export(models[space], target, out)
        return done[space, target]

    return find


@pytest.fixture
def exported(
    request: pytest.FixtureRequest, exports: Callable[[str, str], Deployment]
) -> tuple[str, str, Deployment]:
    space, target = request.param
    return space, target, exports(space, target)


@EACH
def test_another_runtime_gives_the_same(
    exported: tuple[str, str, Deployment], models: dict[str, Path]
) -> None:
    space, target, done = exported
    network = nas.load(models[space])
    run, metadata = READERS[target](done.path, models[space])
    for batch in (1, 3, 40):
        images = torch.randint(256, (batch, *network.data.shape), dtype=torch.uint8)
        wanted = network(network.data.normalise(images)).softmax(dim=1)
        torch.testing.assert_close(run(images), wanted, atol=1e-5, rtol=0, check_stride=False)
    told = {name: json.loads(text) for name, text in metadata.items()}
    assert told == {
        "classes": list(CLASSES),
        "genotype": json.loads(network.genotype.to_json()),
        "data": "shäpes",
    }
    assert done.difference < 1e-5
    assert done.num_bytes == done.path.stat().st_size
    assert done.params == sum(parameter.numel() for parameter in network.parameters())


def test_images_of_odd_sizes_are_halved_in_torchscript_too() -> None:
    torch.manual_seed(0)
    skeleton = Skeleton(SPACES["darts"], 1, 3, 11, 9, 4, 3)
    network = Network(read_genotype("DARTS_V2"), skeleton).eval()
    network.data = TrainingData("odd", CLASSES, (0.5,), (0.2,), (1, 11, 9))
    images = torch.randint(256, (3, 1, 11, 9), dtype=torch.uint8)
    assert largest_difference(network, to_torchscript(network).run, [images]) < 1e-5


@pytest.mark.parametrize("target", ["onnx", "torch"])
def test_a_file_tells_nothing_about_where_it_was_made(
    target: str, exports: Callable[[str, str], Deployment]
) -> None:
    content = exports("darts", target).path.read_bytes()
    assert b"site-packages" not in content
    assert str(ROOT).encode() not in content


def test_onnx_keeps_to_its_rules(exports: Callable[[str, str], Deployment]) -> None:
    onnx.checker.check_model(exports("darts", "onnx").path, full_check=True)


@pytest.mark.parametrize("wrong", [3e-4, float("nan")])
def test_another_network_is_not_written(
    wrong: float, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = nas.load(models["darts"])

    def broken(_: Any) -> Program:
        def run(images: Tensor) -> Tensor:
            right = network(network.data.normalise(images)).softmax(dim=1)
            return right + wrong * torch.eye(len(right), len(CLASSES))

        return Program(b"", run)

    monkeypatch.setitem(TARGETS, "torch", (".pt2", broken))
    with pytest.raises(InputError, match=r"differ from the network's by (0\.0003|nan), more than"):
        export(models["darts"], "torch", tmp_path / "out.pt2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad_batch", [1, 16])
def test_both_batch_sizes_are_checked(bad_batch: int, models: dict[str, Path]) -> None:
    network = nas.load(models["darts"])
    images = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8)
    seen = []

    def run(images: Tensor) -> Tensor:
        seen.append(images)
        right = network(network.data.normalise(images)).softmax(dim=1)
        return right + (0.25 if len(images) == bad_batch else 0)

    assert largest_difference(network, run, [images]) == pytest.approx(0.25)
    assert {len(each) for each in seen} == {1, BATCH_SIZE}
    assert torch.equal(seen[0], torch.cat([images, images, images, images[:1]]))


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """Returns the exit status of `python -m nas export`."""
    monkeypatch.setattr(sys, "argv", ["nas", "export", *map(str, arguments)])
    try:
        main()
    except SystemExit as exit:
        return int(exit.code or 0)
    return 0


def test_the_command(
    models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes(models["nasbench201"].read_bytes())
    noise = np.random.default_rng(0).integers(0, 256, (20, 12, 10), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    seen: list[int] = []

    def check(network: Network, run: Callable[[Tensor], Tensor], batches: Any) -> float:
        batches = list(batches)
        seen.extend(map(len, batches))
        return largest_difference(network, run, batches)

    monkeypatch.setattr(deploy, "largest_difference", check)
    images = f"{tmp_path}/*.png"
    assert run(monkeypatch, model, "--to", "torchscript", "--images", images) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    network = nas.load(model)
    out = tmp_path / "model.pt"
    for told in (
        "on the images given, in batches of 1 and 16",
        f"{sum(p.numel() for p in network.parameters()):,} parameters",
        f"{out.stat().st_size:,} bytes in {out}",
    ):
        assert told in printed.out
    difference = re.match("largest difference of a probability: (.*)\n", printed.out)
    assert difference is not None and float(difference[1]) < 1e-5
    assert seen == [16, 4]
    assert run(monkeypatch, model, "--to", "torchscript") == 2
    assert capsys.readouterr().err == f"error: {out} exists: choose another --out\n"


def test_what_a_user_can_get_wrong(
    models: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    for arguments, told in (
        ([tmp_path / "absent", "--to", "torch"], "no network file"),
        ([models["darts"]], "required: --to"),
        (
            [models["darts"], "--to", "onxx", "--out", out],
            "unknown form 'onxx': did you mean 'onnx'",
        ),
        (
            [models["darts"], "--to", "executorch", "--out", out],
            "no form 'executorch': it is made by a package of its own",
        ),
        (
            [models["darts"], "--to", "onnx", "--out", out],
            "wants the package 'onnxscript': pip install 'lambda-nas[export]'",
        ),
        (
            [models["darts"], "--to", "torch", "--out", out, "--images", f"{tmp_path}/*.png"],
            "no image in",
        ),
    ):
        assert run(monkeypatch, *arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and told in line
        assert not out.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:onnx.*")
def test_8_bits_and_what_they_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accuracies are those of the two files, counted anew."""
    data = load_data("digits", Path("data"))
    skeleton = Skeleton(SPACES["nasbench201"], 1, 10, 8, 8, 4, 1)
    torch.manual_seed(0)
    network = Network(read_genotype(CELLS["nasbench201"]), skeleton)
    with torch.no_grad():
        network(torch.randn(64, 1, 8, 8))
    model = tmp_path / "model.safetensors"
    save_network(model, network, TrainingData.of(data))
    write_json(tmp_path / "config.json", {"data": "digits", "split_seed": 0})
    assert run(monkeypatch, model, "--to", "onnx", "--int8") == 0
    printed = capsys.readouterr()
    assert printed.err == "" and "ranges from 256 training images" in printed.out
    program, told = read_onnx(tmp_path / "model.int8.onnx", model, classes=10)
    assert told == facts(nas.load(model))
    before, after = (
        (logits.argmax(dim=1) == data.test.labels).double().mean()
        for logits in (
            nas.load(model)(normalise(data.test.images, data.mean, data.std)),
            program(data.test.images),
        )
    )
    assert f"{100 * before:.2f} %, with 8 bits {100 * after:.2f} %" in printed.out
    graph = onnx.load(tmp_path / "model.int8.onnx").graph
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}
    assert any(each.data_type == onnx.TensorProto.INT8 for each in graph.initializer)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--to", "torch", "--int8", "--data", "digits"], "8 bits are for images in ONNX, not for"),
        (["--to", "onnx", "--int8"], "tells of no data: name them by --data"),
        (["--to", "onnx", "--int8", "--data", "digits"], "the network takes (3, 8, 8) and has 3"),
        (["--to", "onnx", "--data", "digits"], "--data is for --int8: add it"),
    ],
)
def test_8_bits_that_cannot_be(
    arguments: list[str],
    told: str,
    models: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, models["darts"], *arguments) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.filterwarnings("ignore:`torch.jit.*:FutureWarning")
def test_a_network_is_traced_copied_and_differentiated_in_every_mode(
    mode: Any, models: dict[str, Path]
) -> None:
    network = nas.load(models["darts"])
    with mode():
        x = torch.randn(2, 3, 8, 8)
        wanted = network(x)
        for found in (
            torch.jit.trace(network, (x,))(x),
            torch.func.functional_call(network, dict(network.state_dict()), (x,)),
            torch.func.vmap(lambda image: network(image[None])[0])(x),
            copy.deepcopy(network)(x),
        ):
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        assert torch.func.grad(lambda x: network(x).sum())(x).shape == x.shape
        with pytest.raises(InputError, match=r"use torch.jit.trace, or python -m nas export"):
            torch.jit.script(network)


def test_metadata_hold_names_that_no_encoding_knows(models: dict[str, Path]) -> None:
    network = nas.load(models["darts"])
    network.data = replace(network.data, classes=("\udcff", "b", "c"), name="\ud800")
    told = facts(network)
    assert json.loads(told["classes"])[0] == "\udcff"
    assert json.loads(told["data"]) == "\ud800"
    assert "".join(told.values()).encode()
