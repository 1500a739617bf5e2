"""Methods on frozen features beside naive computations of what their authors' codes do, in fp64."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mocoop.errors import ConfigError
from mocoop.methods import build_method
from tests.methods.naive import cross_entropy, unit
from tests.methods.test_coop_and_cocoop import config
from tests.small_clip import small_clip

NAMES, SHOTS, SIZE = ["cat", "hot air balloon", "oak tree"], 4, 32


FEW = {"LinearProbe": {"SEARCH_STEPS": 0}, "LPPlusPlus": {"ITERATIONS": 20}, "CLAP": {"EPOCHS": 2, "VIEWS": 2}}


class Given:
    """Features of random images: three clouds, one for each class."""

    def __init__(self, validation: bool = True):
        generator = torch.Generator().manual_seed(5)
        self.centres = torch.randn(3, SIZE, dtype=torch.float64, generator=generator)
        self.label = torch.arange(3).repeat_interleave(SHOTS)
        self.views = 3 * self._around(self.label.repeat(10), generator).unflatten(0, (10, -1))
        self.val_label = torch.arange(3).repeat(6)
        self.val = self._around(self.val_label, generator) if validation else None
        self.asked = []

    def _around(self, label, generator):
        noise = torch.randn(len(label), SIZE, dtype=torch.float64, generator=generator)
        return self.centres[label] + 2.0 * noise

    def val_like(self):
        """Features (6, D) of other images than those of training."""
        return self._around(torch.arange(3).repeat(2), torch.Generator().manual_seed(6))

    def training(self, views=0):
        self.asked.append(views)
        return self.views[: max(views, 1)], self.label

    def validation(self):
        return None if self.val is None else (self.val, self.val_label)


def build(name: str, names=NAMES, given: Given | None = None, **keys):
    """A method in fp64, fitted to what is given."""
    clip = small_clip(double=True)
    with torch.no_grad():
        clip.logit_scale.fill_(2.0)
    torch.manual_seed(0)
    method = build_method(config(name, **keys), names, clip).double().train()
    if given is not None:
        torch.manual_seed(1)
        method.fit(given)
    return method


def texts(method):
    return method.encode_classes()


# --- Tip-Adapter ------------------------------------------------------------------------------------------------------


def tip_logits(method, given, feature, alpha, beta, keys=None):
    """Of one normalised feature (D,), class by class and key by key."""
    keys = [unit(given.views[:, i].mean(0)) for i in range(len(given.label))] if keys is None else keys
    logits = []
    for c, text in enumerate(texts(method)):
        votes = [torch.exp(-beta * (1 - feature @ key)) for key, y in zip(keys, given.label.tolist()) if y == c]
        logits.append(method.logit_scale * feature @ text + alpha * sum(votes))
    return torch.stack(logits)


@pytest.mark.parametrize("name", ["TipAdapter", "TipAdapterF"])
def test_tip_adapter_is_zero_shot_clip_and_the_votes_of_mean_views(name):
    given = Given()
    method = build(name, given=given)
    assert given.asked == [10]
    found = method.predict_features(unit(given.val))["logits"]
    expected = torch.stack([tip_logits(method, given, unit(f), 1.17, 1.0) for f in given.val])
    assert (found - expected).abs().max() < 1e-6  # alpha and beta are fp32


def test_tip_adapter_takes_the_first_best_pair_of_the_released_grid():
    given = Given()
    method = build("TipAdapter", given=given, SEARCH_BETA=7.0, SEARCH_ALPHA=3.0)
    clip = method.logit_scale * unit(given.val) @ texts(method).t()
    affinity, values = unit(given.val) @ method.keys.t(), torch.eye(3, dtype=torch.float64)[given.label]
    best = (0, 0.0, 0.0)
    for b in [i * (7.0 - 0.1) / 200 + 0.1 for i in range(200)]:
        cache = ((-1) * (b - b * affinity)).exp() @ values
        for a in [i * (3.0 - 0.1) / 20 + 0.1 for i in range(20)]:
            right = int(((clip + a * cache).argmax(1) == given.val_label).sum())
            best = max(best, (right, b, a), key=lambda found: found[0])
    method.select(given)
    assert (method.beta.item(), method.alpha.item()) == best[1:]
    assert best[0] > (clip.argmax(1) == given.val_label).sum()


def test_tip_adapter_f_learns_its_keys_by_cross_entropy():
    given = Given()
    method = build("TipAdapterF", given=given, INIT_ALPHA=2.0)
    assert list(method.learned_parameters()) == ["keys"]
    feature, label = unit(given.val), given.val_label
    loss = nn.functional.cross_entropy(method.predict_features(feature)["logits"], label)
    keys = list(method.keys)
    expected = cross_entropy(torch.stack([tip_logits(method, given, f, 2.0, 1.0, keys) for f in feature]), label)
    assert abs(loss.item() - expected.item()) < 1e-9
    ours, theirs = (torch.autograd.grad(value, method.keys)[0] for value in (loss, expected))
    assert (ours - theirs).abs().max() < 1e-9 and ours.abs().max() > 1e-4


def test_only_zero_shot_clip_speaks_for_a_class_without_a_key():
    given = Given()
    method = build("TipAdapter", given=given)
    other = build("TipAdapter", ["violin", "oak tree"], HEAD_CLASSES=NAMES)
    other.load_learned_state(method.learned_state())
    feature = unit(given.val)
    found = other.predict_features(feature)["logits"]
    assert torch.allclose(found[:, 0], other.logit_scale * feature @ texts(other)[0])
    assert torch.allclose(found[:, 1], method.predict_features(feature)["logits"][:, 2])


# --- linear probe -----------------------------------------------------------------------------------------------------


def test_the_linear_probe_is_at_the_minimum_of_its_loss():
    given = Given(validation=False)
    method = build("LinearProbe", given=given)
    weight, bias = (value.clone().requires_grad_() for value in (method.weight, method.bias))
    logits = given.views[0] @ weight.t() + bias
    loss = 0.316 * len(given.label) * cross_entropy(logits, given.label) + 0.5 * weight.square().sum()
    for gradient in torch.autograd.grad(loss, (weight, bias)):
        assert gradient.abs().max() < 1e-3
    assert given.asked == [0]
    raw = method.image_features(torch.randn(2, 3, 32, 32, dtype=torch.float64))
    assert (raw.norm(dim=-1) - 1).abs().min() > 1e-3


def test_the_linear_probe_searches_as_released():
    from sklearn.linear_model import LogisticRegression  # a second to import

    given = Given()
    method = build("LinearProbe", given=given, SEARCH_STEPS=3)
    features, label, val, val_label = (
        value.numpy() for value in (given.views[0], given.label, given.val, given.val_label)
    )

    def fit(c):
        model = LogisticRegression(C=c, max_iter=1000).fit(features, label)
        return model, (model.predict(val) == val_label).mean()

    decades = [1e6, 1e4, 1e2, 1, 1e-2, 1e-4, 1e-6]
    peak = decades[int(np.argmax([fit(c)[1] for c in decades]))]
    low, high = 0.1 * peak, 10 * peak
    for _ in range(3):
        (left, left_accuracy), (right, right_accuracy) = fit(low), fit(high)
        middle = 10 ** (0.5 * (math.log10(low) + math.log10(high)))
        model, low, high = (right, middle, high) if left_accuracy < right_accuracy else (left, low, middle)
    assert torch.allclose(method.weight, torch.from_numpy(model.coef_), rtol=1e-4, atol=1e-6)
    assert torch.allclose(method.bias, torch.from_numpy(model.intercept_), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
def test_the_linear_probe_of_few_classes(count):
    given = Given(validation=False)
    given.label, given.views = given.label[: count * SHOTS], given.views[:, : count * SHOTS]
    method = build("LinearProbe", NAMES[:count], given=given)
    assert (method.predict_features(given.views[0])["logits"].argmax(1) == given.label).float().mean() > 0.9


# --- GDA --------------------------------------------------------------------------------------------------------------


def gda_scores(method, given, feature, new, shrunk=False):
    """Of one feature (D,): by Gaussians around the classes' means, or around features near to the texts of new ones."""
    vectors, text = unit(given.views).flatten(0, 1), texts(method)
    labels, size, scores = given.label.repeat(10), SIZE, []
    if new:
        near = [vectors[(vectors @ t).argsort(descending=True)[:64]] for t in text]
        means = [(sum(own) + 16 * t) / (len(own) + 16) for own, t in zip(near, text)]
        spreads = [sum(torch.outer(v - t, v - t) for v in own) for own, t in zip(near, text)]
        each = [size * torch.linalg.inv(s + torch.trace(s) / 63 * torch.eye(size)) for s in spreads]
        precision = sum(each) / len(each)
    else:
        own = [vectors[labels == c] for c in range(3)]
        means = [sum(v) / len(v) for v in own]
        spreads = [sum(torch.outer(x - m, x - m) for x in v) for v, m in zip(own, means)]
        total = sum(spreads)
        mean = sum(s / (len(v) - 1) for s, v in zip(spreads, own)) / 3
        shrink = total + torch.trace(total) / (len(vectors) - 1) * torch.eye(size)
        precision = size * torch.linalg.inv(shrink) if shrunk else torch.linalg.inv(mean)
    for m, t in zip(means, text):
        gauss = m @ precision @ feature + math.log(1 / len(text)) - m @ precision @ m / 2
        scores.append(method.logit_scale * feature @ t + 0.1 * gauss)
    return torch.stack(scores)


