"""Tip-Adapter (arXiv 2207.09519): beside zero-shot CLIP, a cache of the training images' features votes for labels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.methods.keys import Key, common_keys
from mocoop.methods.on_features import FeatureMethod, FewShotFeatures, at_least_fp32, tip_templates
from mocoop.registry import register_method

KEYS = (
    Key(
        "VIEWS",
        10,
        "augmented views of a training image; their mean feature is its key (released: 10)",
        at_least=1,
        at_most=10_000,
    ),
    Key("INIT_BETA", 1.0, "sharpness, in training and where nothing is chosen (released: 1)", at_least=0.0),
    Key("INIT_ALPHA", 1.17, "weight of the cache, in training and where nothing is chosen", at_least=0.0),
    Key("SEARCH", True, "choose both on the validation images, if there are some that are no test images"),
    Key("SEARCH_BETA", 7.0, "end of the values of beta that are tried, 200 from 0.1", at_least=0.1),
    Key("SEARCH_ALPHA", 3.0, "end of the values of alpha that are tried, 20 from 0.1", at_least=0.1),
    *common_keys(prec="fp16"),
)
STEPS_BETA, STEPS_ALPHA = 200, 20


@register_method("TipAdapter", node="TIP_ADAPTER", keys=KEYS, published="2022-07", title="a cache of image features",
                 trained_classes=True, export="features")  # fmt: skip
class TipAdapter(FeatureMethod):
    """Keeps `keys` (N, D), the N training images' features, and `labels` (N,), and chooses `alpha` and `beta`.

    A class that was not trained has no key: zero-shot CLIP alone speaks for it.
    """

    takes_steps = False
    keys: Tensor
    labels: Tensor
    alpha: Tensor
    beta: Tensor
    templates_of = staticmethod(tip_templates)

    def setup(self) -> None:
        super().setup()
        count = len(self.trained_classnames) * max(
            self.cfg.DATASET.get("NUM_SHOTS", 1), 1
        )  # until the images are known
        self._keep(torch.zeros(count, self.feature_size))
        self.register_buffer("labels", torch.zeros(count, dtype=torch.long))
        self.register_buffer("alpha", torch.tensor(float(self.settings.INIT_ALPHA)))
        self.register_buffer("beta", torch.tensor(float(self.settings.INIT_BETA)))

    def _keep(self, keys: Tensor) -> None:
        self.register_buffer("keys", keys)

    def fit(self, features: FewShotFeatures) -> None:
        views, labels = features.training(self.settings.VIEWS)
        self.keys.data = F.normalize(views.to(self.keys.dtype).mean(0), dim=-1)
        self.labels.data = labels

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Of as many training images as there were."""
        for tensor in (self.keys, self.labels):
            tensor.data = tensor.new_zeros(len(state.get("keys", ())), *tensor.shape[1:])
        super().load_learned_state(state)

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        features = at_least_fp32(image_features)
        logits = super().predict_features(features)["logits"]
        return {"logits": logits + self.alpha * self.votes(features, self.beta)}

    def votes(self, features: Tensor, beta: Tensor | float) -> Tensor:
        """What the cache says of normalised features (B, D): a weight for each class (B, C)."""
        affinity = features @ self.keys.t()  # (B, N)
        return (beta * affinity - beta).exp() @ self.values()

    def values(self) -> Tensor:
        """(N, C): 1 for the class of each key; nothing for a class that was not trained."""
        return (self.labels[:, None] == self.rows).to(self.keys.dtype)  # a row of -1 is nobody's label

    def scoring_tensors(self) -> dict[str, Tensor]:
        own = {"keys": self.keys, "values": self.values(), "alpha": self.alpha, "beta": self.beta}
        return super().scoring_tensors() | own

    @torch.no_grad()
    def select(self, features: FewShotFeatures) -> None:
        """The values of the grid that are right most often on the validation images; of equals the first."""
        found = features.validation() if self.settings.SEARCH else None
        if found is None:
            return
        image, label = F.normalize(at_least_fp32(found[0]), dim=-1), found[1]
        clip = super().predict_features(image)["logits"]
        alphas, best = image.new_tensor(grid(self.settings.SEARCH_ALPHA, STEPS_ALPHA)), 0
        for beta in grid(self.settings.SEARCH_BETA, STEPS_BETA):
            logits = clip + alphas[:, None, None] * self.votes(image, beta)  # (A, M, C)
            right = (logits.argmax(-1) == label).sum(-1)
            if right.max() > best:
                best = int(right.max())
                self.alpha.fill_(alphas[right.argmax()])
                self.beta.fill_(beta)


def grid(end: float, count: int) -> list[float]:
    """So many values from 0.1, evenly; `end` would be the next."""
    return [0.1 + i * (end - 0.1) / count for i in range(count)]


@register_method("TipAdapterF", node="TIP_ADAPTER_F", keys=KEYS, published="2022-07",
                 title="Tip-Adapter with keys that learn", trained_classes=True, export="features")  # fmt: skip
class TipAdapterF(TipAdapter):
    """Learns `keys` (N, D) by cross-entropy."""

    takes_steps = True

    def _keep(self, keys: Tensor) -> None:
        self.keys = nn.Parameter(keys)
