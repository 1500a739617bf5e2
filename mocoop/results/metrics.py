"""What is measured from the logits of a test set. Every figure is in percent.

`rank` keeps of each batch only what the metrics need, so that a test set is never held as an (N, C) array:

    ranking = concatenate([rank(logits) for logits in batches])
    compute_metrics(ranking, labels)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from mocoop.errors import MocoopError

TOP_K = 5
ECE_BINS = 15


@dataclass(frozen=True)
class Ranking:
    """The best classes of each image.

    classes: (N, min(5, C)) int, best first; of equal logits the lower label comes first, as in torch's `max`.
    confidence: (N,) softmax probability of the first class, in [0, 1].
    """

    classes: np.ndarray
    confidence: np.ndarray

    @property
    def predictions(self) -> np.ndarray:
        """(N,) the predicted labels."""
        return self.classes[:, 0]


def rank(logits: ArrayLike) -> Ranking:
    """Ranks one batch of logits (B, C): a CPU tensor or an array, already multiplied by the logit scale.

    Raises MocoopError if a logit is NaN or infinite.
    """
    scores = np.asarray(logits, dtype=np.float64)
    unusable = int((~np.isfinite(scores)).any(axis=1).sum())
    if unusable:
        raise MocoopError(
            f"got NaN or infinite logits for {unusable} of {len(scores)} images, expected finite ones: "
            "the training diverged; lower OPTIM.LR or use a higher precision"
        )
    classes = np.argsort(-scores, axis=1, kind="stable")[:, :TOP_K]
    best = scores.max(axis=1, keepdims=True)
    return Ranking(classes, 1.0 / np.exp(scores - best).sum(axis=1))


def concatenate(rankings: list[Ranking]) -> Ranking:
    """One ranking of the images of many batches, in order."""
    return Ranking(
        np.concatenate([ranking.classes for ranking in rankings]),
        np.concatenate([ranking.confidence for ranking in rankings]),
    )


def compute_metrics(predicted: Ranking | ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """All metrics of a test set.

    predicted: a Ranking, or logits (N, C). labels: (N,) int.
    Returns accuracy (top-1), error_rate, macro_f1 (over the classes present in `labels`, as Dassl), top5,
    per_class_mean (mean over the classes present of their accuracies) and ece.
    Raises MocoopError if there is no image, or not one label per image.
    """
    ranking, labels = _checked(predicted, labels)
    correct = ranking.predictions == labels
    accuracy = 100.0 * correct.mean()
    totals, hits = _counts(labels, correct)
    return {
        "accuracy": float(accuracy),
        "error_rate": float(100.0 - accuracy),
        "macro_f1": 100.0 * macro_f1(labels, ranking.predictions),
        "top5": float(100.0 * (ranking.classes == labels[:, None]).any(axis=1).mean()),
        "per_class_mean": float(100.0 * (hits[totals > 0] / totals[totals > 0]).mean()),
        "ece": 100.0 * calibration_error(ranking.confidence, correct),
    }


def macro_f1(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The mean of 2 TP / (2 TP + FP + FN) over the classes present in `labels`, in [0, 1], as Dassl computes it.

    Args:
        labels, predictions: (N,) class numbers.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    size = max(labels.max(), predictions.max()) + 1
    hits = np.bincount(labels[labels == predictions], minlength=size)
    truths, guesses = np.bincount(labels, minlength=size), np.bincount(predictions, minlength=size)
    present = truths > 0
    return float((2 * hits[present] / (truths + guesses)[present]).mean())


def compute_sides(predicted: Ranking | ArrayLike, labels: ArrayLike, base: int) -> dict[str, float]:
    """Top-1 accuracy on the images of base classes (labels below `base`) and on those of new ones, among all names.

    Arguments as in `compute_metrics`. Raises MocoopError if a side has no image.
    """
    ranking, labels = _checked(predicted, labels)
    correct, is_base = ranking.predictions == labels, labels < base
    if is_base.all() or not is_base.any():
        raise MocoopError(f"got test images of {'base' if is_base.all() else 'new'} classes alone, expected both")
    means = {"base": correct[is_base].mean(), "new": correct[~is_base].mean()}
    return {f"{side}_accuracy": float(100.0 * mean) for side, mean in means.items()}


def per_class(predicted: Ranking | ArrayLike, labels: ArrayLike, classnames: list[str]) -> list[dict]:
    """One row per class, in label order: label, classname, total, correct, accuracy (None where total is 0)."""
    ranking, labels = _checked(predicted, labels)
    totals, hits = _counts(labels, ranking.predictions == labels, len(classnames))
    if len(totals) != len(classnames):
        raise MocoopError(f"got label {len(totals) - 1}, expected labels below {len(classnames)} (one per class name)")
    return [
        {
            "label": label,
            "classname": classname,
            "total": int(total),
            "correct": int(hit),
            "accuracy": 100.0 * int(hit) / int(total) if total else None,
        }
        for label, (classname, total, hit) in enumerate(zip(classnames, totals, hits))
    ]


def calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = ECE_BINS) -> float:
    """Expected calibration error in [0, 1] (Guo et al. 2017, equation 3).

    Confidences (N,) fall into `bins` intervals of equal width, (i / bins, (i + 1) / bins]; the error is the mean over
    the images of |accuracy - mean confidence| of their interval.
    """
    interval = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = np.bincount(interval, weights=correct.astype(np.float64) - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def _checked(predicted: Ranking | ArrayLike, labels: ArrayLike) -> tuple[Ranking, np.ndarray]:
    ranking = predicted if isinstance(predicted, Ranking) else rank(predicted)
    labels = np.asarray(labels)
    if len(labels) == 0:
        raise MocoopError("got no test image, expected at least one")
    if labels.shape != ranking.confidence.shape:
        raise MocoopError(f"got labels of shape {labels.shape}, expected one for each of {len(ranking.classes)} images")
    return ranking, labels


def _counts(labels: np.ndarray, correct: np.ndarray, classes: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images and correct predictions of each class, (C,) each."""
    totals = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[correct], minlength=len(totals))
    return totals, hits
