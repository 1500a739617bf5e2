"""MoCoOp against a naive reference: a loop over images, classes and experts, through CLIP's plain text tower."""

import math

import pytest
import torch
from torch.nn import functional as F
from yacs.config import CfgNode

from mocoop.clip.openai import tokenizer
from mocoop.clip.prompts import Context, PromptLayout
from mocoop.clip.text_encoder import encode_plain
from mocoop.errors import ConfigError
from mocoop.methods import build_method, extend_cfg
from mocoop.methods.mocoop.method import encoded_experts, initial_contexts
from mocoop.methods.mocoop.routed import text_supervision_loss
from tests.small_clip import plain_image_features, small_clip

GROUPS = [["a photo of a {}.", "a good photo of a {}."], ["{} texture."], ["a {} in a video game."]]
NAMES = ["cat", "hot-air balloon", "oak tree"]
ALL_NAMES = [*NAMES, "red fox", "dog"]


def config(trainer="MoCoOp", **keys):
    cfg = CfgNode({"TRAINER": {"NAME": trainer}, "DATASET": {"NAME": "Toy"}, "TRAIN": {}, "TEST": {}})
    extend_cfg(cfg)
    for key, value in ({"GROUPS": GROUPS} | keys).items():
        cfg.TRAINER.MOCOOP[key] = value
    return cfg


def build(double=True, names=NAMES, all_names=ALL_NAMES, **keys):
    torch.manual_seed(3)
    method = build_method(config(**keys), names, small_clip(double=double), all_names)
    with torch.no_grad():  # away from the start, so that every term counts
        for p in method.learned_parameters().values():
            p.add_(0.05 * torch.randn_like(p))
    return method


def batch(double=True):
    torch.manual_seed(4)
    image = torch.randn(5, 3, 32, 32, dtype=torch.float64 if double else torch.float32)
    return image, torch.tensor([0, 2, 1, 1, 0])


class Naive:
    """The formulas of the paper, one image, class and expert at a time."""

    def __init__(self, method, classnames):
        self.m, self.clip = method, method.clip_model
        self.soft = [self.soft_features(g, classnames) for g in range(len(GROUPS))]
        self.prototypes = [self.prototype(group, classnames) for group in GROUPS]

    def encode(self, ctx, pieces):
        return encode_plain(self.clip, ctx, PromptLayout([pieces]))[0]

    def soft_features(self, g, classnames):
        before, after = self.m.ctx_before[g], self.m.ctx_after[g]
        rows = []
        for name in classnames:
            pieces = [Context(0, len(before)), name, Context(len(before), len(after)), "."]
            feature = self.encode(torch.cat([before, after]), pieces)
            rows.append(F.normalize(feature + self.m.correction[0], dim=0))
        return rows

    def prototype(self, group, classnames):
        rows = []
        for name in classnames:
            hard = [F.normalize(self.encode(None, [t.replace("{}", name)]), dim=0) for t in group]
            rows.append(F.normalize(sum(hard) / len(hard), dim=0))
        return rows

    def logits(self, f, k=2):
        r = self.m.router.weight @ f + self.m.router.bias
        best = sorted(range(len(GROUPS)), key=lambda g: -float(r[g].detach()))[:k]
        weight = {g: torch.exp(r[g]) / sum(torch.exp(r[h]) for h in best) for g in best}
        classes = range(len(self.m.classnames))
        scale = self.clip.logit_scale.exp()
        return scale * torch.stack([sum(weight[g] * (f @ self.soft[g][c]) for g in best) for c in classes]), r

    def loss(self, image, label):
        ce, gate = 0.0, 0.0
        for x, y in zip(image, label.tolist()):
            f = plain_image_features(self.m, x[None])[0]
            logits, r = self.logits(f)
            ce = ce + torch.logsumexp(logits, 0) - logits[y]
            scores = torch.stack([f @ self.prototypes[g][y] for g in range(len(GROUPS))])
            best = sorted(range(len(GROUPS)), key=lambda g: -float(scores[g].detach()))[:2]
            q = (scores + torch.tensor([10.0 * (g in best) for g in range(len(GROUPS))])).softmax(0)
            gate = gate - (q * (r - torch.logsumexp(r, 0))).sum()
        text, n = 0.0, 0
        for soft, prototypes in zip(self.soft, self.prototypes):
            for c in range(len(soft)):
                scores = torch.stack([soft[c] @ p for p in prototypes])
                text, n = text + torch.logsumexp(scores, 0) - scores[c], n + 1
        return ce / len(image), text / n, gate / len(image)


