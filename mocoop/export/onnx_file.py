"""model.onnx: a scorer as one file, for any batch size."""

import contextlib
import importlib.util
import inspect
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from mocoop.errors import ConfigError
from mocoop.export.scorers import Scorer
from mocoop.files import write_file

OPSET = 17

logger = logging.getLogger(__name__)


def check_onnx_installed() -> None:
    """Raises ConfigError unless the package `onnx`, which the conversion needs, is there."""
    if importlib.util.find_spec("onnx") is None:
        raise ConfigError("ONNX needs the package onnx: pip install onnx onnxruntime, or pass --no-onnx")


def write_onnx(scorer: Scorer, size: tuple[int, int], path: Path) -> None:
    """Write image (B, 3, H, W) -> logits (B, C), both float32."""
    example = torch.zeros(2, 3, *size)
    # The exporter by tracing: one file, and the same in all versions of torch that are supported.
    has_choice = "dynamo" in inspect.signature(torch.onnx.export).parameters
    options = {"dynamo": False} if has_choice else {}
    whole = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings(), _attention_in_parts():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            scorer,
            (example,),
            whole,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            **options,
        )
    write_file(path, whole.getbuffer())


@contextlib.contextmanager
def _attention_in_parts() -> Iterator[None]:
    """open_clip's attention without PyTorch's one operation for it, which ONNX does not know."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def largest_difference(scorer: Scorer, size: tuple[int, int], path: Path) -> float | None:
    """Between the file's logits of three random images and the scorer's; None without the package onnxruntime."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    images = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {"image": images.numpy()})[0])
    with torch.no_grad():
        return float((found - scorer(images)).abs().max())
