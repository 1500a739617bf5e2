"""What a finished run's method gives as a teacher."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.templates import single_template
from mocoop.methods.base import PromptMethod
from mocoop.methods.keys import Key
from mocoop.methods.on_features import at_least_fp32
from mocoop.methods.zeroshot import template_features

TEACHER_KEYS = (
    Key("TEACHER", "", "folder of the finished run that teaches, on any CLIP; empty: zero-shot CLIP, the run's own"),
    Key("TEACHER_SIZE", 0, "set by training: width of the features of the run that taught", at_least=0, at_most=16384,
        structural=True),
    Key("TAUGHT", (), "set by training: the classes whose features that run gave", structural=True),
    Key("TAUGHT_BY", (), "set by training: what that run was, and knew", structural=True),
)  # fmt: skip


@torch.no_grad()
def class_vectors(teacher: PromptMethod) -> Tensor:
    """What a teacher compares images with, (T, D), normalised: of several experts the mean.

    Of one that makes them for each image: its CLIP's features of the dataset's template.
    """
    if teacher.entry.export == "conditional":
        given = teacher.text_encoder, [single_template(teacher.cfg.DATASET.NAME)], teacher.classnames
        found = template_features(*given)
    else:
        found = teacher.class_features()
    mean = found.mean(0) if found.dim() == 3 else found
    return F.normalize(at_least_fp32(mean), dim=-1)


def described(teacher: PromptMethod) -> str:
    """Which run it was, in words, for a record."""
    cfg = teacher.cfg
    data = f"{cfg.DATASET.NAME}, {cfg.DATASET.SUBSAMPLE_CLASSES} classes, {cfg.DATASET.NUM_SHOTS} shots"
    return f"teacher: {teacher.entry.name} on {cfg.MODEL.BACKBONE.NAME} ({data})"
