"""TDA against lists that hold what its paper says."""

import math

import pytest
import torch

from mocoop.transduce.caches import TDA
from tests.transduce.features import made_up


def naive_tda(x, logits, method):
    classes, positive, negative, found = logits.shape[1], {}, {}, []
    for feature, scores in zip(x, logits):
        p = scores.softmax(-1)
        entropy = -float(sum(q * math.log(q) for q in p.tolist() if q > 0))
        share = entropy / (math.log2(classes) if method.entropy == "released" else math.log(classes))
        label = int(scores.argmax())
        put(positive, label, (entropy, feature, None), method.size)
        if method.lowest < share < method.highest:
            possible = torch.tensor([1.0 if method.mask < q < 1 else 0.0 for q in p.tolist()], dtype=torch.float64)
            put(negative, label, (entropy, feature, possible), method.negative_size)
        total = scores.clone()
        for of_label, kept in positive.items():
            for _, key, _ in kept:
                total[of_label] += method.alpha * math.exp(-method.beta * (1 - float(feature @ key)))
        for kept in negative.values():
            for _, key, possible in kept:
                near = math.exp(-method.negative_beta * (1 - float(feature @ key)))
                total -= method.negative_alpha * near * possible
        found.append(total)
    return torch.stack(found), sum(map(len, negative.values()))


def put(cache, label, item, size):
    kept = cache.setdefault(label, [])
    if len(kept) < size:
        kept.append(item)
    elif item[0] < max(kept, key=lambda one: one[0])[0]:
        kept.remove(max(kept, key=lambda one: one[0]))
        kept.append(item)


@pytest.mark.parametrize("method", [TDA(), TDA(size=1, alpha=4, beta=8, highest=0.9, entropy="unit"), TDA(mask=0.3)])
def test_tda_is_what_its_paper_says(method):
    x, logits, *_ = made_up(80)
    expected, negatives = naive_tda(x, logits, method)
    assert negatives > 1
    assert torch.allclose(method(x, logits), expected, rtol=0, atol=1e-10)


def test_an_image_depends_on_those_before_it_alone():
    x, logits, *_ = made_up(30)
    assert torch.equal(TDA()(x, logits)[:20], TDA()(x[:20], logits[:20]))
    turned = torch.arange(29, -1, -1)
    assert not torch.allclose(TDA()(x[turned], logits[turned])[turned], TDA()(x, logits))
