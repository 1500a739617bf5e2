"""A training step's loss and gradients as one CUDA graph: the host launches one thing where there were thousands.

A few steps run eagerly first, on the stream that is captured. The capture records what the host would launch; a replay
works on the same memory, so inputs are copied into fixed buffers, and gradients stand where they stood. Scaling by the
loss scaler is inside; clipping, the optimiser's update and the schedule stay outside, a handful of fused operations.
A graph is made for one shape of batches and one stage of a method; other batches, such as a last short one, run
eagerly. What cannot be captured runs eagerly: training never ends for it.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mocoop.distributed import world_size
from mocoop.errors import one_line

EAGER_STEPS = 3  # before the capture: they make what is made once, and warm up libraries

logger = logging.getLogger(__name__)

Compute = Callable[[Tensor, Tensor], dict[str, Tensor]]


def why_eager(device: torch.device, choice: str, steps_alike: bool) -> str | None:
    """Why steps are not replayed from a graph, in words; None if they are."""
    if device.type != "cuda":
        return "no GPU"
    if choice == "off":
        return "TRAIN.CUDA_GRAPH is off"
    if world_size() > 1:
        return "several ranks"
    return None if steps_alike else "the method's steps are not alike"


class StepGraph:
    """Calls `compute(image, label)`, which fills gradients and returns values, and replays it once it is captured.

    Args:
        parameters: whose gradients `compute` fills.

    Attributes:
        reason: why it could not be captured; None if it could, or was not tried yet.
    """

    def __init__(self, compute: Compute, parameters: Sequence[nn.Parameter], device: torch.device):
        self.compute, self.parameters = compute, parameters
        self.reason: str | None = None
        self.stream = torch.cuda.Stream(device)
        self.reset()

    def reset(self) -> None:
        """Forget the graph: what is computed has changed."""
        self._graph: torch.cuda.CUDAGraph | None = None
        self._shape: torch.Size | None = None
        self._eager_steps = 0

    @contextmanager
    def on_stream(self) -> Iterator[None]:
        """All of a step, its update too, runs on the stream that is captured."""
        outer = torch.cuda.current_stream()
        self.stream.wait_stream(outer)
        with torch.cuda.stream(self.stream):
            yield
        outer.wait_stream(self.stream)

    def __call__(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """What `compute` returns; valid until the next call."""
        if self.reason is not None:
            return self.compute(image, label)
        if self._graph is None and self._eager_steps >= EAGER_STEPS and image.shape == self._shape:
            self._capture(image, label)
        if self._graph is not None and image.shape == self._shape:
            return self._replay(self._graph, image, label)
        if self._graph is None:
            self._eager_steps = self._eager_steps + 1 if image.shape == self._shape else 1
            self._shape = image.shape
        return {name: value.detach() for name, value in self.compute(image, label).items()}

    def _capture(self, image: Tensor, label: Tensor) -> None:
        self._image, self._label = image.clone(), label.clone()
        for p in self.parameters:
            p.grad = None
        graph = torch.cuda.CUDAGraph()
        try:
            # other threads, such as a loader's that pins memory, go on during the capture
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                self._values = {name: value.detach() for name, value in self.compute(self._image, self._label).items()}
        except Exception as error:  # whatever a method does that a graph cannot hold
            torch.cuda.synchronize()
            self.reset()
            self.reason = one_line(f"{type(error).__name__}: {error}", 200)
            logger.warning("steps run eagerly: they cannot be captured in a CUDA graph (%s)", self.reason)
            return
        self._graph, self._gradients = graph, [p.grad for p in self.parameters]

    def _replay(self, graph: torch.cuda.CUDAGraph, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        self._image.copy_(image)
        self._label.copy_(label)
        for p, gradient in zip(self.parameters, self._gradients):
            p.grad = gradient
        graph.replay()
        return self._values
