"""Networks as programs of other runtimes, with all that is needed inside.

Every program maps uint8 images (batch, channels, height, width) to probabilities (batch, classes),
for any number of images, and holds `facts` in its metadata.
"""

import io
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cells.errors import InputError
from cells.network import Network
from nas.data.augmentation import scale_and_shift
from nas.export.predict import training_data

EXTRA = "pip install 'lambda-nas[export]'"


@dataclass(frozen=True, eq=False)
class Program:
    """A network as another runtime reads it."""

    content: bytes
    """Of its file."""
    run: Callable[[Tensor], Tensor]
    """What is in the content, read back: images -> probabilities, as above."""


class Deployed(nn.Module):
    """A network between its normalisation and the softmax."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: Network) -> None:
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


def facts(network: Network) -> dict[str, str]:
    """Returns what a program's metadata say, JSON each: classes by label, genotype, data's name."""
    data = training_data(network)
    return {
        "classes": json.dumps(data.classes),
        "genotype": network.genotype.to_json(),
        "data": json.dumps(data.name),
    }


def to_torch(network: Network) -> Program:
    """Exports a network by `torch.export`; `torch.export.load` reads it, with `extra_files`."""
    deployed = Deployed(network).eval()
    batch = {"images": {0: torch.export.Dim("batch")}}
    program = torch.export.export(deployed, (deployed.example(),), dynamic_shapes=batch)
    for node in program.graph.nodes:  # paths on this machine are no one else's business
        node.meta.pop("stack_trace", None)
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=facts(network))
    run = torch.export.load(io.BytesIO(file.getvalue())).module()
    return Program(file.getvalue(), run)


def to_torchscript(network: Network) -> Program:
    """Traces a network for `torch.jit.load`, which reads the facts into `_extra_files`."""
    deployed = Deployed(network).eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        # That TorchScript is deprecated, as --help says, and that images keep their size.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(deployed, (deployed.example(),))
        torch.jit.save(traced, file, _extra_files=facts(network))
        run = torch.jit.load(io.BytesIO(file.getvalue()))
    return Program(file.getvalue(), run)


def to_onnx(network: Network) -> Program:
    """Exports a network as ONNX, with the facts as `metadata_props`.

    Raises:
        InputError: if a package of the extra `export` is not installed.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # torch.onnx wants it
    except ModuleNotFoundError as error:
        raise InputError(f"--to onnx wants the package {error.name!r}: {EXTRA}") from error
    deployed = Deployed(network).eval()
    exported = torch.onnx.export(
        deployed,
        (deployed.example(),),
        dynamo=True,
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        input_names=["images"],
        output_names=["probabilities"],
        verbose=False,
    )
    assert exported is not None
    model = exported.model_proto
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]  # traces of torch, with paths on this machine
    onnx.helper.set_model_props(model, facts(network))
    content = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])

    return Program(content, run)
