"""How far confidences can be trusted, and what base classes cost new ones: both from the scores of a test, exactly.

- The area under the base/new trade-off (Chao et al., "An Empirical Study and Analysis of Generalized Zero-Shot Learning
  for Object Recognition in the Wild", arXiv 1605.04253): a test on base and new images among all names has one accuracy
  of each, and other ones if a number is added to the scores of all new classes. The curve of the two, as that number
  goes from minus to plus infinity, is a staircase that changes at the images' own margins alone.
- Temperature scaling (Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599): logits divided by one
  number, the one under which labelled images that are not of the test are most likely. It changes no answer.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from mocoop.errors import DataError, MocoopError
from mocoop.files import read_json, write_file

FILE_NAME = "calibration.json"  # in a run's folder
SHARPEST = 100.0  # times that logits are multiplied at most: images that are all right ask for an infinity


@dataclass(frozen=True)
class Margins:
    """Of N images of a test on base and new classes.

    Attributes:
        margin: (N,) the best score of a base class less the best of a new one.
        right: (N,) whether the label is the best among the classes of its own side.
        base: (N,) whether it is a base class.
    """

    margin: np.ndarray
    right: np.ndarray
    base: np.ndarray

    @classmethod
    def of(cls, logits: ArrayLike, labels: ArrayLike, base: int) -> "Margins":
        """logits: (N, C) of all classes, the first `base` of them base ones. labels: (N,)."""
        scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
        sides = scores[:, :base], scores[:, base:]
        of_base = truth < base
        best = np.where(of_base, sides[0].argmax(1), base + sides[1].argmax(1))
        return cls(sides[0].max(1) - sides[1].max(1), best == truth, of_base)

    def accuracies(self, shift: float) -> tuple[float, float]:
        """Base and new accuracy in percent with `shift` added to the new classes' scores; of equal ones base wins."""
        as_base = self.margin >= shift
        base, new = self.right[self.base] & as_base[self.base], self.right[~self.base] & ~as_base[~self.base]
        return 100.0 * float(base.mean()), 100.0 * float(new.mean())

    def area(self) -> float:
        """The area under base accuracy over new accuracy, in percent of the whole square.

        That is the share of pairs, a base image and a new one, that some shift has both right. Equal margins count
        half, as on a straight line from one step to the next.
        """
        if self.base.all() or not self.base.any():
            raise MocoopError(f"got test images of {'base' if self.base.all() else 'new'} classes alone, expected both")
        base = np.sort(self.margin[self.base & self.right])
        new = self.margin[~self.base & self.right]
        below, up_to = np.searchsorted(base, new, "left"), np.searchsorted(base, new, "right")
        pairs = (len(base) - up_to).sum() + (up_to - below).sum() / 2
        return 100.0 * float(pairs) / (int(self.base.sum()) * int((~self.base).sum()))


def join_margins(parts: list[Margins]) -> Margins:
    """Those of many batches, in order."""
    return Margins(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("margin", "right", "base")))


def likelihood_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood of labels (N,) under logits (N, C)."""
    from scipy.special import logsumexp

    return float((logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]).mean())


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature under which labels (N,) are most likely, 1 / SHARPEST at least and SHARPEST at most.

    In the inverse temperature b the loss is convex, with the derivative mean(sum_c p_c(b) logit_c - logit_label).
    """
    from scipy.optimize import brentq
    from scipy.special import softmax

    scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    own = scores[np.arange(len(truth)), truth]

    def slope(log_b: float) -> float:
        return float(((softmax(np.exp(log_b) * scores, axis=1) * scores).sum(1) - own).mean())

    lowest, highest = -np.log(SHARPEST), np.log(SHARPEST)
    if slope(lowest) >= 0:
        return SHARPEST
    if slope(highest) <= 0:
        return 1 / SHARPEST
    return float(np.exp(-brentq(slope, lowest, highest, xtol=1e-10)))


@dataclass(frozen=True)
class Calibration:
    """Of one test of one model.

    Attributes:
        temperature: that logits are divided by.
        images: how many it was fitted on; manifest_sha256: which.
        loss, loss_scaled: mean negative log-likelihood of those, before and after.
        ece, ece_scaled: expected calibration error of the test in percent, before and after.
        weights_sha256: of the model.
    """

    temperature: float
    images: int
    manifest_sha256: str | None
    loss: float
    loss_scaled: float
    ece: float
    ece_scaled: float
    weights_sha256: str


def write_calibration(folder: Path, found: Calibration) -> None:
    """Keep it beside the record of the run in `folder`."""
    path = folder / FILE_NAME
    write_file(path, json.dumps(asdict(found), indent=1) + "\n")


def read_calibration(folder: str | Path, weights_sha256: str | None) -> Calibration | None:
    """That of the run in a folder, if it is of the weights that it tested. Raises DataError for a damaged file."""
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return None
    try:
        found = Calibration(**read_json(path, "calibration of a run", "remove it and run mocoop calibrate again"))
    except TypeError as error:
        raise DataError(f"{path}: damaged ({error}); remove it and run mocoop calibrate again") from None
    return found if found.weights_sha256 == weights_sha256 else None
