"""GDA (ICLR 2024, a hard-to-beat baseline): Gaussian discriminant analysis of image features, beside zero-shot CLIP."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mocoop.methods.keys import Key, common_keys
from mocoop.methods.on_features import FeatureMethod, FewShotFeatures, at_least_fp32, tip_templates
from mocoop.registry import register_method

PSEUDO, SHRUNK = "pseudo-inverse", "shrunk"
KEYS = (
    Key("VIEWS", 10, "augmented views of a training image (released: 10)", at_least=2, at_most=10_000),
    Key("COVARIANCE", PSEUDO, "how the trained classes' is inverted: pseudo-inverse (released for base-to-new) or "
        "shrunk (released for few-shot learning)", (PSEUDO, SHRUNK), structural=True),
    Key("INIT_ALPHA", 0.1, "weight of the classifier where none is chosen (released: 0.1)", at_least=0.0),
    Key("SEARCH", True, "choose it on the validation images, if there are some that are no test images"),
    Key("NEIGHBOURS", 64, "features nearest to a new class's text that stand for it (released: 64)", at_least=2,
        structural=True),
    Key("TEXT_COPIES", 16, "how often that text counts beside them (released: 16)", at_least=0, structural=True),
    *common_keys(prec="fp16"),
)  # fmt: skip
ALPHAS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


@register_method("GDA", node="GDA", keys=KEYS, published="2024-02", title="Gaussian discriminant analysis of features",
                 trained_classes=True, export="features")  # fmt: skip
class GDA(FeatureMethod):
    """Keeps `vectors` (M, D), the features of all views of the training images, and `labels` (M,); chooses `alpha`."""

    vectors: Tensor
    labels: Tensor
    alpha: Tensor
    takes_steps = False
    templates_of = staticmethod(tip_templates)

    def setup(self) -> None:
        super().setup()
        each = max(self.cfg.DATASET.get("NUM_SHOTS", 1), 1) * self.settings.VIEWS  # until the images are known
        labels = torch.arange(len(self.trained_classnames)).repeat_interleave(each)
        self.register_buffer("vectors", torch.zeros(len(labels), self.feature_size))
        self.register_buffer("labels", labels)
        self.register_buffer("alpha", torch.tensor(float(self.settings.INIT_ALPHA)))
        self._classifier: tuple[tuple, tuple[Tensor, Tensor]] | None = None

    def fit(self, features: FewShotFeatures) -> None:
        views, labels = features.training(self.settings.VIEWS)
        self.vectors.data = F.normalize(views.to(self.vectors.dtype), dim=-1).flatten(0, 1)
        self.labels.data = labels.repeat(len(views))

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Of as many training images as there were."""
        for tensor in (self.vectors, self.labels):
            tensor.data = tensor.new_zeros(len(state.get("vectors", ())), *tensor.shape[1:])
        super().load_learned_state(state)

    def classifier(self) -> tuple[Tensor, Tensor]:
        """Weights (C, D) and biases (C,) of the classes at hand, computed in fp64 once per state."""
        state = self._state_key()
        if self._classifier is None or self._classifier[0] != state:
            weight, bias = self._estimated(self.vectors.double(), self.class_features().double())
            self._classifier = (state, (weight.to(self.vectors.dtype), bias.to(self.vectors.dtype)))
        return self._classifier[1]

    @torch.no_grad()
    def _estimated(self, vectors: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        weight, quadratic = torch.zeros_like(text), text.new_zeros(len(text))
        for new, estimate in ((False, self._of_trained), (True, self._of_new)):
            rows = (self.rows < 0) == new
            if rows.any():
                means, precision = estimate(vectors, text[rows])
                weight[rows] = means @ precision
                quadratic[rows] = (means @ precision * means).sum(-1)
        return weight, -math.log(len(text)) - quadratic / 2

    def _of_trained(self, vectors: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Means of the classes, and the inverse of the covariance that they share."""
        each = [vectors[self.labels == c] for c in range(len(self.trained_classnames))]
        means = torch.stack([own.mean(0) for own in each])
        if self.settings.COVARIANCE == SHRUNK:
            centred = torch.cat([own - mean for own, mean in zip(each, means)])
            precision = shrunk_inverse(centred.t().cov(), len(centred))
        else:  # below what fp32 resolves, as released, a direction has no variance
            limit = torch.finfo(torch.float32).eps * vectors.shape[1]
            precision = torch.linalg.pinv(sum(own.t().cov() for own in each) / len(each), rtol=limit, hermitian=True)
        return means[self.rows[self.rows >= 0]], precision

    def _of_new(self, vectors: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """As if the training features next to each class's text (N, D), and the text itself, were its images."""
        near = vectors[(text @ vectors.t()).topk(min(self.settings.NEIGHBOURS, len(vectors))).indices]  # (N, k, D)
        copies, count = self.settings.TEXT_COPIES, near.shape[1]
        means = (near.sum(1) + copies * text) / (count + copies)
        spread = near - text[:, None]
        each = [shrunk_inverse(own.t() @ own / (count - 1), count) for own in spread]
        return means, torch.stack(each).mean(0)

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        features, (weight, bias) = at_least_fp32(image_features), self.classifier()
        own = features @ weight.t() + bias
        return {"logits": super().predict_features(features)["logits"] + self.alpha * own}

    def scoring_tensors(self) -> dict[str, Tensor]:
        weight, bias = self.classifier()
        scale = self.logit_scale.to(bias.dtype).expand(len(bias))
        return super().scoring_tensors() | {"weight": self.alpha * weight, "bias": self.alpha * bias, "alpha": scale}

    @torch.no_grad()
    def select(self, features: FewShotFeatures) -> None:
        """The weight that is right most often on the validation images; of equals the first."""
        found = features.validation() if self.settings.SEARCH else None
        if found is not None:
            image, (weight, bias) = F.normalize(at_least_fp32(found[0]), dim=-1), self.classifier()
            clip, alphas = super().predict_features(image)["logits"], image.new_tensor(ALPHAS)
            logits = clip + alphas[:, None, None] * (image @ weight.t() + bias)  # (A, M, C)
            self.alpha.fill_(alphas[(logits.argmax(-1) == found[1]).sum(-1).argmax()])


def shrunk_inverse(covariance: Tensor, count: int) -> Tensor:
    """The inverse of a covariance (D, D) of `count` features, shrunk towards a multiple of one."""
    shrunk = (count - 1) * covariance + covariance.trace() * torch.eye(len(covariance)).to(covariance)
    return len(covariance) * torch.linalg.pinv(shrunk, hermitian=True)
