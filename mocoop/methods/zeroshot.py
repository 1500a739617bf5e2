"""Zero-shot CLIP (arXiv 2103.00020): hand-written templates, nothing learned."""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.features import hard_features
from mocoop.clip.templates import ensemble_templates, single_template
from mocoop.clip.text_encoder import TextEncoder
from mocoop.methods.base import PromptMethod
from mocoop.registry import register_method


def template_features(text_encoder: TextEncoder, templates: Sequence[str], classnames: Sequence[str]) -> Tensor:
    """Class features (C, D): the normalised mean over templates of their normalised features."""
    return F.normalize(hard_features(text_encoder, templates, classnames).mean(0), dim=-1)


@register_method(
    "ZeroshotCLIP",
    published="2021-02",
    title="one template, the one CoOp's authors wrote for the dataset",
    learns=False,
)
class ZeroshotCLIP(PromptMethod):
    """Class features from `templates`; with several, the normalised mean of their normalised features."""

    templates_of: Callable[[str], list[str]] = staticmethod(lambda dataset: [single_template(dataset)])

    def setup(self) -> None:
        self.templates = self.templates_of(self.cfg.DATASET.NAME)

    def encode_classes(self) -> Tensor:
        return template_features(self.text_encoder, self.templates, self.classnames)

    @property
    def knowledge(self) -> list[str]:
        return ["templates of the dataset"]

    def structure(self) -> dict:
        return {"TEMPLATES": self.templates}


@register_method(
    "ZeroshotCLIP2", published="2021-03", title="CLIP's selected templates and the dataset's (CoOp)", learns=False
)
class ZeroshotCLIP2(ZeroshotCLIP):
    """The mean over CLIP's selected templates and the dataset's own (CoOp, ZeroshotCLIP2)."""

    templates_of = staticmethod(ensemble_templates)
