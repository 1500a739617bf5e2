"""A trained run, ready for use: loaded from its folder alone, without its data set, the checkout or a trainer."""

import contextlib
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from yacs.config import CfgNode

from mocoop.backbone import check_classnames, check_input, is_available, load_clip
from mocoop.config import fill
from mocoop.engine import build_transform, get_cfg_default
from mocoop.errors import CheckpointError, ConfigError, quoted
from mocoop.images import read_image, reading_of
from mocoop.methods import PromptMethod, build_method, extend_cfg, get_method
from mocoop.methods.contract import check_prediction
from mocoop.names import name_problem
from mocoop.results.record import FILE_NAME, read_record
from mocoop.training.checkpoint import MODEL, find_checkpoint, load_checkpoint
from mocoop.training.learner import Precision
from mocoop.training.run_state import check_clip, description, load_weights, structure_of, unserved, with_structure

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRun:
    """A method with what it learned, and what turns an image file into its input.

    Attributes:
        cfg: the run's config, with the structure that it was trained with.
        method: in evaluation mode, on `precision.device`.
        transform: PIL image to tensor (3, H, W), the trainer's test transform.
        precision: the one that the run was tested in; fp32 on a CPU where it was fp16 or amp.
        checkpoint: the file that the weights are from; None for a method that learns nothing.
    """

    cfg: CfgNode
    method: PromptMethod
    transform: Callable
    precision: Precision
    checkpoint: Path | None

    @property
    def classnames(self) -> list[str]:
        return self.method.classnames

    @property
    def group_names(self) -> list[str]:
        """Names of the experts; empty for a method without."""
        return getattr(self.method, "group_names", [])

    def read_image(self, path: str | Path) -> Image.Image:
        """The image at `path` for `transform`, read as the images of the run's data set. Raises DataError."""
        return read_image(path, reading_of(self.cfg))

    @torch.no_grad()
    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """`PromptMethod.predict` of transformed images (B, 3, H, W), as the trainer's test loop computes it."""
        with self.precision.autocast(testing=True):
            images = images.to(self.precision.device)
            return check_prediction(self.method, self.method.predict(images), len(images))

    def with_classes(self, names: Sequence[str]) -> "TrainedRun":
        """The same prompts over other class names. CLIP's weights are shared with this run.

        Raises ConfigError for names that are empty, doubled or too long, and for contexts learned for each class.
        """
        names = check_names(names)
        if (bound := self.method.bound_to_classes()) and not self.method.serves(self.classnames, names):
            raise ConfigError(f"{self.checkpoint} has {bound}, {unserved(self.classnames, names)}")
        check_classnames(self.cfg, names)
        learned = self.method.learned_state()
        method = build_method(self.cfg, names, self.method.clip_model).to(self.precision.device)
        method.load_learned_state(method.rows_of_classes(learned, self.classnames))
        method.load_extra_state(self.method.extra_state())
        return replace(self, method=method.eval())


def load_run(
    path: str | Path, epoch: int | None = None, device: str = "cpu", backbone: str | None = None
) -> TrainedRun:
    """The run in a folder, with the weights that it was tested with: the best by validation, else the last.

    Args:
        path: a run's folder, or one of its checkpoints.
        epoch: take the weights after so many epochs.
        device: "cpu", "cuda" or "cuda:1".
        backbone: another name or path of the CLIP that the run was trained with.

    Raises:
        CheckpointError: for a folder or file without a run, one that does not say what it is, or another CLIP than the
            run was trained with.
        ConfigError: for a device or backbone that is not there.
    """
    where, path = resolve_device(device), Path(path).expanduser()
    checkpoint_path = _checkpoint_path(path, epoch)
    if checkpoint_path is None:
        return _load_untrained(path / FILE_NAME, where, backbone)
    checkpoint = load_checkpoint(checkpoint_path)
    described = description(checkpoint, checkpoint_path)
    if described is None:
        raise CheckpointError(
            f"{checkpoint_path} does not say which method and classes it is for (CoOp's own checkpoints do not): "
            "evaluate it with train.py --eval-only"
        )
    cfg = _restored(described["config"], checkpoint_path)
    cfg = with_structure(cfg, structure_of(checkpoint, checkpoint_path))
    run = _build(cfg, described["classnames"], where, backbone, described, checkpoint_path)
    load_weights(run.method, checkpoint, checkpoint_path)
    run.method.load_extra_state(checkpoint.get("extra_state", {}))
    logger.info("%s, after epoch %d, from %s", cfg.TRAINER.NAME, checkpoint["epoch"], checkpoint_path)
    return run


