"""PromptKD (arXiv 2403.02781): a prompted image tower follows a finished run's scores, on images without labels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from mocoop.clip.templates import single_template
from mocoop.clip.tower_parts import TowerParts
from mocoop.errors import ConfigError, TrainingError, quoted
from mocoop.methods.base import PromptMethod, batch_accuracy
from mocoop.methods.class_rows import rows_among, taught_classes
from mocoop.methods.deep_prompts import beside_patches, check_depth, deep_rows, image_tower
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.on_features import at_least_fp32
from mocoop.methods.zeroshot import template_features
from mocoop.registry import register_method

KEYS = (
    Key("UNLABELLED", "all", "whose images are used: of all of the dataset's classes (released), or of the trained",
        ("all", "trained"), structural=True),
    Key("KD_WEIGHT", 1000.0, "weight of the loss (released: 1000; 200 is recommended for three sets)", at_least=0.0),
    Key("TEMPERATURE", 1.0, "what both scores are divided by in training", at_least=1e-3),
    Key("N_CTX_VISION", 4, "rows beside an image's patches", at_least=1, at_most=1024, structural=True),
    Key("PROMPT_DEPTH_VISION", 9, "blocks with rows of their own, the first included", at_least=1, structural=True),
    Key("TEACHER", "", "folder of the finished run that teaches, on any CLIP; empty: zero-shot CLIP, the run's own"),
    Key("TEACHER_SIZE", 0, "set by training: width of the features of the run that taught", at_least=0, at_most=16384,
        structural=True),
    Key("TAUGHT", (), "set by training: the classes whose features that run gave", structural=True),
    Key("TAUGHT_BY", (), "set by training: what that run was, and knew", structural=True),
    *common_keys(prec="fp16"),
)  # fmt: skip


@register_method("PromptKD", node="PROMPTKD", keys=KEYS, published="2024-03", title="unlabelled distillation",
                 export=None)  # fmt: skip
class PromptKD(PromptMethod):
    """Learns `visual_prompts`, as VPT, and `project`, to a teacher's features; keeps `vectors` (T, D'), its texts'."""

    vectors: Tensor
    taught_rows: Tensor

    @classmethod
    def wants_all_images(cls, cfg: CfgNode) -> bool:
        return cfg.DATASET.get("SUBSAMPLE_CLASSES") == "base" and cls.entry.settings(cfg).UNLABELLED == "all"

    @property
    def taught_names(self) -> list[str]:
        if self.settings.TEACHER_SIZE and self.teaching_run is None:
            return list(self.settings.TAUGHT)
        return taught_classes(self, "all" if self.settings.UNLABELLED == "all" else "train")[0]

    def setup(self) -> None:
        settings, (tower, width), teacher = self.settings, image_tower(self), self.teaching_run
        check_depth(self, "PROMPT_DEPTH_VISION", tower)
        self.visual_prompts = deep_rows(settings.PROMPT_DEPTH_VISION, settings.N_CTX_VISION, width)
        vectors, self.taught_by = torch.zeros(len(self.taught_names), settings.TEACHER_SIZE), list(settings.TAUGHT_BY)
        if teacher is not None:
            vectors, self.taught_by = class_vectors(teacher), [described(teacher), *teacher.knowledge]
            self.steps_alike = teacher.steps_alike
        if vectors.shape[1]:
            self.register_buffer("vectors", vectors)
        self.register_buffer("taught_rows", rows_among(self.taught_names, self.classnames), persistent=False)
        own, size = self.clip_model.embed_dim, vectors.shape[1] or self.clip_model.embed_dim
        self.project = nn.Sequential(nn.Linear(own, size), nn.BatchNorm1d(size), nn.ReLU(), nn.Linear(size, size))

    def image_parts(self) -> TowerParts:
        return beside_patches(self.visual_prompts)

    def transform_image(self, features: Tensor) -> Tensor:
        return self.project(at_least_fp32(features))

    def taught_features(self) -> Tensor:
        """Of the classes that are taught (T, D'), normalised: the teacher's, or this CLIP's of the template."""
        if hasattr(self, "vectors"):
            return self.vectors
        given = self.text_encoder, [single_template(self.cfg.DATASET.NAME)], self.taught_names
        return at_least_fp32(self.frozen("taught", lambda: template_features(*given)))

    def encode_classes(self) -> Tensor:
        if not self.serves(self.taught_names, self.classnames):
            name = self.classnames[int(self.taught_rows.argmin())]
            raise ConfigError(f"PromptKD has {self.bound_to_classes()}, got the class name {quoted(name)}")
        return self.taught_features()[self.taught_rows]

    @torch.no_grad()
    def teacher_logits(self, image: Tensor) -> Tensor:
        """(B, T) of images as they are in training."""
        if self.teaching_run is not None:
            return self.teaching_run.predict(image)["logits"]
        if hasattr(self, "vectors"):
            raise ConfigError("TRAINER.PROMPTKD.TEACHER_SIZE is set and no run teaches, expected 0 for training")
        return self.logit_scale * at_least_fp32(self.frozen_image_features(image)) @ self.taught_features().t()

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """No label is read: "acc" is how often the teacher and the student say the same."""
        if len(label) < 2:
            raise TrainingError("PromptKD normalises over a batch, got one of 1 image, expected 2 or more")
        wanted, scale = self.teacher_logits(image), self.settings.TEMPERATURE
        given = self.logit_scale * self.image_features(image) @ self.taught_features().t()
        both = F.log_softmax(given / scale, dim=1), F.softmax(wanted / scale, dim=1)
        distance = F.kl_div(*both, reduction="sum") * scale**2 / given.numel()
        return {"loss": self.settings.KD_WEIGHT * distance, "acc": batch_accuracy(given, wanted.argmax(-1))}

    @property
    def knowledge(self) -> list[str]:
        teacher = self.taught_by or ["teacher: zero-shot CLIP", "template of the dataset"]
        return [*teacher, *(["unlabelled images of all classes"] if self.settings.UNLABELLED == "all" else [])]

    def structure(self) -> dict:
        size, names = (self.vectors.shape[1], self.taught_names) if hasattr(self, "vectors") else (0, [])
        own = {"TEACHER_SIZE": size, "TAUGHT": names, "TAUGHT_BY": self.taught_by if size else []}
        return super().structure() | own

    def bound_to_classes(self) -> str | None:
        return "its teacher's features of the classes it was trained with" if hasattr(self, "vectors") else None

    def serves(self, trained: Sequence[str], wanted: Sequence[str]) -> bool:
        return super().serves(self.taught_names, wanted)


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
