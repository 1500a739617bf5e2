"""Linear probe as CoOp's authors run it (arXiv 2109.01134): logistic regression on CLIP's image features."""

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mocoop.late_imports import drawing_nothing
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.on_features import ClassifierMethod, FewShotFeatures, at_least_fp32
from mocoop.registry import register_method

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

KEYS = (
    Key("C", 0.316, "inverse weight of the penalty where none is chosen (CLIP's authors: 0.316)", at_least=1e-9),
    Key("SEARCH_STEPS", 8, "steps of the search for C on the validation images (released: 8); 0: no search",
        at_least=0, at_most=1000),
    *common_keys(prec="fp16"),
)  # fmt: skip
FIRST_C = (1e6, 1e4, 1e2, 1.0, 1e-2, 1e-4, 1e-6)
MAX_ITERATIONS = 1000

logger = logging.getLogger(__name__)


@register_method(
    "LinearProbe", node="LINEAR_PROBE", keys=KEYS, published="2021-09", title="logistic regression on image features",
    new_classes=False, trained_classes=True, export="features",
)  # fmt: skip
class LinearProbe(ClassifierMethod):
    """Fits `weight` (T, D) and `bias` (T,) to features that are not normalised."""

    takes_steps = False
    unit_features = False
    weight: Tensor
    bias: Tensor

    def setup(self) -> None:
        super().setup()
        self.register_buffer("weight", torch.zeros(len(self.trained_classnames), self.feature_size))
        self.register_buffer("bias", torch.zeros(len(self.trained_classnames)))

    def fit(self, features: FewShotFeatures) -> None:
        if len(self.trained_classnames) < 2:  # there is nothing to tell apart
            return
        views, label = features.training()
        known = (_numpy(views[0]), label.cpu().numpy())
        found = features.validation() if self.settings.SEARCH_STEPS else None
        if found is None:
            model = fitted(self.settings.C, *known)
        else:
            model = searched(self.settings.SEARCH_STEPS, *known, _numpy(found[0]), found[1].cpu().numpy())
        logger.info("logistic regression with C = %g", model.C)
        weight, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
        if len(weight) < len(self.trained_classnames):  # of two classes, scikit-learn scores the second
            weight, bias = (torch.cat([-value, value]) / 2 for value in (weight, bias))
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        rows = self.classifier_rows()
        return {"logits": at_least_fp32(image_features) @ self.weight[rows].t() + self.bias[rows]}

    def scoring_tensors(self) -> dict[str, Tensor]:
        rows = self.classifier_rows()
        return {"weight": self.weight[rows], "bias": self.bias[rows]}

    @property
    def knowledge(self) -> list[str]:
        return ["validation images"] if self.settings.SEARCH_STEPS else []


def fitted(c: float, features: np.ndarray, label: np.ndarray) -> "LogisticRegression":
    """Logistic regression on features (N, D) of N labels, ended after a thousand iterations as released."""
    with drawing_nothing():
        from sklearn.exceptions import ConvergenceWarning  # slow to import, and needed here alone
        from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=c, max_iter=MAX_ITERATIONS).fit(features, label)


def searched(
    steps: int, features: np.ndarray, label: np.ndarray, val_features: np.ndarray, val_label: np.ndarray
) -> "LogisticRegression":
    """The model that the release's search ends with: the best decade of C, then halving between a tenth and ten of it.

    Each step fits both ends, takes the better one on the validation images, the left one of equals, and halves, on the
    logarithmic scale, the interval on its side.
    """
    scores = [fitted(c, features, label).score(val_features, val_label) for c in FIRST_C]
    peak = np.log10(FIRST_C[int(np.argmax(scores))])
    left, right = peak - 1, peak + 1
    for _ in range(steps):
        ends = [fitted(10.0**end, features, label) for end in (left, right)]
        scores, middle = [end.score(val_features, val_label) for end in ends], (left + right) / 2
        if scores[0] < scores[1]:
            model, left = ends[1], middle
        else:
            model, right = ends[0], middle
    return model


def _numpy(features: Tensor) -> np.ndarray:
    return features.double().cpu().numpy()