def test_logits_loss_and_gradients_equal_the_naive_reference():
    method, (image, label) = build(), batch()
    parts = method.loss(image, label)
    grads = torch.autograd.grad(parts["loss"], list(method.learned_parameters().values()))

    naive = Naive(method, ALL_NAMES)
    ce, text, gate = naive.loss(image, label)
    expected = ce + 5.0 * text + 1.0 * gate
    expected_grads = torch.autograd.grad(expected, list(method.learned_parameters().values()))

    for key, value in {"loss_ce": ce, "loss_text": text, "loss_gate": gate, "loss": expected}.items():
        torch.testing.assert_close(parts[key], value, rtol=1e-9, atol=1e-9)
    names = list(method.learned_parameters())
    assert any(name.startswith("layer_norms.") for name in names), "the image tower's LayerNorms must learn"
    for grad, expected_grad in zip(grads, expected_grads):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-7, atol=1e-9)

    features = method.image_features(image)
    torch.testing.assert_close(method(image), torch.stack([naive.logits(f)[0] for f in features]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("k", [1, 3])
def test_other_k(k):
    method, (image, _) = build(TOP_K=k), batch()
    naive = Naive(method, ALL_NAMES)
    expected = torch.stack([naive.logits(f, k)[0] for f in method.image_features(image)])
    torch.testing.assert_close(method(image), expected, rtol=1e-9, atol=1e-9)


def test_experts_start_as_the_first_template_of_their_group():
    cfg = config(CORRECTION="none", GROUPS=[["a photo of a {}."], ["{} texture."]])
    method = build_method(cfg, NAMES, small_clip(double=True), ALL_NAMES)
    torch.testing.assert_close(method._encode_experts(method.taught_layouts), method.prototypes(), rtol=1e-9, atol=1e-9)


def test_initial_contexts_count_tokens_and_keep_every_word():
    model = small_clip()
    before, after = initial_contexts(["a close-up photo of the {}, a type of pet."], "first", model)
    embeddings = model.token_embedding.weight
    assert torch.equal(before, embeddings[tokenizer.encode("a close-up photo of the")])
    assert torch.equal(after, embeddings[tokenizer.encode(", a type of pet")])


def test_mean_initialisation_averages_templates_of_equal_token_length():
    model = small_clip()
    group = ["a good photo of a {}.", "a bad photo of a {}.", "a photo of a {}."]
    before, after = initial_contexts(group, "mean", model)
    words = [model.token_embedding.weight[tokenizer.encode(f"a {word} photo of a")] for word in ("good", "bad")]
    torch.testing.assert_close(before, (words[0] + words[1]) / 2)
    assert after.shape == (0, 64)


def test_text_loss_over_trained_classes_alone():
    method, (image, label) = build(TEXT_LOSS_CLASSES="train"), batch()
    _, text, _ = Naive(method, NAMES).loss(image, label)
    torch.testing.assert_close(method.loss(image, label)["loss_text"], text, rtol=1e-9, atol=1e-9)


def routed_to(method, experts):
    """The method with a router that chooses these two experts for every image."""
    with torch.no_grad():
        method.router.weight.zero_()
        method.router.bias.copy_(torch.tensor([float(g in experts) - 0.01 * g for g in range(len(GROUPS))]))
    return method


@pytest.mark.parametrize("batch_size, chosen", [(1, True), (3, True), (4, False), (32, False)])
def test_the_release_teaches_chosen_experts_alone_in_small_batches(batch_size, chosen):
    cfg = config()
    cfg.DATALOADER = CfgNode({"TRAIN_X": {"BATCH_SIZE": batch_size}})
    for key, expected in (("released", chosen), ("chosen", True), ("all", False)):
        cfg.TRAINER.MOCOOP.TEXT_LOSS_EXPERTS = key
        assert build_method(cfg, NAMES, small_clip()).teaches_chosen_experts is expected


def test_experts_that_no_image_chose_are_not_encoded_and_count_as_a_constant(monkeypatch):
    method, (image, label) = routed_to(build(TEXT_LOSS_EXPERTS="chosen"), (0, 2)), batch()
    image, label = image[:1], label[:1]
    encoded, encode = [], method.text_encoder.tower
    method.prototypes()

    def spy(contexts, layouts, parts, read, chosen):
        encoded.append(chosen)
        return encode(contexts, layouts, parts, read, chosen)

    monkeypatch.setattr(method.text_encoder, "tower", spy)
    parts = method.loss(image, label)
    assert [sorted(chosen.tolist()) for chosen in encoded] == [[0, 2]]

    every = routed_to(build(TEXT_LOSS_EXPERTS="all"), (0, 2))
    soft, prototypes = every._encode_experts(every.taught_layouts), every.prototypes()
    each = [text_supervision_loss(soft[g : g + 1], prototypes[g : g + 1]) for g in range(3)]
    expected = (each[0] + math.log(len(ALL_NAMES)) + each[2]) / 3
    torch.testing.assert_close(parts["loss_text"], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(parts["loss_ce"], every.loss(image, label)["loss_ce"], rtol=1e-9, atol=1e-9)

    method.backward(parts)
    for name, p in method.named_parameters():
        if name in ("ctx_before.1", "ctx_after.1"):
            assert p.grad is None or not p.grad.any()
        elif name in ("ctx_before.0", "ctx_before.2"):
            assert p.grad.abs().max() > 0


def test_trained_on_new_classes_the_text_loss_sees_those_alone():
    cfg = config()
    for trained_on, expected in (("new", NAMES), ("base", ALL_NAMES), ("all", ALL_NAMES)):
        cfg.DATASET.SUBSAMPLE_CLASSES = trained_on
        assert build_method(cfg, NAMES, small_clip(), ALL_NAMES).taught_classnames == expected


def test_a_constructor_changes_nothing_that_another_method_made_learn():
    model = small_clip()
    first = build_method(config(), NAMES, model)
    names, values = list(first.learned_state()), {name: p.clone() for name, p in model.state_dict().items()}
    learned = first.learned_parameters()
    build_method(config("CoOp"), NAMES, model)
    build_method(config("ZeroshotCLIP"), NAMES, model)
    assert list(first.learned_state()) == names and any(name.startswith("layer_norms.") for name in names)
    assert all(p.requires_grad for p in learned.values())
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())


def test_a_detached_target_sends_no_gradient_to_the_image_tower():
    image, label = batch()
    with_grad, without = build(), build(GATE_TARGET_GRAD=False)
    assert with_grad.routing_target(with_grad.image_features(image), label).requires_grad
    assert not without.routing_target(without.image_features(image), label).requires_grad


def test_only_what_is_asked_for_learns():
    method = build(FINETUNE_VIT_LN=False, CORRECTION="none", ROUTER="random")
    assert {name.split(".")[0] for name in method.learned_parameters()} == {"ctx_before", "ctx_after"}
    paper = build(FINETUNE_VIT_LN=False, CORRECTION="none")
    assert {name.split(".")[0] for name in paper.learned_parameters()} == {"ctx_before", "ctx_after", "router"}
    released = {name for name in build().learned_parameters() if name.startswith("layer_norms.")}
    assert released == {
        f"layer_norms.transformer/resblocks/{i}/ln_{j}/{p}" for i in (0, 1) for j in (1, 2) for p in ("weight", "bias")
    }


def test_learning_rates_of_router_and_layer_norms():
    method = build(ROUTER_LR_MULT=50.0)
    rates = {id(p): group["lr"] for group in method.parameter_groups(0.01) for p in group["params"]}
    assert len(rates) == len(method.learned_parameters())
    for name, p in method.learned_parameters().items():
        factor = 50.0 if name.startswith("router") else 0.1 if name.startswith("layer_norms") else 1.0
        assert math.isclose(rates[id(p)], 0.01 * factor)


def test_new_classes_with_the_same_experts():
    method = build()
    other = build(names=["red fox", "dog"])
    other.load_learned_state(method.learned_state())
    image, _ = batch()
    whole = build(names=ALL_NAMES)
    whole.load_learned_state(method.learned_state())
    with torch.no_grad():
        torch.testing.assert_close(other(image), whole(image)[:, 3:], rtol=1e-9, atol=1e-9)


def test_what_is_chosen_is_what_predict_says():
    method, (image, _) = build(), batch()
    logits, experts, gates = method.choose(method.image_features(image))
    prediction = method.predict(image)
    assert torch.equal(experts, prediction["experts"]) and torch.equal(gates, prediction["gates"])
    assert torch.equal(logits, prediction["router_logits"])


@pytest.mark.parametrize(
    "keys, message",
    [
        ({"TOP_K": 4}, "TOP_K is 4, expected 1 to 3, the number of groups"),
        ({"GROUPS": [["a photo"]], "TOP_K": 1}, r'template "a photo" must hold "\{\}" exactly once'),
        ({"GROUPS": [[]]}, "expected a list of one or more templates"),
        ({"GROUPS": [["{}."]], "TOP_K": 1}, "no word that a context could start from"),
        ({"GROUP_NAMES": ["a"]}, "GROUP_NAMES has 1 names, expected 3"),
        ({"INIT": "last"}, "INIT is 'last', expected one of 'first', 'mean'"),
        ({"PREC": "fp8"}, "PREC is 'fp8', expected one of"),
    ],
)
def test_wrong_keys(keys, message):
    with pytest.raises(ConfigError, match=message):
        build(**keys)


def test_all_wrong_keys_are_reported_at_once():
    with pytest.raises(ConfigError) as error:
        build(INIT="last", PREC="fp8", TEXT_LOSS_WEIGHT=-1.0)
    assert all(key in str(error.value) for key in ("INIT", "PREC", "TEXT_LOSS_WEIGHT"))


def test_the_experts_that_a_batch_needs():
    encoded, counted, places = encoded_experts(torch.tensor([[4, 1], [1, 0]]), 6)
    assert encoded.tolist() == [0, 1, 4, 2] and counted.tolist() == [1, 1, 1, 0]
    assert places.tolist() == [[2, 1], [1, 0]]
    encoded, counted, places = encoded_experts(torch.tensor([[2, 0]] * 5), 3)
    assert encoded.tolist() == [0, 2, 1] and counted.tolist() == [1, 1, 0] and places.tolist() == [[1, 0]] * 5
