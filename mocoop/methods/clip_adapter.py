"""CLIP-Adapter (arXiv 2110.04544): a small network on the image feature, of which a fixed share is added to it."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.methods.keys import Key, common_keys
from mocoop.methods.on_features import FeatureMethod, at_least_fp32
from mocoop.registry import register_method

KEYS = (
    Key("RATIO", 0.2, "share of the adapter's output in the image feature (released: 0.2)", at_least=0.0, at_most=1.0,
        structural=True),
    Key("REDUCTION", 4, "size of the features over that of the hidden layer", at_least=1, structural=True),
    *common_keys(prec="fp32"),
)  # fmt: skip


@register_method("CLIPAdapter", node="CLIP_ADAPTER", keys=KEYS, published="2021-10", title="an adapter on features",
                 export="features")  # fmt: skip
class CLIPAdapter(FeatureMethod):
    """Learns `adapter`: weights (D / REDUCTION, D) and (D, D / REDUCTION)."""

    def setup(self) -> None:
        super().setup()
        size = self.feature_size
        hidden = max(size // self.settings.REDUCTION, 1)
        layers = [nn.Linear(size, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, size, bias=False), nn.ReLU()]
        self.adapter = nn.Sequential(*layers)

    def scoring_tensors(self) -> dict[str, Tensor]:
        down, up = self.adapter.parameters()
        own = {"adapter_down": down, "adapter_up": up}
        return super().scoring_tensors() | own | {"ratio": torch.tensor(self.settings.RATIO)}

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        """Whether the features come normalised does not matter: a network without biases scales with its input."""
        features, ratio = at_least_fp32(image_features), self.settings.RATIO
        adapted = ratio * self.adapter(features) + (1 - ratio) * features
        return super().predict_features(F.normalize(adapted, dim=-1))
