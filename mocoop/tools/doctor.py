"""Looks whether everything that a run needs is in place, and says what is not.

mocoop doctor                              the exit status is 1 if something is wrong
mocoop doctor --root DATA --output OUT     with your data root and output folder
mocoop doctor --backbone open_clip:ViT-B-16-SigLIP/webli    loads a CLIP, and says which images and texts it takes

Optional things that are absent are notes, and no reason for a status other than 0. Nothing is written, and nothing but
a CLIP that is named is downloaded.
"""

import argparse
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from mocoop.errors import MocoopError, reason_of

OK, NOTE, PROBLEM = "ok", "note", "PROBLEM"
EXTRAS = {
    "tensorboard": "training curves for TensorBoard",
    "wandb": "logs at Weights & Biases (TRAIN.WANDB)",
    "onnx": "model.onnx in mocoop export",
    "onnxruntime": "comparing model.onnx with the model",
    "open_clip": "the CLIPs of open_clip",
    "gradio": "the page of mocoop serve",
    "submitit": "runs on SLURM (mocoop run --slurm)",
    "transformers": "tokenizers and text towers of open_clip's SigLIP, BiomedCLIP and others",
}
PACKAGES = {"open_clip": "open_clip_torch"}  # where a module's package has another name
Findings = Iterator[tuple[str, str, str]]  # OK, NOTE (something optional is absent) or PROBLEM; about what; the finding


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, metavar="DIR", help="data root (default: $DATA, or data)")
    output = os.environ.get("OUTPUT", "output")
    parser.add_argument("--output", type=Path, default=output, metavar="DIR", help="default: $OUTPUT, or output")
    parser.add_argument("--backbone", metavar="NAME", help="a CLIP to load, as in MODEL.BACKBONE.NAME")


def run(args: argparse.Namespace) -> int:
    """Prints what was found; returns 1 when there is a problem."""
    from mocoop.files import cache_folder

    checks = {
        "software": check_software,
        "embedded CLIP": check_embedded,
        "CLIP weights": check_downloaded,
        "backbone": lambda: check_backbone(args.backbone),
        "data root": lambda: check_data(args.root or os.environ.get("DATA")),
        "output": lambda: check_folder("output", args.output),
        "feature cache": lambda: check_folder("feature cache", folder) if (folder := cache_folder()) else (),
    }
    problems = 0
    for name, check in checks.items():
        for state, about, text in diagnose(name, check):
            problems += state == PROBLEM
            print(f"{state:<8} {about:<14} {text}", flush=True)
    print(f"{problems} problem{'s' if problems > 1 else ''} found" if problems else "no problem found")
    return 1 if problems else 0


def diagnose(about: str, check: Callable[[], Iterable[tuple[str, str, str]]]) -> Findings:
    """What a check finds; that it cannot be run is a problem."""
    try:
        yield from check()
    except (MocoopError, ImportError, OSError) as error:
        yield PROBLEM, about, reason_of(error)


def check_software() -> Findings:
    """Raises ImportError if a package is missing, and EngineError or ConfigError for an engine that cannot be used."""
    from mocoop.clip.openai import clip
    from mocoop.engine import BACKEND
    from mocoop.versions import collect_env_info

    for line in collect_env_info().splitlines():
        about, _, version = line.partition(": ")
        yield OK, about, version
    yield OK, "engine", BACKEND
    yield OK, "clip", os.path.dirname(clip.__file__ or "")
    for name, use in EXTRAS.items():
        if importlib.util.find_spec(name) is None:
            yield NOTE, name, f"not installed; for {use}: pip install {PACKAGES.get(name, name)}"


def check_embedded() -> Findings:
    """Raises CheckpointError for embedded weights that are damaged."""
    from mocoop import tiny
    from mocoop.backbone import EMBEDDED

    for name, stored in EMBEDDED.items():
        tiny.load(stored)  # compares the hash
        yield OK, name, "embedded, its sha256 as it should be"


def check_downloaded(folder: Path | None = None) -> Findings:
    """Each of OpenAI's files in `folder` (default: where their package keeps them) against its published hash."""
    from mocoop.backbone import WEIGHTS_FOLDER
    from mocoop.clip.openai import MODEL_URLS
    from mocoop.files import file_sha256

    folder = (folder or WEIGHTS_FOLDER).expanduser()
    for name, url in MODEL_URLS.items():
        expected, path = url.split("/")[-2], folder / url.split("/")[-1]
        if not path.is_file():
            continue
        if (sha256 := file_sha256(path)) == expected:
            yield OK, name, f"{path}, sha256 as published"
        else:
            yield PROBLEM, name, f"{path} has sha256 {sha256[:16]}..., expected {expected[:16]}...: remove it"


def check_backbone(name: str | None) -> Findings:
    """What the CLIP of a name is, if one is named. Raises ConfigError or CheckpointError if it cannot be loaded."""
    from yacs.config import CfgNode

    from mocoop.backbone import load_clip

    if name:
        yield OK, "backbone", f"{name}: {load_clip(CfgNode({'MODEL': {'BACKBONE': {'NAME': name}}})).describe()}"


def check_data(root: str | Path | None) -> Findings:
    """Which datasets are in the data root; that it is absent is a problem only if it was named."""
    from mocoop.checkout import import_datasets

    folder = Path(root or "data").expanduser().absolute()
    if not folder.is_dir():
        yield PROBLEM if root else NOTE, "data root", f"there is no folder {folder}; name yours with --root, or $DATA"
        return
    registry = import_datasets()
    found = [
        name
        for name in sorted(registry.registered_names())
        if (place := registry.get(name).dataset_dir) and (folder / place).is_dir()
    ]
    listed = f"{', '.join(found)}; `mocoop datasets check NAME` looks at their files" if found else "no dataset in it"
    yield OK if found else NOTE, "data root", f"{folder}: {listed}"


def check_folder(about: str, folder: Path) -> Findings:
    """Whether a folder, or the nearest one above it that exists, can be written to."""
    existing = folder = folder.expanduser().absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield PROBLEM, about, f"{existing} cannot be written to; name another folder"
    else:
        yield OK, about, f"{folder}, {shutil.disk_usage(existing).free / 2**30:,.1f} GiB free"
