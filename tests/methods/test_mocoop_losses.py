"""Both teaching losses against loops written from the formulas; gradients in fp64."""

import torch
from torch.nn import functional as F

from mocoop.methods.mocoop.routed import routing_loss, routing_target, text_supervision_loss


def data():
    torch.manual_seed(1)
    soft = F.normalize(torch.randn(4, 3, 8, dtype=torch.float64), dim=-1)
    prototypes = F.normalize(torch.randn(4, 3, 8, dtype=torch.float64), dim=-1)
    features = F.normalize(torch.randn(6, 8, dtype=torch.float64), dim=-1)
    return soft, prototypes, features, torch.tensor([0, 1, 2, 2, 1, 0])


def naive_text_loss(soft, prototypes, scale):
    losses = []
    for g in range(len(soft)):
        for c in range(soft.shape[1]):
            scores = [scale * float(soft[g, c] @ prototypes[g, e]) for e in range(soft.shape[1])]
            losses.append(torch.logsumexp(torch.tensor(scores, dtype=torch.float64), 0) - scores[c])
    return torch.stack(losses).mean()


def naive_target(features, prototypes, label, bonus, top):
    rows = []
    for f, y in zip(features, label):
        scores = torch.stack([f @ prototypes[g, y] for g in range(len(prototypes))])
        best = sorted(range(len(scores)), key=lambda g: -float(scores[g]))[:top]
        rows.append(torch.stack([s + (bonus if g in best else 0) for g, s in enumerate(scores)]).softmax(0))
    return torch.stack(rows)


def test_text_supervision_equals_the_loop():
    soft, prototypes, _, _ = data()
    for scale in (1.0, 100.0):
        torch.testing.assert_close(
            text_supervision_loss(soft, prototypes, scale), naive_text_loss(soft, prototypes, scale)
        )


def test_text_supervision_is_smallest_at_the_prototypes():
    soft, prototypes, _, _ = data()
    assert text_supervision_loss(prototypes, prototypes, 100.0) < text_supervision_loss(soft, prototypes, 100.0)


def test_routing_target_equals_the_loop():
    _, prototypes, features, label = data()
    for bonus, top in ((10.0, 2), (0.0, 2), (3.0, 1)):
        target = routing_target(features, prototypes, label, bonus, top)
        torch.testing.assert_close(target, naive_target(features, prototypes, label, bonus, top))
        torch.testing.assert_close(target.sum(-1), torch.ones(6, dtype=torch.float64))


def test_routing_target_with_fewer_groups_than_favoured():
    _, prototypes, features, label = data()
    torch.testing.assert_close(
        routing_target(features, prototypes[:1], label, 10.0, 2), torch.ones(6, 1, dtype=torch.float64)
    )


def test_routing_loss_is_the_cross_entropy_of_distributions():
    torch.manual_seed(2)
    logits, target = torch.randn(6, 4, dtype=torch.float64), torch.rand(6, 4, dtype=torch.float64).softmax(-1)
    expected = torch.stack([-(t * (z - torch.logsumexp(z, 0))).sum() for z, t in zip(logits, target)]).mean()
    torch.testing.assert_close(routing_loss(logits, target), expected)


def test_gradients():
    soft, prototypes, features, label = data()
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: text_supervision_loss(s, prototypes, 2.0), (soft.requires_grad_(),))
    target = routing_target(features, prototypes, label, 10.0, 2)
    assert torch.autograd.gradcheck(lambda z: routing_loss(z, target), (logits,))
