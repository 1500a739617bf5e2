"""Writes an export's folder: tensors, class names, description, ONNX, an example, and CLIP's weights where needed."""

import json
import logging
from importlib import resources
from pathlib import Path

from safetensors.torch import save

from mocoop.backbone import load_clip
from mocoop.clip.openai import MODEL_URLS
from mocoop.export.card import model_card
from mocoop.export.clip_weights import BACKBONE, OPEN_CLIP, OPEN_CLIP_CONFIG, backbone_files
from mocoop.export.description import describe
from mocoop.export.onnx_file import check_onnx_installed, largest_difference, write_onnx
from mocoop.export.scorers import Scorer, scorer_of
from mocoop.files import check_empty, write_file
from mocoop.runs.trained_run import TrainedRun

WEIGHTS, ONNX = "model.safetensors", "model.onnx"
DESCRIPTION, CLASSES, LOADER, EXAMPLE = "model.json", "classes.json", "load_model.py", "example.py"
PIXELS = "pixels.py"
CARD = "README.md"

logger = logging.getLogger(__name__)


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

    Raises ConfigError for a folder that holds something, unless `force` is given, and for a missing package.
    """
    folder = Path(folder)
    check_empty(folder, force)
    if onnx:
        check_onnx_installed()
    with_backbone = with_backbone or run.cfg.MODEL.BACKBONE.NAME not in MODEL_URLS
    description, scorer = describe(run, with_backbone), scorer_of(run)
    files = {WEIGHTS: save(scorer.tensors()), CLASSES: _json(run.classnames), **_example(scorer)}
    if card_of is not None:
        files[CARD] = model_card(run, card_of, onnx, with_backbone).encode()
    if with_backbone:
        files |= backbone_files(load_clip(run.cfg))  # as it was before the run
    for stale in {BACKBONE, OPEN_CLIP, OPEN_CLIP_CONFIG, ONNX} - set(files):
        (folder / stale).unlink(missing_ok=True)  # of an earlier export, it would not belong to this one
    for name, content in files.items():
        write_file(folder / name, content)
    written = [folder / name for name in files]
    if onnx:
        written.append(folder / ONNX)
        _write_onnx(scorer, tuple(run.cfg.INPUT.SIZE), folder / ONNX)
    write_file(folder / DESCRIPTION, _json(description))  # last: with it the folder is whole
    return [*written, folder / DESCRIPTION]


def _write_onnx(scorer: Scorer, size: tuple[int, int], path: Path) -> None:
    write_onnx(scorer, size, path)
    difference = largest_difference(scorer, size, path)
    if difference is None:
        logger.info("%s was not run; with the package onnxruntime it would be compared with the model", path)
    else:
        logger.info("%s gives the model's logits within %.1e", path, difference)


def _example(scorer: Scorer) -> dict[str, bytes]:
    """What loads the folder and uses it, the latter by the method's kind, and the library's own reader of pixels."""
    package = resources.files("mocoop")
    sources = {LOADER: f"export/example/{LOADER}", EXAMPLE: f"export/example/{scorer.example}.py", PIXELS: PIXELS}
    return {name: package.joinpath(source).read_bytes() for name, source in sources.items()}


def _json(value) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
