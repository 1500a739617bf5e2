"""TaskRes, task residuals (arXiv 2211.10277): what is added to each class's text feature learns, and nothing else."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.features import hard_features
from mocoop.clip.templates import ensemble_templates, single_template
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.on_features import ClassifierMethod, at_least_fp32
from mocoop.registry import register_method

KEYS = (
    Key("RESIDUAL_SCALE", 0.5, "what a residual is multiplied by (released: 0.5, and 1 for OxfordFlowers)",
        at_least=0.0, structural=True),
    *common_keys(prec="fp16"),
)  # fmt: skip


def base_templates(dataset: str) -> list[str]:
    """CLIP's seven selected ones and "a photo of a {}." for ImageNet and its variants, else the dataset's own."""
    seven = ensemble_templates("ImageNet") if dataset.startswith("ImageNet") else []
    return [*seven, single_template(dataset)]


@register_method("TaskRes", node="TASKRES", keys=KEYS, published="2022-11", title="residuals of text features",
                 new_classes=False, trained_classes=True)  # fmt: skip
class TaskRes(ClassifierMethod):
    """Learns `text_feature_residuals` (T, D), in fp32."""

    templates_of = staticmethod(base_templates)

    def setup(self) -> None:
        super().setup()
        self.text_feature_residuals = nn.Parameter(torch.zeros(len(self.trained_classnames), self.feature_size))

    def base_features(self) -> Tensor:
        """Text features (C, D): means over templates, not normalised before or after."""
        given = self.text_encoder, self.templates, self.classnames
        return at_least_fp32(self.frozen("base", lambda: hard_features(*given, normalised=False).mean(0)))

    def encode_classes(self) -> Tensor:
        residuals = self.text_feature_residuals[self.classifier_rows()]
        return F.normalize(self.base_features() + self.settings.RESIDUAL_SCALE * residuals, dim=-1)

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        return super().predict_features(at_least_fp32(image_features))

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release keeps the text features, too."""
        return {name: value for name, value in state.items() if name != "base_text_features"}