def resolve_device(name: str) -> torch.device:
    """The device of that name. Raises ConfigError where there is none."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ConfigError(f"device {name!r} cannot be used ({reason}), expected cpu, or cuda with a GPU") from error
    return device


def check_names(names: Sequence[str]) -> list[str]:
    """Class names to predict among. Raises ConfigError unless there are some, none empty and none twice."""
    names = [name.strip() for name in names]
    if not names or not all(names):
        raise ConfigError(f"got the class names {names}, expected one or more, none of them empty")
    for name in names:
        if problem := name_problem(name):
            raise ConfigError(f"the class name {quoted(name)} {problem}")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigError(f"got the class name {', '.join(map(repr, doubled))} more than once, expected each once")
    return names


def _checkpoint_path(path: Path, epoch: int | None) -> Path | None:
    """The checkpoint that `path` means; None for a folder that holds a run's record and none."""
    if path.is_file() and path.name != FILE_NAME:
        if epoch is not None:
            raise ConfigError(f"got epoch {epoch} with the checkpoint file {path}, expected the run's folder")
        return path
    if not path.is_dir():
        raise CheckpointError(f"no run {path}, expected the folder of one, or a checkpoint")
    if (path / MODEL).is_dir():
        return find_checkpoint(path / MODEL, epoch)
    if any(path.glob("model*.pth.tar*")):
        return find_checkpoint(path, epoch)
    if not (path / FILE_NAME).is_file():
        raise CheckpointError(f"no run in {path}, expected a folder with {MODEL}/ or, of zero-shot runs, {FILE_NAME}")
    return None


def _load_untrained(path: Path, device: torch.device, backbone: str | None) -> TrainedRun:
    record = read_record(path)
    if record["status"] != "done":
        raise CheckpointError(f"{path.parent} holds no checkpoint, and a run that is {record['status']}: run it first")
    classnames = [row["classname"] for row in record["per_class"]]
    run = _build(_restored(record["config"], path), classnames, device, backbone, record, None)
    if run.method.learned_tensors():
        raise CheckpointError(
            f"{path.parent} is an evaluation of {record['method']} and holds no weights: name the folder of the run "
            "that was trained"
        )
    logger.info("%s, which learns nothing, over the classes of %s", record["method"], path)
    return run


def _restored(plain: dict, source: Path) -> CfgNode:
    """A config from the plain values that a run keeps; keys that this version does not know are left out."""
    cfg = get_cfg_default()
    extend_cfg(cfg)
    fill(cfg, plain, str(source))
    get_method(cfg.TRAINER.NAME)  # raises for a method that is not known
    return cfg


def _build(
    cfg: CfgNode, classnames: list[str], device: torch.device, backbone: str | None, made: dict, checkpoint: Path | None
) -> TrainedRun:
    """The method over its classes, without what it learned; `made`: what is known of the CLIP that it had."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.NAME = backbone or cfg.MODEL.BACKBONE.NAME
    cfg.freeze()
    if not is_available(cfg.MODEL.BACKBONE.NAME):
        raise ConfigError(
            f"there is no CLIP {cfg.MODEL.BACKBONE.NAME!r}, which the run was trained with: say with --backbone where "
            "it is"
        )
    prec = get_method(cfg.TRAINER.NAME).settings(cfg).get("PREC", "fp32")
    precision = Precision(prec, device, cfg.TEST.PREC)
    clip_model = load_clip(cfg)
    check_clip(cfg, clip_model, made, checkpoint or "the run")
    check_input(cfg, clip_model, as_trained=True)
    method = build_method(cfg, classnames, precision.prepare(clip_model)).to(device)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its steps into a training log
        transform = build_transform(cfg, is_train=False)
    return TrainedRun(cfg, method.eval(), transform, precision, checkpoint)
