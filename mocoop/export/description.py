"""model.json: what an exported model is, as plain values."""

from dataclasses import asdict
from pathlib import Path

import torch

from mocoop import __version__
from mocoop.backbone import EMBEDDED
from mocoop.clip.open_clip import OpenCLIP
from mocoop.clip.openai import MODEL_URLS
from mocoop.images import reading_of
from mocoop.runs.trained_run import TrainedRun

FORMAT = 1


def describe(run: TrainedRun, with_backbone: bool) -> dict:
    """Method, backbone, preprocessing and versions."""
    cfg = run.cfg
    name = cfg.MODEL.BACKBONE.NAME
    described = {
        "format": FORMAT,
        "method": cfg.TRAINER.NAME,
        "dataset": cfg.DATASET.NAME,
        "seed": cfg.SEED,
        "backbone": {
            "name": name if name in (*MODEL_URLS, *EMBEDDED) else Path(name).name,  # not where it lay
            "kind": "open_clip" if isinstance(run.method.clip_model, OpenCLIP) else "clip",
            "sha256": run.method.clip_model.sha256,
            "included": with_backbone,
            "activation": run.method.clip_model.activation,
        },
        "reading": asdict(reading_of(run.cfg)),  # of image files, before `preprocess`: see pixels.py
        "preprocess": preprocessing(run),
        "input": "(B, 3, H, W), float32, preprocessed",
        "output": "logits (B, classes), float32; their softmax is the probability",
        "versions": {"mocoop": __version__, "torch": torch.__version__},
    }
    if run.group_names:
        described |= {"experts": run.group_names, "top_k": run.method.settings.TOP_K}
    return described


def preprocessing(run: TrainedRun) -> dict:
    """Resize the smaller edge to the larger of `size`, crop the centre, scale to [0, 1], normalise."""
    node = run.cfg.INPUT
    scaled = "normalize" in node.TRANSFORMS
    return {
        "size": list(node.SIZE),
        "interpolation": node.INTERPOLATION,
        "mean": list(node.PIXEL_MEAN) if scaled else [0.0, 0.0, 0.0],
        "std": list(node.PIXEL_STD) if scaled else [1.0, 1.0, 1.0],
    }
