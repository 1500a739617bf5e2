"""model.onnx, and the check of an export before it is written: it has to give what the method itself predicts."""

import contextlib
import importlib
import importlib.util
import inspect
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mocoop import pixels
from mocoop.clip.prompts import hard_prompts
from mocoop.errors import ConfigError
from mocoop.export.scorers import Scorer
from mocoop.methods.contract import check_prediction
from mocoop.runs.trained_run import TrainedRun

OPSET = 17
ROUNDING = 1e-4  # largest difference of logits in that of the largest logit, or of 100
logger = logging.getLogger(__name__)


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


@torch.no_grad()
def answers_to_compare(run: TrainedRun, count: int) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W), blurred spots of colour, and what the method predicts for them in fp32, logits (B, C)."""
    spots = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(spots, tuple(run.cfg.INPUT.SIZE), mode="bicubic")
    return images, check_prediction(run.method, run.method.predict(images), len(images))["logits"]


@torch.no_grad()
def folder_logits(scorer: Scorer, tensors: dict[str, Tensor], run: TrainedRun, images: Tensor) -> Tensor:
    """What the folder's own code makes of its tensors, with CLIP as the folder's code changes it."""
    example, clip_model = _example_module(scorer.example), scorer.clip_model
    info = {
        "classes": run.classnames,
        "top_k": run.method.settings.get("TOP_K"),
        "tokenize": lambda texts: hard_prompts(texts, clip_model.tokenizer).tokens,
    }
    return example.logits(clip_model.model, tensors, info, images)


def _example_module(name: str) -> ModuleType:
    """A file of example/, which finds load_model, and that pixels, beside it where it is written to."""
    package = "mocoop.export.example"
    with _beside(pixels=pixels):
        loader = importlib.import_module(f"{package}.load_model")
    with _beside(load_model=loader):
        return importlib.import_module(f"{package}.{name}")


@contextlib.contextmanager
def _beside(**modules: ModuleType) -> Iterator[None]:
    """Let modules be imported by these names until the block ends."""
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def check_alike(run: TrainedRun, what: str, found: Tensor | None, expected: Tensor) -> None:
    """Raises ConfigError unless logits (B, C) of an export, None if it was not run, are those of the method."""
    if found is None:
        logger.info("%s was not run; with the package onnxruntime it would be compared with the method", what)
        return
    difference = float((found - expected).abs().max())
    if not difference <= ROUNDING * max(100.0, float(expected.abs().max())):
        raise ConfigError(
            f"{run.method.entry.name} cannot be exported: the logits of {what} would differ from its own predictions "
            f"by {difference:.2g}"
        )
    logger.info("the logits of %s are those of the method within %.1e", what, difference)
