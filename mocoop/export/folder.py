"""Writes an export's folder: tensors, class names, description, ONNX, an example, and CLIP's weights where needed."""

import contextlib
import json
import logging
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import save

from mocoop import __version__
from mocoop.backbone import EMBEDDED, load_clip
from mocoop.clip.open_clip import OpenCLIP
from mocoop.clip.openai import MODEL_URLS
from mocoop.errors import ConfigError, DataError
from mocoop.export.card import model_card
from mocoop.export.onnx_file import (
    answers_to_compare,
    check_alike,
    check_onnx_installed,
    folder_logits,
    onnx_file,
    onnx_logits,
)
from mocoop.export.scorers import BACKBONE, OPEN_CLIP, OPEN_CLIP_CONFIG, Scorer, backbone_files, scorer_of
from mocoop.files import TEMPORARY, check_empty, read_json, write_file
from mocoop.images import reading_of
from mocoop.runs.trained_run import TrainedRun

WEIGHTS, ONNX = "model.safetensors", "model.onnx"
DESCRIPTION, CLASSES, LOADER, EXAMPLE = "model.json", "classes.json", "load_model.py", "example.py"
PIXELS = "pixels.py"
CARD = "README.md"
FILES = {WEIGHTS, ONNX, DESCRIPTION, CLASSES, LOADER, EXAMPLE, PIXELS, CARD, BACKBONE, OPEN_CLIP, OPEN_CLIP_CONFIG}
UNFINISHED = ".export.json"  # what an export is about to write, until it is whole

logger = logging.getLogger(__name__)
FORMAT = 1


def export_run(
    run: TrainedRun,
    folder: str | Path,
    onnx: bool = True,
    with_backbone: bool = False,
    force: bool = False,
    card_of: Path | None = None,
) -> list[Path]:
    """Write a run, loaded on the CPU, with the classes that it has. The files written.

    CLIP's weights are written with `with_backbone`, and always for a CLIP that plain `clip.load` cannot get by name
    as it was: an embedded one, open_clip's, a file of one's own. With `card_of`, the run's folder, a model card, too.

    Before anything is written, what will be is compared with the method itself on a few images. With `force` an
    earlier export in the folder is replaced, and files beside it stay.

    Raises ConfigError for a folder that holds something else, or an export without `force`, for a missing package, and
    for a method whose predictions an export does not give.
    """
    folder = Path(folder)
    earlier = _earlier_export(folder, force)
    if onnx:
        check_onnx_installed()
    with_backbone = with_backbone or run.cfg.MODEL.BACKBONE.NAME not in MODEL_URLS
    description, scorer = describe(run, with_backbone), scorer_of(run)
    tensors = scorer.tensors()
    images, logits = answers_to_compare(run, scorer.few)
    check_alike(run, "its files", folder_logits(scorer, tensors, run, images), logits)
    files = {WEIGHTS: save(tensors), CLASSES: _json(run.classnames), **_example(scorer)}
    if onnx:
        files[ONNX] = onnx_file(scorer, tuple(run.cfg.INPUT.SIZE))
        check_alike(run, ONNX, onnx_logits(files[ONNX], images), logits)
    if card_of is not None:
        files[CARD] = model_card(run, card_of, onnx, with_backbone).encode()
    if with_backbone:
        files |= backbone_files(load_clip(run.cfg))  # as it was before the run
    names = sorted({*files, DESCRIPTION})
    _check_unused(folder, set(names) - earlier)
    write_file(folder / UNFINISHED, _json({"files": sorted({*names, *earlier})}))
    for stale in earlier - set(files):
        (folder / stale).unlink(missing_ok=True)  # it would not belong to this one
    for name, content in files.items():
        write_file(folder / name, content)
    written = [folder / name for name in files]
    write_file(folder / DESCRIPTION, _json(description | {"files": names}))  # last: with it the folder is whole
    (folder / UNFINISHED).unlink()
    return [*written, folder / DESCRIPTION]


def _earlier_export(folder: Path, force: bool) -> set[str]:
    """Names of the files of an export in a folder. Raises ConfigError for one that holds something else."""
    check_empty(folder, force)
    names = set()
    for listed in (DESCRIPTION, UNFINISHED):
        with contextlib.suppress(DataError):
            content = read_json(folder / listed)
            if isinstance(content, dict) and isinstance(content.get("files"), list):
                names |= FILES.intersection(map(str, content["files"]))
    if not names and folder.is_dir() and not all(TEMPORARY.fullmatch(path.name) for path in folder.iterdir()):
        raise ConfigError(
            f"{folder} holds files, and none of an export; --force replaces an earlier export and nothing else: name "
            "an empty or a new folder"
        )
    return names


def _check_unused(folder: Path, names: set[str]) -> None:
    """Raises ConfigError for the first of these names that is taken."""
    for name in sorted(names):
        if (folder / name).exists():
            raise ConfigError(
                f"{folder / name} is not of the export in its folder, and --force replaces nothing else; move it away, "
                "or name another folder"
            )


def _example(scorer: Scorer) -> dict[str, bytes]:
    """What loads the folder and uses it, the latter by the method's kind, and the library's own reader of pixels."""
    package = resources.files("mocoop")
    sources = {LOADER: f"export/example/{LOADER}", EXAMPLE: f"export/example/{scorer.example}.py", PIXELS: PIXELS}
    return {name: package.joinpath(source).read_bytes() for name, source in sources.items()}


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


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
