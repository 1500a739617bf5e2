"""When a step is captured, replayed, or run eagerly, on a stand-in for CUDA's graphs; tests/gpu has the real ones."""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import nn

from mocoop.training import graph as module
from mocoop.training.graph import EAGER_STEPS, StepGraph, why_eager

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Stream:
    def __init__(self, device=None):
        self.waited = 0

    def wait_stream(self, other):
        self.waited += 1


class Recorded:
    """What a capture saw, computed again on the same memory by `replay`."""

    replays = 0

    def replay(self):
        type(self).replays += 1
        step = Recorded.step
        gradients = [p.grad for p in step.parameters]
        again = step.compute(step._image, step._label)
        for name, value in step._values.items():
            value.copy_(again[name].detach())
        for p, gradient in zip(step.parameters, gradients):
            gradient.copy_(p.grad)
            p.grad = gradient


@pytest.fixture
def cuda(monkeypatch):
    """A stand-in for CUDA; the capture fails with `cuda.error` if there is one."""
    found = type("Cuda", (), {"error": None, "captures": 0})()

    @contextmanager
    def capture(graph, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"
        found.captures += 1
        if found.error:
            raise found.error
        yield

    Recorded.replays = 0
    for name, value in {
        "Stream": Stream, "CUDAGraph": Recorded, "graph": capture, "stream": lambda stream: nullcontext(),
        "current_stream": lambda: Stream(), "synchronize": lambda: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(module.torch.cuda, name, value)
    return found


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2))

    def compute(self, image, label):
        self.weight.grad = None
        loss = (self.weight * image).sum() + (self.weight**2).sum() + label.sum()
        loss.backward()
        return {"loss": loss}


def stepping(model: Model) -> StepGraph:
    step = StepGraph(model.compute, [model.weight], CPU)
    Recorded.step = step
    return step


def batch(number: int, size: int = 2):
    return torch.full((size, 2), float(number)), torch.full((size,), float(number))


def take(step, model: Model, number: int, size: int = 2) -> tuple[float, list[float]]:
    with step.on_stream() if isinstance(step, StepGraph) else nullcontext():
        loss = step(*batch(number, size))["loss"].item()
        found = model.weight.grad.tolist()
        with torch.no_grad():
            model.weight -= 0.1 * model.weight.grad
    return loss, found


def eager(sizes):
    model = Model()
    return [take(model.compute, model, i, size) for i, size in enumerate(sizes)]


SIZES = [2] * (EAGER_STEPS + 3) + [1, 2, 2, 1, 2]


def test_replays_give_what_eager_steps_do_and_a_short_batch_runs_eagerly(cuda):
    model = Model()
    step = stepping(model)
    assert [take(step, model, i, size) for i, size in enumerate(SIZES)] == eager(SIZES)
    assert cuda.captures == 1 and Recorded.replays == SIZES.count(2) - EAGER_STEPS
    assert step.reason is None and step.stream.waited == len(SIZES)


def test_after_a_reset_it_is_captured_again(cuda):
    model = Model()
    step, sizes = stepping(model), [2] * (2 * EAGER_STEPS + 4)
    found = []
    for i in range(len(sizes)):
        if i == EAGER_STEPS + 2:
            step.reset()
        found.append(take(step, model, i))
    assert found == eager(sizes) and cuda.captures == 2


def test_what_cannot_be_captured_runs_eagerly_with_one_line(cuda, caplog):
    cuda.error = RuntimeError("operation not permitted when stream is capturing\nmore")
    model, sizes = Model(), [2] * (EAGER_STEPS + 3)
    step = stepping(model)
    assert [take(step, model, i) for i in range(len(sizes))] == eager(sizes)
    assert cuda.captures == 1
    (record,) = caplog.records
    assert "steps run eagerly" in record.message and "not permitted" in record.message and "\n" not in record.message


@pytest.mark.parametrize(
    "device, choice, alike, why",
    [
        (CPU, "auto", True, "no GPU"),
        (CUDA, "off", True, "TRAIN.CUDA_GRAPH is off"),
        (CUDA, "auto", False, "the method's steps are not alike"),
        (CUDA, "auto", True, None),
    ],
)
def test_why_steps_run_eagerly(device, choice, alike, why):
    assert why_eager(device, choice, alike) == why
