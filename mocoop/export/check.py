"""An export before it is written: on a few images it has to give what the method itself predicts."""

import importlib
import logging
import sys
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.prompts import hard_prompts
from mocoop.errors import ConfigError
from mocoop.export.scorers import Scorer
from mocoop.methods.contract import check_prediction
from mocoop.runs.trained_run import TrainedRun

ROUNDING = 1e-4  # largest difference of logits in that of the largest logit, or of 100

logger = logging.getLogger(__name__)


@torch.no_grad()
def answers_to_compare(run: TrainedRun, count: int) -> tuple[Tensor, Tensor]:
    """Images (B, 3, H, W), blurred spots of colour, and what the method predicts for them in fp32, logits (B, C)."""
    spots = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    images = F.interpolate(spots, tuple(run.cfg.INPUT.SIZE), mode="bicubic")
    return images, check_prediction(run.method, run.method.predict(images), len(images))["logits"]


@torch.no_grad()
def folder_logits(scorer: Scorer, tensors: dict[str, Tensor], run: TrainedRun, images: Tensor) -> Tensor:
    """What the folder's own code makes of its tensors, with CLIP as the folder's code changes it."""
    example, clip_model = _example(scorer.example), scorer.clip_model
    info = {
        "classes": run.classnames,
        "top_k": run.method.settings.get("TOP_K"),
        "tokenize": lambda texts: hard_prompts(texts, clip_model.tokenizer).tokens,
    }
    return example.logits(clip_model.model, tensors, info, images)


def _example(name: str) -> ModuleType:
    """A file of example/, which finds the modules that lie beside it where it is written to."""
    package, before = "mocoop.export.example", dict(sys.modules)
    sys.modules["pixels"] = importlib.import_module("mocoop.pixels")
    sys.modules["load_model"] = importlib.import_module(f"{package}.load_model")
    try:
        return importlib.import_module(f"{package}.{name}")
    finally:
        for beside in ("pixels", "load_model"):
            del sys.modules[beside]
            sys.modules.update({beside: before[beside]} if beside in before else {})


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
