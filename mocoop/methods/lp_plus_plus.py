"""LP++ (arXiv 2404.02285): a linear probe blended with zero-shot CLIP, with steps whose sizes follow from the data."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.methods.keys import Key, common_keys
from mocoop.methods.on_features import ClassifierMethod, FewShotFeatures, at_least_fp32, tip_templates
from mocoop.registry import register_method

KEYS = (
    Key("ITERATIONS", 300, "steps on all training images at once (released: 300)", at_least=1, at_most=1_000_000),
    Key("ALPHA_EVERY", 10, "steps of the classifier for each of alpha (released: 10)", at_least=1, at_most=1_000_000),
    Key("SEARCH", True, "keep the iteration that is best on the validation images; without, or without any: the last"),
    *common_keys(prec="fp16"),
)
MOMENTUM, ALPHA = 0.9, 250.0


@register_method(
    "LPPlusPlus", node="LP_PLUS_PLUS", keys=KEYS, published="2024-04", title="linear probe blended with zero-shot CLIP",
    new_classes=False, trained_classes=True, export="features",
)  # fmt: skip
class LPPlusPlus(ClassifierMethod):
    """Fits `weight` (T, D), `bias` (T,) and `alpha` (T,): logits f . w_c + b_c + alpha_c f . t_c."""

    takes_steps = False
    weight: Tensor
    bias: Tensor
    alpha: Tensor
    templates_of = staticmethod(tip_templates)

    def setup(self) -> None:
        super().setup()
        self.register_buffer("weight", torch.zeros(len(self.trained_classnames), self.feature_size))
        self.register_buffer("bias", torch.zeros(len(self.trained_classnames)))
        self.register_buffer("alpha", torch.zeros(len(self.trained_classnames)))

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        rows, features = self.classifier_rows(), at_least_fp32(image_features)
        similarity = features @ self.class_features().t()  # (B, C)
        own = features @ self.weight[rows].t() + self.bias[rows]
        return {"logits": own + self.alpha[rows] * similarity}

    def scoring_tensors(self) -> dict[str, Tensor]:
        own = {name: getattr(self, name)[self.classifier_rows()] for name in ("weight", "bias", "alpha")}
        return super().scoring_tensors() | own

    def fit(self, features: FewShotFeatures) -> None:
        """As released: the gradient of alpha is never set to zero, so each of its steps is along the sum of all."""
        views, label = features.training(views=1)
        image, text = F.normalize(at_least_fp32(views[0]), dim=-1), self.encode_classes()
        similarity = image @ text.t()  # (M, C)
        probe, alpha = start(image, similarity, label)
        largest = torch.linalg.eigvalsh(image.t() @ image)[-1].item()  # eigenvalue of the features' second moments
        optimizer = torch.optim.SGD(probe.parameters(), 4 * len(image) / largest, momentum=MOMENTUM)
        alpha_rate = len(image) / (4 * similarity.square().sum(0).max())
        right, best = self._validation(features, text), -1.0
        for step in range(1, self.settings.ITERATIONS + 1):
            optimizer.zero_grad()
            F.cross_entropy(probe(image) + alpha * similarity, label).backward()
            optimizer.step()
            if step % self.settings.ALPHA_EVERY == 0:
                alpha.data -= alpha_rate * alpha.grad  # type: ignore[operator]  # backward has set it
            found = right(probe, alpha)
            if found >= best:
                best, kept = found, [value.detach().clone() for value in (probe.weight, probe.bias, alpha)]
        for own, value in zip((self.weight, self.bias, self.alpha), kept):
            own.copy_(value)

    def _validation(self, features: FewShotFeatures, text: Tensor) -> Callable[[nn.Linear, Tensor], float]:
        """How many validation images a classifier has right; 0 without any."""
        found = features.validation() if self.settings.SEARCH else None
        if found is None:
            return lambda probe, alpha: 0.0
        image, label = F.normalize(at_least_fp32(found[0]), dim=-1), found[1]
        similarity = image @ text.t()
        return torch.no_grad()(
            lambda probe, alpha: ((probe(image) + alpha * similarity).argmax(-1) == label).sum().item()
        )


def start(image: Tensor, similarity: Tensor, label: Tensor) -> tuple[nn.Linear, Tensor]:
    """The classifier and alpha (C,) of the first step: sums of each class's features, and one alpha for all.

    Args:
        image: (M, D) normalised features. similarity: (M, C) theirs to the hand-written prompts.
    """
    one_hot = F.one_hot(label, similarity.shape[1]).to(image.dtype)
    probe = nn.Linear(image.shape[1], similarity.shape[1]).to(image)
    probe.weight.data = one_hot.t() @ image
    own_class = (one_hot * similarity).sum(0) / one_hot.sum(0)
    return probe, torch.full_like(own_class, ALPHA * own_class.mean().item()).requires_grad_()
