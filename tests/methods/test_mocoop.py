"""MoCoOp: its settings beside a naive reference, how experts start, what is taught and encoded, what learns."""

import math

import pytest
import torch
from yacs.config import CfgNode

from mocoop.clip.openai import tokenizer
from mocoop.errors import ConfigError
from mocoop.methods import build_method, extend_cfg
from mocoop.methods.mocoop.method import encoded_experts, initial_contexts
from mocoop.methods.mocoop.routed import RandomRouter, text_supervision_loss
from mocoop.training.learner import left_alone
from tests.methods import naive
from tests.methods.test_against_naive import build as build_beside_naive
from tests.methods.test_against_naive import must_be_as_naive
from tests.small_clip import small_clip

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


@pytest.mark.parametrize(
    "keys",
    [
        {"TOP_K": 1},
        {"TOP_K": 3, "TEXT_LOSS_CLASSES": "train"},
        {"GATE_TARGET_TOP": 1, "GATE_TARGET_BONUS": 3.0},
        {"TEXT_LOSS_SCALE": 20.0},
        {"TOP_K": 1, "GROUPS": GROUPS[:1]},
    ],
)
def test_other_settings_than_released(keys):
    """Beside the released ones in test_against_naive.py; one group is fewer than the target favours."""
    images, labels = batch()
    must_be_as_naive(build_beside_naive("MoCoOp", **keys), naive.mocoop, images, labels)


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


def test_experts_that_no_image_chose_rest_as_if_they_had_no_gradient():
    """What torch does with the release, whose zeros for them have no gradient: beside it to the bit."""
    ours, theirs = (build(TEXT_LOSS_EXPERTS="chosen", GROUPS=[*GROUPS, ["art of the {}."]]).train() for _ in range(2))
    options = {"lr": 0.2, "momentum": 0.9, "weight_decay": 0.01}
    optimizers = [torch.optim.SGD(method.learned_parameters().values(), **options) for method in (ours, theirs)]
    rested = set()
    for step in range(12):
        image, label = (values[step % 5 : step % 5 + 1] for values in batch())
        for method, optimizer in zip((ours, theirs), optimizers):
            optimizer.zero_grad()
            method.loss(image, label)["loss"].backward()
        with left_alone(optimizers[0], ours.resting()):
            optimizers[0].step()
        chosen = theirs.predict(image)["experts"].flatten().tolist()
        resting = [g for g in range(4) if g not in chosen]
        assert ours.resting_experts.nonzero().flatten().tolist() == resting
        for g in resting:
            theirs.ctx_before[g].grad = theirs.ctx_after[g].grad = None
        optimizers[1].step()
        rested |= {tuple(resting)}
        for name, p in ours.learned_parameters().items():
            assert torch.equal(p, theirs.learned_parameters()[name]), (step, name)
    assert len(rested) > 1


def test_where_all_experts_are_taught_none_rests():
    assert build(TEXT_LOSS_EXPERTS="all").resting() == {}


def test_a_random_router_learns_nothing_and_depends_on_the_image():
    router, features = RandomRouter(8, 4), torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert not list(router.parameters())
    assert torch.equal(router(features), RandomRouter(8, 4)(features))
    assert len({tuple(row) for row in router(features).topk(2).indices.tolist()}) > 1
