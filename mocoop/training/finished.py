"""A finished run's method: built again and given what it learned, without its data set or a trainer."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from yacs.config import CfgNode

from mocoop.backbone import check_input, is_available, load_clip
from mocoop.config import fill
from mocoop.engine import get_cfg_default
from mocoop.errors import CheckpointError, ConfigError
from mocoop.methods import PromptMethod, build_method, extend_cfg, get_method
from mocoop.results.record import FILE_NAME, read_record
from mocoop.training.checkpoint import MODEL, find_checkpoint, load_checkpoint
from mocoop.training.learner import Precision
from mocoop.training.run_state import check_clip, description, load_weights, structure_of, unserved, with_structure

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """A method with what it learned.

    Attributes:
        cfg: the run's config, with the structure that it was trained with.
        method: in evaluation mode, on `precision.device`.
        precision: the one that the run was tested in; fp32 on a CPU where it was fp16 or amp.
        checkpoint: the file that the weights are from; None for a method that learns nothing.
    """

    cfg: CfgNode
    method: PromptMethod
    precision: Precision
    checkpoint: Path | None

    def method_over(self, names: Sequence[str]) -> PromptMethod:
        """The same method over other class names; CLIP's weights are shared.

        Raises ConfigError for names too long, and for what was learned for each class.
        """
        self.check_served(names)
        method = build_method(self.cfg, names, self.method.clip_model).to(self.precision.device)
        method.load_learned_state(method.rows_of_classes(self.method.learned_state(), self.method.classnames))
        method.load_extra_state(self.method.extra_state())
        return method.eval()

    def check_served(self, names: Sequence[str]) -> None:
        """Raises ConfigError for class names that what was learned cannot be used for."""
        trained, bound = self.method.classnames, self.method.bound_to_classes()
        if bound and not self.method.serves(trained, names):
            raise ConfigError(f"{self.checkpoint} has {bound}, {unserved(trained, names)}")


def load_finished(
    path: str | Path, epoch: int | None = None, device: str = "cpu", backbone: str | None = None
) -> Finished:
    """The method of the run in a folder, with the weights it was tested with: the best by validation, else the last.

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
    cfg = restored_config(described["config"], checkpoint_path)
    cfg = with_structure(cfg, structure_of(checkpoint, checkpoint_path))
    run = _build(cfg, described["classnames"], where, backbone, described, checkpoint_path)
    load_weights(run.method, checkpoint, checkpoint_path)
    run.method.load_extra_state(checkpoint.get("extra_state", {}))
    logger.info("%s, after epoch %d, from %s", cfg.TRAINER.NAME, checkpoint["epoch"], checkpoint_path)
    return run


def same_input(cfg: CfgNode, other: CfgNode, folder: str) -> None:
    """Raises ConfigError if the run in a folder takes other images than those of `cfg`: both are given the same."""
    for key in ("SIZE", "PIXEL_MEAN", "PIXEL_STD"):
        wanted, found = (tuple(each.INPUT[key]) for each in (other, cfg))
        if wanted != found:
            raise ConfigError(f"INPUT.{key} is {found}, expected {wanted} as of the run in {folder}, which teaches")


def resolve_device(name: str) -> torch.device:
    """The device of that name. Raises ConfigError where there is none."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ConfigError(f"device {name!r} cannot be used ({reason}), expected cpu, or cuda with a GPU") from error
    return device


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


def _load_untrained(path: Path, device: torch.device, backbone: str | None) -> Finished:
    record = read_record(path)
    if record["status"] != "done":
        raise CheckpointError(f"{path.parent} holds no checkpoint, and a run that is {record['status']}: run it first")
    classnames = [row["classname"] for row in record["per_class"]]
    run = _build(restored_config(record["config"], path), classnames, device, backbone, record, None)
    if run.method.learned_tensors():
        raise CheckpointError(
            f"{path.parent} is an evaluation of {record['method']} and holds no weights: name the folder of the run "
            "that was trained"
        )
    logger.info("%s, which learns nothing, over the classes of %s", record["method"], path)
    return run


def restored_config(plain: dict, source: Path) -> CfgNode:
    """A config from the plain values that a run keeps; keys that this version does not know are left out."""
    cfg = get_cfg_default()
    extend_cfg(cfg)
    fill(cfg, plain, str(source))
    get_method(cfg.TRAINER.NAME)  # raises for a method that is not known
    return cfg


def _build(
    cfg: CfgNode, classnames: list[str], device: torch.device, backbone: str | None, made: dict, checkpoint: Path | None
) -> Finished:
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
    return Finished(cfg, method.eval(), precision, checkpoint)