@pytest.mark.parametrize("covariance", ["pseudo-inverse", "shrunk"])
@pytest.mark.parametrize("names", [NAMES, ["violin", "old shoe", "fox"]])
def test_gda_scores_by_gaussians_beside_zero_shot_clip(names, covariance):
    given = Given()
    fitted = build("GDA", given=given, COVARIANCE=covariance)
    method = build("GDA", names, HEAD_CLASSES=NAMES, COVARIANCE=covariance)
    method.load_learned_state(fitted.learned_state())
    found, new = method.predict_features(unit(given.val))["logits"], names is not NAMES
    expected = torch.stack([gda_scores(method, given, unit(f), new, covariance == "shrunk") for f in given.val])
    assert given.asked == [10] and (found - expected).abs().max() < 1e-6 * expected.abs().max()  # alpha is fp32


def test_gda_takes_each_class_as_what_it_is_and_the_first_best_weight():
    given = Given()
    method = build("GDA", given=given)
    mixed = build("GDA", ["violin", "oak tree"], HEAD_CLASSES=NAMES)
    mixed.load_learned_state(method.learned_state())
    (own, bias), (both, biases) = method.classifier(), mixed.classifier()
    assert torch.allclose(both[1], own[2]) and torch.allclose(biases[1] - math.log(1 / 2), bias[2] - math.log(1 / 3))
    right = {}
    for alpha in (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0):
        method.alpha.fill_(alpha)
        predicted = method.predict_features(unit(given.val))["logits"].argmax(-1)
        right[alpha] = int((predicted == given.val_label).sum())
    method.select(given)
    assert method.alpha.item() == pytest.approx(max(right, key=right.get))


