"""TransCLIP and StatA against loops that follow their papers' formulas term by term, in fp64."""

import math

import pytest
import torch

from mocoop.transduce import clusters
from mocoop.transduce.clusters import Neighbours, StatA, TransCLIP
from tests.transduce.features import accuracy, made_up


def naive_affinity(x, count):
    affinity = torch.zeros(len(x), len(x), dtype=torch.float64)
    for i in range(len(x)):
        cosines = (x @ x[i]).tolist()
        others = sorted((j for j in range(len(x)) if j != i), key=cosines.__getitem__, reverse=True)
        for j in others[:count]:
            affinity[i, j] = cosines[j]
    return affinity


def naive_assignments(log_likelihood, y, z, affinity, count, moving=False):
    """Five updates of all z_i at once: y_i exp((l_i + 50 / (2 n) sum_j (w_ji + w_ij) z_j) / 50), normalised."""
    for _ in range(5):
        votes = affinity.t() @ z + affinity @ z
        z = y * ((log_likelihood + 50 / (2 * count) * votes) / 50).exp()
        z = z / z.sum(-1, keepdim=True)
        y = z if moving else y
    return z


def naive_log_likelihood(x, means, variances):
    return torch.stack([-((x - m) ** 2 / (2 * v)).sum(-1) for m, v in zip(means, variances)], dim=-1)


def naive_transclip(x, logits, rounds, count, moving):
    y = z = logits.softmax(-1)
    affinity, variance = naive_affinity(x, count), torch.full_like(x[0], 1 / x.shape[1])
    means = []
    for c in range(z.shape[1]):
        surest = sorted(range(len(x)), key=lambda i: -float(z[i, c]))[:8]
        mean = sum(z[i, c] * x[i] for i in surest)
        means.append(mean / mean.norm())
    for number in range(rounds + 1):
        log_likelihood = naive_log_likelihood(x, means, [variance] * len(means))
        z = naive_assignments(log_likelihood, y, z, affinity, count, moving)
        y = z if moving else y
        if number < rounds:
            means = [(z[:, [c]] * x).sum(0) / (z[:, [c]] * x).sum(0).norm() for c in range(z.shape[1])]
            variance = sum((z[:, [c]] * (x - mean) ** 2).sum(0) for c, mean in enumerate(means)) / z.sum()
    return z


def naive_stata(x, logits, text, alpha, rounds, count, hard):
    y = z = logits.softmax(-1)
    affinity, (images, classes) = naive_affinity(x, count), z.shape
    start = sum((z[:, [c]] * (x - text[c]) ** 2).sum(0) for c in range(classes)) / images
    means, variances = list(text), [start] * classes
    for number in range(rounds + 1):
        log_likelihood = naive_log_likelihood(x, means, variances)
        log_likelihood = log_likelihood - torch.stack([v.log().sum() / 2 for v in variances])
        z = naive_assignments(log_likelihood, y, z, affinity, count)
        if number == rounds:
            return z
        for c in range(classes):
            seen = float((z.argmax(-1) == c).sum()) if hard else float(z[:, c].sum())
            weight = seen / (alpha + seen)
            own = (z[:, [c]] * x).sum(0)
            mean = weight * own / own.norm() + (1 - weight) * text[c]
            means[c] = mean / mean.norm()
            spread = (z[:, [c]] * (x - means[c]) ** 2).sum(0) / z[:, c].sum()
            variances[c] = weight * spread + (1 - weight) * (start + (text[c] - means[c]) ** 2)


@pytest.mark.parametrize("rounds, neighbours, anchor", [(10, 3, "fixed"), (1, 5, "fixed"), (4, 3, "moving")])
def test_transclip_is_what_its_paper_says(rounds, neighbours, anchor, monkeypatch):
    monkeypatch.setattr(clusters, "ROWS", 17)  # several pieces of the cosines
    x, logits, labels, _ = made_up(30)
    found = TransCLIP(rounds, neighbours, anchor)(x, logits).exp()
    expected = naive_transclip(x, logits, rounds, neighbours, anchor == "moving")
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)
    assert not torch.allclose(found, logits.softmax(-1), atol=1e-3)


@pytest.mark.parametrize("alpha, rounds, counts", [(1.0, 10, "soft"), (5.0, 3, "soft"), (1.0, 10, "hard")])
def test_stata_is_what_its_paper_says(alpha, rounds, counts):
    x, logits, labels, text = made_up(30)
    found = StatA(alpha, rounds, counts=counts)(x, logits, text).exp()
    assert torch.allclose(found, naive_stata(x, logits, text, alpha, rounds, 3, counts == "hard"), rtol=0, atol=1e-10)


def test_what_images_have_in_common_corrects_the_text():
    x, logits, labels, text = made_up(300, width=64, seed=3)
    alone = accuracy(logits, labels)
    assert accuracy(TransCLIP()(x, logits), labels) > alone + 0.1
    assert accuracy(StatA()(x, logits, text), labels) > alone + 0.1


@pytest.mark.parametrize("images", [1, 2, 3])
def test_a_batch_of_few_images(images):
    x, logits, _, text = made_up(images)
    for found in (TransCLIP()(x, logits), StatA()(x, logits, text)):
        assert found.isfinite().all() and math.isclose(float(found.exp().sum()), images, rel_tol=1e-9)


def test_an_image_is_no_neighbour_of_itself_even_if_another_is_the_same():
    x, *_ = made_up(12)
    x[5] = x[2]
    near = Neighbours.of(x, 3)
    assert all(i not in row for i, row in enumerate(near.places.tolist()))
    assert 5 in near.places[2] and 2 in near.places[5]


def test_no_prototypes_no_stata():
    x, logits, *_ = made_up(5)
    with pytest.raises(ValueError, match="got no prototypes"):
        StatA()(x, logits)
