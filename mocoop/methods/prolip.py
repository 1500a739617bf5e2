"""ProLIP (arXiv 2410.05270): the image tower's last projection learns, held near what it was."""

from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from mocoop.clip.templates import template_problem
from mocoop.errors import ConfigError
from mocoop.methods.base import batch_accuracy
from mocoop.methods.deep_prompts import image_tower
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.on_features import FeatureMethod, at_least_fp32, tip_templates
from mocoop.registry import register_method

KEYS = (
    Key("REG_WEIGHT", -1.0, "weight of the squared distance to CLIP's projection; -1: 1 / shots (released)",
        at_least=-1.0),
    Key("TEMPLATE", "", "one template for all datasets, such as 'a photo of a {}.'; empty: the dataset's (released)",
        structural=True),
    *common_keys(prec="fp16"),
)  # fmt: skip


def template_problems(cfg: CfgNode) -> list[str]:
    """What is wrong with TEMPLATE."""
    template = cfg.TRAINER.PROLIP.TEMPLATE
    problem = template and template_problem(template)
    return [f"TRAINER.PROLIP.TEMPLATE: {problem}"] if problem else []


@register_method("ProLIP", node="PROLIP", keys=KEYS, published="2024-10", title="the image tower's last projection",
                 problems=template_problems, export=None)  # fmt: skip
class ProLIP(FeatureMethod):
    """Learns `proj` (W, D), in fp32, which starts as the image tower's own.

    Raises ConfigError for an image tower that is no transformer, or has no projection.
    """

    extra_vectors, image_rows = 1, (0,)  # the class token, once more
    templates_of = staticmethod(tip_templates)

    def setup(self) -> None:
        super().setup()
        image_tower(self)
        if self.settings.TEMPLATE:
            self.templates = [self.settings.TEMPLATE]
        projection = self.clip_model.vision_transformer.proj
        if projection is None:
            raise ConfigError("ProLIP tunes the last projection of the image tower, got a tower without one")
        self.proj = nn.Parameter(at_least_fp32(projection.detach().clone()))

    def features_of_rows(self, states: Tensor) -> Tensor:
        return F.normalize(at_least_fp32(states) @ self.proj, dim=-1)

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        return super().predict_features(at_least_fp32(image_features[:, 1]))

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        weight = self.settings.REG_WEIGHT
        if weight < 0:
            weight = 1 / max(self.cfg.DATASET.get("NUM_SHOTS", 1), 1)
        logits = self(image)
        ce = F.cross_entropy(logits, label)
        distance = weight * (self.proj - cast(Tensor, self.clip_model.vision_transformer.proj)).square().sum()
        acc = batch_accuracy(logits, label)
        return {"loss": ce + distance, "loss_ce": ce, "loss_distance": distance, "acc": acc}

    @property
    def knowledge(self) -> list[str]:
        return [] if self.settings.TEMPLATE else super().knowledge
