"""Networks as programs of other runtimes, with all that is needed inside.

Every program maps uint8 images (batch, channels, height, width) to probabilities (batch, classes),
for any number of images, and holds `facts` in its metadata. That of a network for a table maps
rows, float64 (batch, columns) in the columns' own units, the place of a category for a text and
NaN for what is missing, to probabilities, or to values (batch,) in the target's own unit, float64.
"""

import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cells.errors import InputError
from cells.network import Network
from nas.data.augmentation import scale_and_shift
from nas.data.table_form import Features, TableForm
from nas.export.chain import ChainNetwork
from nas.export.predict import training_data
from nas.export.training_data import TrainingData

EXTRA = "pip install 'lambda-nas[export]'"


@dataclass(frozen=True, eq=False)
class Program:
    """A network as another runtime reads it."""

    content: bytes
    """Of its file."""
    run: Callable[[Tensor], Tensor]
    """What is in the content, read back: images or rows -> probabilities or values, as above."""


class Deployed(nn.Module):
    """A network between its normalisation and the softmax."""

    given, made = "images", "probabilities"
    scale: Tensor
    shift: Tensor

    def __init__(self, network: Network | ChainNetwork) -> None:
        super().__init__()
        data = training_data(network)
        scale, shift = scale_and_shift(data.mean, data.std, torch.device("cpu"))
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images.float() * self.scale + self.shift).softmax(dim=1)

    def example(self) -> Tensor:
        """Returns images to trace with: two, as of a single one torch would remember the number."""
        return torch.zeros(2, *training_data(self.network).shape, dtype=torch.uint8)


class DeployedRows(nn.Module):
    """A network for a table between the encoding of rows and what its outputs mean."""

    given = "rows"

    def __init__(self, network: ChainNetwork, form: TableForm) -> None:
        super().__init__()
        self.form = form
        self.made = "values" if form.regression else "probabilities"
        self.features = Features(form.columns)
        self.network = network

    def forward(self, rows: Tensor) -> Tensor:
        return self.form.answers(self.network(self.features(rows)))

    def example(self) -> Tensor:
        """Returns rows to trace with: two, as of a single one torch would remember the number."""
        return torch.zeros(2, len(self.form.columns), dtype=torch.float64)


def deployed(network: Network | ChainNetwork) -> Deployed | DeployedRows:
    """Returns a network with all that is before and behind it, in evaluation mode."""
    if isinstance(network, ChainNetwork) and isinstance(network.data, TableForm):
        return DeployedRows(network, network.data).eval()
    return Deployed(network).eval()


def facts(network: Network | ChainNetwork) -> dict[str, str]:
    """Returns what a program's metadata say, JSON each.

    That is classes by label, data's name, and the genotype; for layers in a row, instead of a
    genotype, their weights' shapes, and for a table the columns, with their categories in order,
    and the target.
    """
    if not isinstance(network, ChainNetwork):
        told: dict[str, Any] = {"classes": training_data(network).classes}
        told["data"] = training_data(network).name
        return {"genotype": network.genotype.to_json()} | _as_json(told)
    data = network.data
    told = {"data": data.name, "layers": [layer.shape for layer in network.chain.layers]}
    if isinstance(data, TrainingData):
        return _as_json(told | {"classes": data.classes})
    columns = [{"name": each.name, "categories": each.categories} for each in data.columns]
    target = {"name": data.target.name, "classes": data.target.classes}
    return _as_json(told | {"columns": columns, "target": target})


def _as_json(told: dict[str, Any]) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in told.items()}


def to_torch(network: Network | ChainNetwork) -> Program:
    """Exports a network by `torch.export`; `torch.export.load` reads it, with `extra_files`."""
    module = deployed(network)
    batch = {module.given: {0: torch.export.Dim("batch")}}
    program = torch.export.export(module, (module.example(),), dynamic_shapes=batch)
    for node in program.graph.nodes:  # paths on this machine are no one else's business
        node.meta.pop("stack_trace", None)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=facts(network))
    run = torch.export.load(io.BytesIO(file.getvalue())).module()
    return Program(file.getvalue(), run)


def to_torchscript(network: Network | ChainNetwork) -> Program:
    """Traces a network for `torch.jit.load`, which reads the facts into `_extra_files`."""
    module = deployed(network)
    file = io.BytesIO()
    with warnings.catch_warnings():
        # That TorchScript is deprecated, as --help says, and that images keep their size.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, (module.example(),))
        torch.jit.save(traced, file, _extra_files=facts(network))
        run = torch.jit.load(io.BytesIO(file.getvalue()))
    return Program(file.getvalue(), run)


def to_onnx(network: Network | ChainNetwork) -> Program:
    """Exports a network as ONNX, with the facts as `metadata_props`.

    Raises:
        InputError: if a package of the extra `export` is not installed.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401  # reads it back
        import onnxscript  # noqa: F401  # torch.onnx wants it
    except ModuleNotFoundError as error:
        raise InputError(f"--to onnx wants the package {error.name!r}: {EXTRA}") from error
    module = deployed(network)
    exported = torch.onnx.export(
        module,
        (module.example(),),
        dynamo=True,
        dynamic_shapes={module.given: {0: torch.export.Dim("batch")}},
        input_names=[module.given],
        output_names=[module.made],
        verbose=False,
    )
    assert exported is not None
    model = exported.model_proto
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]  # traces of torch, with paths on this machine
    onnx.helper.set_model_props(model, facts(network))
    return onnx_program(model.SerializeToString())


def onnx_program(content: bytes) -> Program:
    """Returns a model in ONNX as ONNX Runtime runs it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def run(inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {given.name: inputs.numpy()})[0])

    return Program(content, run)
