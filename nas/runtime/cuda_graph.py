"""A step on a GPU as one launch.

A small network's step is a thousand kernels of a few microseconds, and Python takes longer to start
one than the GPU to run it. A CUDA graph keeps the kernels of one step and starts them all at once.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class CudaGraphStep:
    """The kernels of one step, recorded on the current stream.

    What the step reads and writes stays where it is: it runs again on what its inputs and all other
    tensors that it uses hold by then.
    """

    def __init__(self, step: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        """Records without running anything.

        Args:
            step: maps the inputs to a tensor; everything random, every number in Python and every
                size in it is kept as it is now. It must have run before, on the same stream, and
                must not look at a tensor's numbers.
            inputs: tensors whose numbers differ from step to step, on the GPU.
        """
        self._inputs = [tensor.clone() for tensor in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=torch.cuda.current_stream()):
            self._output = step(*self._inputs)

    def run(self, inputs: Sequence[Tensor]) -> Tensor:
        """Runs the step on inputs of the same shapes, on the current stream."""
        for own, tensor in zip(self._inputs, inputs, strict=True):
            own.copy_(tensor)
        self._graph.replay()
        return self._output.clone()
