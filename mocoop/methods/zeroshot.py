"""Zero-shot CLIP (arXiv 2103.00020): hand-written templates, nothing learned."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F
from yacs.config import CfgNode

from mocoop.clip.hard_prompts import hard_features
from mocoop.clip.openai import CLIP
from mocoop.clip.templates import ensemble_templates, single_template
from mocoop.methods.base import PromptMethod


class ZeroshotCLIP(PromptMethod):
    """Class features from templates; with several, the normalised mean of their normalised features.

    Args:
        templates: sentences with one `{}`.
    """

    def __init__(self, classnames: Sequence[str], clip_model: CLIP, templates: Sequence[str]):
        super().__init__(classnames, clip_model)
        self.templates = list(templates)

    def encode_classes(self) -> Tensor:
        return F.normalize(hard_features(self.text_encoder, self.templates, self.classnames).mean(0), dim=-1)

    def structure(self) -> dict:
        return {"TEMPLATES": self.templates}


def build_zeroshot(cfg: CfgNode, classnames, clip_model, all_classnames=None) -> ZeroshotCLIP:
    """One template, the one CoOp's authors wrote for the dataset."""
    return ZeroshotCLIP(classnames, clip_model, [single_template(cfg.DATASET.NAME)])


def build_zeroshot_ensemble(cfg: CfgNode, classnames, clip_model, all_classnames=None) -> ZeroshotCLIP:
    """The mean over CLIP's selected templates and the dataset's own (CoOp, ZeroshotCLIP2)."""
    return ZeroshotCLIP(classnames, clip_model, ensemble_templates(cfg.DATASET.NAME))
