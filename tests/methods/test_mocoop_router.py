"""Top-k gates and mixing, against a loop over images, experts and classes."""

import math

import torch
from torch.nn import functional as F

from mocoop.methods.mocoop.routed import RandomRouter, make_router, mix_scores, top_k_gates


def naive_mix(features, experts, logits, k):
    """Mixes text features image by image, as the formula is written, and takes the product afterwards."""
    out = torch.zeros(len(features), experts.shape[1], dtype=features.dtype)
    for i, f in enumerate(features):
        best = sorted(range(len(experts)), key=lambda g: -float(logits[i, g]))[:k]
        total = sum(math.exp(float(logits[i, g])) for g in best)
        for c in range(experts.shape[1]):
            mixed = sum(math.exp(float(logits[i, g])) / total * experts[g, c] for g in best)
            out[i, c] = f @ mixed
    return out


def data():
    torch.manual_seed(0)
    features = F.normalize(torch.randn(5, 8, dtype=torch.float64), dim=-1)
    experts = F.normalize(torch.randn(4, 3, 8, dtype=torch.float64), dim=-1)
    return features, experts, torch.randn(5, 4, dtype=torch.float64)


def test_mixing_scores_equals_mixing_features_for_every_k():
    features, experts, logits = data()
    for k in (1, 2, 3, 4):
        gates, indices = top_k_gates(logits, k)
        scores = torch.einsum("bd,ecd->bec", features, experts)
        torch.testing.assert_close(mix_scores(scores, gates, indices), naive_mix(features, experts, logits, k))


def test_gates_sum_to_one_and_come_best_first():
    _, _, logits = data()
    gates, indices = top_k_gates(logits, 2)
    torch.testing.assert_close(gates.sum(-1), torch.ones(5, dtype=torch.float64))
    assert (gates[:, 0] >= gates[:, 1]).all()
    assert torch.equal(indices[:, 0], logits.argmax(-1))


def test_gradients_of_the_mixture():
    features, experts, logits = data()
    scores = torch.einsum("bd,ecd->bec", features, experts)

    def mixed(scores, logits):
        return mix_scores(scores, *top_k_gates(logits, 2))

    assert torch.autograd.gradcheck(mixed, (scores.requires_grad_(), logits.requires_grad_()))


def test_router_is_linear_in_the_feature():
    torch.manual_seed(0)
    router, features = make_router("learned", 8, 4, torch.float32), torch.randn(5, 8)
    expected = torch.stack([router.weight @ f + router.bias for f in features])
    torch.testing.assert_close(router(features), expected)


def test_random_router_learns_nothing_and_depends_on_the_image():
    router = RandomRouter(8, 4)
    assert not list(router.parameters())
    features = torch.randn(5, 8)
    assert torch.equal(router(features), RandomRouter(8, 4)(features))
    assert len({tuple(row) for row in router(features).topk(2).indices.tolist()}) > 1
