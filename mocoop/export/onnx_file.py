"""model.onnx: a scorer as one file, for any batch size."""

import contextlib
import importlib.util
import inspect
import io
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mocoop.errors import ConfigError
from mocoop.export.scorers import Scorer

OPSET = 17


def check_onnx_installed() -> None:
    """Raises ConfigError unless the package `onnx`, which the conversion needs, is there."""
    if importlib.util.find_spec("onnx") is None:
        raise ConfigError("ONNX needs the package onnx: pip install onnx onnxruntime, or pass --no-onnx")


def onnx_file(scorer: Scorer, size: tuple[int, int]) -> bytes:
    """The file's content, image (B, 3, H, W) -> logits (B, C), both float32."""
    example = torch.zeros(2, 3, *size)
    # The exporter by tracing: one file, and the same in all versions of torch that are supported.
    has_choice = "dynamo" in inspect.signature(torch.onnx.export).parameters
    options: dict[str, Any] = {"dynamo": False} if has_choice else {}
    whole = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings(), _attention_in_parts():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            scorer,
            (example,),
            whole,  # type: ignore[arg-type]  # torch declares what its other exporter takes, paths alone
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            **options,
        )
    return whole.getvalue()


@contextlib.contextmanager
def _attention_in_parts() -> Iterator[None]:
    """open_clip's attention without PyTorch's one operation for it, which ONNX does not know."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def onnx_logits(content: bytes, images: Tensor) -> Tensor | None:
    """What the file gives for images; None without the package onnxruntime."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"image": images.numpy()})[0])
