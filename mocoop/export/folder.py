"""Writes an export's folder: tensors, class names, description, ONNX, an example, and CLIP's weights where needed."""

import contextlib
import json
import logging
from importlib import resources
from pathlib import Path

from safetensors.torch import save

from mocoop.backbone import load_clip
from mocoop.clip.openai import MODEL_URLS
from mocoop.errors import ConfigError, DataError
from mocoop.export.card import model_card
from mocoop.export.clip_weights import BACKBONE, OPEN_CLIP, OPEN_CLIP_CONFIG, backbone_files
from mocoop.export.description import describe
from mocoop.export.onnx_file import check_onnx_installed, largest_difference, write_onnx
from mocoop.export.scorers import Scorer, scorer_of
from mocoop.files import TEMPORARY, check_empty, read_json, write_file
from mocoop.runs.trained_run import TrainedRun

WEIGHTS, ONNX = "model.safetensors", "model.onnx"
DESCRIPTION, CLASSES, LOADER, EXAMPLE = "model.json", "classes.json", "load_model.py", "example.py"
CARD = "README.md"
FILES = {WEIGHTS, ONNX, DESCRIPTION, CLASSES, LOADER, EXAMPLE, CARD, BACKBONE, OPEN_CLIP, OPEN_CLIP_CONFIG}
UNFINISHED = ".export.json"  # what an export is about to write, until it is whole

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

    With `force` an earlier export in the folder is replaced, and files beside it stay. Raises ConfigError for a folder
    that holds something else, or an export without `force`, and for a missing package.
    """
    folder = Path(folder)
    earlier = _earlier_export(folder, force)
    if onnx:
        check_onnx_installed()
    with_backbone = with_backbone or run.cfg.MODEL.BACKBONE.NAME not in MODEL_URLS
    description, scorer = describe(run, with_backbone), scorer_of(run)
    files = {WEIGHTS: save(scorer.tensors()), CLASSES: _json(run.classnames), **_example(scorer)}
    if card_of is not None:
        files[CARD] = model_card(run, card_of, onnx, with_backbone).encode()
    if with_backbone:
        files |= backbone_files(load_clip(run.cfg))  # as it was before the run
    names = sorted({*files, DESCRIPTION, *([ONNX] if onnx else [])})
    _check_unused(folder, set(names) - earlier)
    write_file(folder / UNFINISHED, _json({"files": sorted({*names, *earlier})}))
    for stale in earlier - set(files):
        (folder / stale).unlink(missing_ok=True)  # it would not belong to this one
    for name, content in files.items():
        write_file(folder / name, content)
    written = [folder / name for name in files]
    if onnx:
        written.append(folder / ONNX)
        _write_onnx(scorer, tuple(run.cfg.INPUT.SIZE), folder / ONNX)
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


def _write_onnx(scorer: Scorer, size: tuple[int, int], path: Path) -> None:
    write_onnx(scorer, size, path)
    difference = largest_difference(scorer, size, path)
    if difference is None:
        logger.info("%s was not run; with the package onnxruntime it would be compared with the model", path)
    else:
        logger.info("%s gives the model's logits within %.1e", path, difference)


def _example(scorer: Scorer) -> dict[str, bytes]:
    """The two files of example/ that load the folder and use it, the second by the method's kind."""
    sources = {LOADER: LOADER, EXAMPLE: f"{scorer.example}.py"}
    folder = resources.files("mocoop.export") / "example"
    return {name: folder.joinpath(source).read_bytes() for name, source in sources.items()}


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