# --- LP++ -------------------------------------------------------------------------------------------------------------


def lp_plus_plus(given, text, bias, steps=300):
    """Weights, bias and alpha after each step, by hand-written gradients."""
    image, label = unit(given.views[0]).numpy(), given.label.numpy()
    similarity, count, target = image @ text.numpy().T, len(label), np.eye(3)[label]
    w = np.stack([image[label == c].sum(0) for c in range(3)])
    b, alpha = bias.numpy().copy(), np.full(3, 250 * np.mean([similarity[label == c, c].mean() for c in range(3)]))
    rate = 4 * count / np.linalg.eigvalsh(image.T @ image).max()
    alpha_rate = count / (4 * (similarity**2).sum(0).max())
    speed_w, speed_b, alpha_sum = 0.0, 0.0, 0.0
    for step in range(1, steps + 1):
        logits = image @ w.T + b + alpha * similarity
        p = np.exp(logits - logits.max(1, keepdims=True))
        wrong = (p / p.sum(1, keepdims=True) - target) / count
        alpha_sum = alpha_sum + (wrong * similarity).sum(0)
        speed_w, speed_b = 0.9 * speed_w + wrong.T @ image, 0.9 * speed_b + wrong.sum(0)
        w, b = w - rate * speed_w, b - rate * speed_b
        if step % 10 == 0:
            alpha = alpha - alpha_rate * alpha_sum
        yield w, b, alpha


@pytest.mark.parametrize("validation", [True, False])
def test_lp_plus_plus_ends_where_gradients_by_hand_do(validation):
    given = Given(validation)
    method = build("LPPlusPlus", given=given, ITERATIONS=40)
    torch.manual_seed(1)
    bias = nn.Linear(SIZE, 3).double().bias.detach()
    text, best, kept = texts(method), -1, None
    for w, b, alpha in lp_plus_plus(given, text, bias, 40):
        val = unit(given.val) if validation else None
        logits = val.numpy() @ w.T + b + alpha * (val @ text.t()).numpy() if validation else None
        right = (logits.argmax(1) == given.val_label.numpy()).sum() if validation else 0
        best, kept = (right, (w, b, alpha)) if right >= best else (best, kept)
    for own, value in zip((method.weight, method.bias, method.alpha), kept):
        assert torch.allclose(own, torch.from_numpy(value), rtol=1e-8, atol=1e-9)


# --- CLAP -------------------------------------------------------------------------------------------------------------


