"""TransCLIP and StatA: the test images' features as one Gaussian a class, tied to the scores and to near images.

Both alternate between the images' assignments to classes and the classes' means and variances. An image's assignment is

    z_i = softmax(log y_i + (log-likelihood_i + 50 / (2 n) (W'z + Wz)_i) / 50)

where y are the probabilities that the run gives, and W holds each image's n nearest others with their cosines.
Everything is computed in fp64, from sums over images, so that no (N, C, D) or (N, N) tensor is ever made.

- TransCLIP: M. Zanella, B. Gerin, I. Ben Ayed, "Boosting Vision-Language Models with Transduction", arXiv 2406.01837.
- StatA: M. Zanella, C. Fuchs, C. De Vleeschouwer, I. Ben Ayed, "Realistic Test-Time Adaptation of Vision-Language
  Models", arXiv 2501.03729.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

INNER = 5  # updates of the assignments in a round
TEMPERATURE = 50.0  # that likelihoods and neighbours are divided by
CONFIDENT = 8  # images of a class that its first mean is taken from
ROWS = 2048  # images whose cosines to all others are held at a time
NARROWEST = 1e-6  # variance: that of a single image would be 0
TINY = 1e-300  # below any sum of assignments that counts


@dataclass(frozen=True)
class TransCLIP:
    """TransCLIP without labelled images.

    Attributes:
        rounds: of means, variances and assignments.
        neighbours: of each image, that vote for its class.
        anchor: "fixed", the run's probabilities y; "moving": the assignments of the update before, which is what the
            authors' code does where it is given the probabilities of another method.
    """

    rounds: int = 10
    neighbours: int = 3
    anchor: str = "fixed"

    def __call__(self, features: Tensor, logits: Tensor, prototypes: Tensor | None = None) -> Tensor:
        """Log-assignments (N, C) of images with normalised features (N, D) and the run's logits (N, C)."""
        x, anchor = features.double(), logits.double().log_softmax(-1)
        near = Neighbours.of(x, self.neighbours)
        z = anchor.exp()
        means = _confident_means(x, z)
        variances = torch.full_like(x[0], 1 / x.shape[1])
        for number in range(self.rounds + 1):
            log_z = assign(gaussian_exponent(x, means, variances), anchor, z, near, self.anchor == "moving")
            z, anchor = log_z.exp(), log_z if self.anchor == "moving" else anchor
            if number == self.rounds:
                break
            sums, counts = z.t() @ x, z.sum(0).clamp_min(TINY)[:, None]  # (C, D), (C, 1)
            means = F.normalize(sums / counts, dim=-1)
            spread = (x**2).sum(0) + (counts * means**2 - 2 * means * sums).sum(0)
            variances = (spread / len(x)).clamp_min(NARROWEST)
        return log_z


@dataclass(frozen=True)
class StatA:
    """StatA: as TransCLIP, with means and variances of each class held to those that its text says.

    Attributes:
        alpha: images that the text counts as.
        rounds, neighbours: as of TransCLIP.
        counts: "soft", the assignments' sums, as the paper has it; "hard": images whose best class it is, as in the
            authors' code.
    """

    alpha: float = 1.0
    rounds: int = 10
    neighbours: int = 3
    counts: str = "soft"

    def __call__(self, features: Tensor, logits: Tensor, prototypes: Tensor | None = None) -> Tensor:
        """Log-assignments (N, C); prototypes: normalised text features (C, D) of the classes."""
        if prototypes is None:
            raise ValueError("StatA holds the classes to their text: got no prototypes (C, D)")
        x, text, anchor = features.double(), prototypes.double(), logits.double().log_softmax(-1)
        near = Neighbours.of(x, self.neighbours)
        z, means = anchor.exp(), text
        start = _class_spread(x, z, text).sum(0) / len(x)  # (D,)
        variances = start.expand_as(text)
        for number in range(self.rounds + 1):
            likelihood = gaussian_exponent(x, means, variances) - variances.log().sum(-1) / 2
            log_z = assign(likelihood, anchor, z, near)
            z = log_z.exp()
            if number == self.rounds:
                break
            seen = (z.sum(0) if self.counts == "soft" else F.one_hot(z.argmax(-1), z.shape[1]).sum(0).double())[:, None]
            weight = seen / (self.alpha + seen).clamp_min(TINY)  # (C, 1)
            own = F.normalize(z.t() @ x / z.sum(0).clamp_min(TINY)[:, None], dim=-1)
            means = F.normalize(weight * own + (1 - weight) * text, dim=-1)
            spread = _class_spread(x, z, means) / z.sum(0).clamp_min(TINY)[:, None]
            variances = (weight * spread + (1 - weight) * (start + (text - means) ** 2)).clamp_min(NARROWEST)
        return log_z


@dataclass(frozen=True)
class Neighbours:
    """Of each of N images its n nearest others. places: (N, n) int. cosines: (N, n)."""

    places: Tensor
    cosines: Tensor

    @classmethod
    def of(cls, x: Tensor, count: int) -> "Neighbours":
        count, places, cosines = min(count, len(x) - 1), [], []
        for start in range(0, len(x), ROWS):
            cosine = x[start : start + ROWS] @ x.t()
            rows = torch.arange(len(cosine), device=x.device)
            cosine[rows, rows + start] = -torch.inf
            best = cosine.topk(count, dim=-1)
            places.append(best.indices)
            cosines.append(best.values)
        return cls(torch.cat(places), torch.cat(cosines))

    def votes(self, z: Tensor) -> Tensor:
        """W'z + Wz (N, C): what those near an image, and those that it is near to, are assigned to."""
        found = torch.zeros_like(z)
        for place, cosine in zip(self.places.t(), self.cosines.t()):
            found += cosine[:, None] * z[place]
            found.index_add_(0, place, cosine[:, None] * z)
        return found


def assign(likelihood: Tensor, anchor: Tensor, z: Tensor, near: Neighbours, moving: bool = False) -> Tensor:
    """Log-assignments (N, C) after INNER updates, each of all images at once.

    likelihood, anchor, z: (N, C); anchor: log-probabilities. moving: each update's are the next one's anchor.
    """
    pull = TEMPERATURE / (2 * max(near.places.shape[1], 1))
    for _ in range(INNER):
        log_z = (anchor + (likelihood + pull * near.votes(z)) / TEMPERATURE).log_softmax(-1)
        z = log_z.exp()
        anchor = log_z if moving else anchor
    return log_z


def gaussian_exponent(x: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """-(x - mean)^2 / (2 variance) (N, C), summed over D, of x (N, D), means (C, D), variances (D,) or (C, D)."""
    weight = 1 / variances.expand_as(means)
    return -((x**2) @ weight.t() - 2 * x @ (means * weight).t() + (means**2 * weight).sum(-1)) / 2


def _class_spread(x: Tensor, z: Tensor, means: Tensor) -> Tensor:
    """sum_i z_ic (x_i - mean_c)^2, (C, D)."""
    return z.t() @ x**2 - 2 * means * (z.t() @ x) + z.sum(0)[:, None] * means**2


def _confident_means(x: Tensor, z: Tensor) -> Tensor:
    """(C, D) of the images that the run is surest of, weighted by their probabilities."""
    best = z.topk(min(CONFIDENT, len(x)), dim=0)  # (n, C)
    return F.normalize(torch.einsum("nc,ncd->cd", best.values, x[best.indices]), dim=-1)
