"""Python, torch and its GPU, the engine, the clip package, and the packages that are optional."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from importlib import metadata

from mocoop.doctor.finding import NOTE, OK, PROBLEM, Finding

OLDEST_PYTHON, OLDEST_TORCH = (3, 10), (2, 4)
EXTRAS = {
    "tensorboard": "training curves for TensorBoard",
    "wandb": "logs at Weights & Biases (TRAIN.WANDB)",
    "onnx": "model.onnx in mocoop export",
    "onnxruntime": "comparing model.onnx with the model",
}


def check_python() -> Iterator[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Finding(PROBLEM, "Python", f"got {found}, expected {'.'.join(map(str, OLDEST_PYTHON))} or newer")
    else:
        yield Finding(OK, "Python", f"{found} ({sys.executable})")


def check_torch() -> Iterator[Finding]:
    """Raises ImportError or OSError where torch or torchvision cannot be imported."""
    import torch

    importlib.import_module("torchvision")
    versions = f"{torch.__version__}, torchvision {metadata.version('torchvision')}"
    if tuple(map(int, torch.__version__.split(".")[:2])) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        yield Finding(
            PROBLEM, "torch", f"got {versions}, expected torch {oldest} or newer: pip install -U torch torchvision"
        )
    else:
        yield Finding(OK, "torch", versions)
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Finding(OK, "GPU", f"{', '.join(names)}; CUDA {torch.version.cuda}")
    else:
        built = f"built for CUDA {torch.version.cuda}, no usable GPU" if torch.version.cuda else "built without CUDA"
        yield Finding(NOTE, "GPU", f"none: this torch is {built}; runs use the CPU")


def check_engine() -> Iterator[Finding]:
    """Raises EngineError or ConfigError where the engine that would be used cannot be."""
    from mocoop.engine.backend import VARIABLE, dassl_is_installed

    backend = importlib.import_module("mocoop.engine").BACKEND
    asked = os.environ.get(VARIABLE, "").lower() or "auto"
    if asked == "auto":
        why = "Dassl is installed" if dassl_is_installed() else "Dassl is not installed; lite needs nothing"
    else:
        why = f"{VARIABLE}={asked}"
    yield Finding(OK, "engine", f"{backend} ({why})")


def check_clip() -> Iterator[Finding]:
    """Raises ImportError where no package provides `clip`."""
    package = importlib.import_module("mocoop.clip.openai").clip
    named = [f"{name} {metadata.version(name)}" for name in metadata.packages_distributions().get("clip", [])]
    yield Finding(
        OK, "clip", f"{', '.join(dict.fromkeys(named)) or 'unpackaged'} ({os.path.dirname(package.__file__)})"
    )


def check_extras() -> Iterator[Finding]:
    for name, use in EXTRAS.items():
        if importlib.util.find_spec(name) is None:
            yield Finding(NOTE, name, f"not installed; for {use}: pip install {name}")
        else:
            yield Finding(OK, name, f"{_version(name)}, for {use}")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "of unknown version"