def clap(given, text, constraint, scale, epochs, size):
    """Prototypes after all steps, by hand-written gradients."""
    image, label = unit(given.views).flatten(0, 1).numpy(), given.label.repeat(10).numpy()
    start, w, speed = text.numpy(), text.numpy().copy(), 0.0
    target, growth, steps = np.eye(3)[label], np.zeros(3), max(len(given.label) // size, 1)

    def probabilities(rows, w):
        e = np.exp(scale * image[rows] @ (w / np.linalg.norm(w, axis=1)[:, None]).T)
        return e / e.sum(1)[:, None]

    right = (probabilities(slice(None), w) * target).sum(1)
    held = np.array([0.0 if constraint == "none" else right[label == c].mean() for c in range(3)])
    for epoch in range(epochs):
        order, rate = torch.randperm(len(label)).numpy(), 0.1 * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
        for rows in [order[i * size : (i + 1) * size] for i in range(steps)]:
            length = np.linalg.norm(w, axis=1)[:, None]
            along = scale * (probabilities(rows, w) - target[rows]).T @ image[rows] / len(rows)
            along = (along - (along * w).sum(1)[:, None] * w / length**2) / length
            speed = 0.9 * speed + along + 2 * held[:, None] * (w - start) / 3
            w = w - (rate if epoch else 1e-5) * speed
        distance = ((w - start) ** 2).sum(1)
        if constraint == "adaptive":
            held, growth = held + growth * distance, distance
    return w


@pytest.mark.parametrize("constraint", ["none", "classes", "adaptive"])
@pytest.mark.parametrize("size", [4, 256])
def test_clap_ends_where_gradients_by_hand_do(constraint, size):
    given = Given(validation=False)
    method = build("CLAP", given=given, CONSTRAINT=constraint, VIEWS=10, EPOCHS=20, BATCH_SIZE=size)
    assert given.asked == [10]
    torch.manual_seed(1)
    text = method.text_features()
    expected = torch.from_numpy(clap(given, text, constraint, method.logit_scale.item(), 20, size))
    assert (method.prototypes - expected).abs().max() < 1e-9 < 1e-3 < (method.prototypes - text).abs().max()
    logits = method.logit_scale * unit(given.val_like()) @ unit(expected).t()
    assert torch.allclose(method.predict_features(unit(given.val_like()))["logits"], logits, rtol=1e-9)


def test_claps_losses_and_gradients():
    given = Given(validation=False)
    method = build("CLAP", EPOCHS=1, VIEWS=1)
    text, weight = method.text_features(), torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    learned = (text + 0.05 * torch.randn_like(text)).requires_grad_()
    image = unit(given.views[0])
    expected = (
        cross_entropy(torch.stack([method.logit_scale * unit(learned) @ f for f in image]), given.label),
        sum(w * (a - b).square().sum() for w, a, b in zip(weight, learned, text)) / 3,
    )
    for found, value in zip(method.losses(image, given.label, learned, text, weight), expected):
        assert abs(found.item() - value.item()) < 1e-9
        ours, theirs = (torch.autograd.grad(part, learned, retain_graph=True)[0] for part in (found, value))
        assert (ours - theirs).abs().max() < 1e-9 < ours.abs().max()


# --- what is bound to the trained classes -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["LinearProbe", "LPPlusPlus", "CLAP"])
def test_some_of_the_trained_classes_keep_their_rows_and_others_are_refused(name):
    given = Given()
    method, feature = build(name, given=given, **FEW.get(name, {})), unit(given.val)
    some = build(name, ["oak tree", "cat"], HEAD_CLASSES=NAMES)
    some.load_learned_state(method.learned_state())
    assert torch.allclose(
        some.predict_features(feature)["logits"], method.predict_features(feature)["logits"][:, [2, 0]]
    )
    assert method.serves(NAMES, ["oak tree"]) and not method.serves(NAMES, ["violin"])
    with pytest.raises(
        ConfigError, match=f"{name} has a classifier of the trained classes, got the class name .violin"
    ):
        build(name, ["violin"], HEAD_CLASSES=NAMES).predict_features(feature)


def test_classes_of_one_name_have_rows_of_their_own():
    names = ["crane", "missile", "crane"]
    assert build("LinearProbe", names).rows.tolist() == [0, 1, 2]
    assert build("TipAdapter", ["crane", "violin", "crane"], HEAD_CLASSES=names).rows.tolist() == [0, -1, 2]


@pytest.mark.parametrize("name", ["TipAdapter", "TipAdapterF", "LinearProbe", "LPPlusPlus", "GDA", "CLAP"])
def test_nothing_is_chosen_without_validation_images(name):
    given = Given(validation=False)
    method = build(name, given=given, **FEW.get(name, {}))
    before = method.learned_state()
    method.select(given)
    assert all(torch.equal(value, before[key]) for key, value in method.learned_state().items())
