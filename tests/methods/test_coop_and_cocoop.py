"""CoOp, CoCoOp and zero-shot CLIP, and what all methods share."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from yacs.config import CfgNode

from mocoop.clip.openai import tokenizer
from mocoop.clip.prompts import hard_prompts
from mocoop.clip.text_encoder import encode_plain
from mocoop.errors import CheckpointError, ConfigError
from mocoop.methods import build_method, extend_cfg, get_method, methods
from mocoop.methods.coop import coop_layout
from mocoop.methods.kgcoop import KgCoOp
from tests.small_clip import small_clip

NAMES = ["cat", "hot_air_balloon", "oak tree"]
SMALL = {  # of methods with rows deep in a tower: blocks that the small CLIP has
    "TCP": {"BLOCK": 2},
    "DeKgTCP": {"BLOCK": 2},
    "IVLP": {"PROMPT_DEPTH_TEXT": 3, "PROMPT_DEPTH_VISION": 2},
    "VPT": {"PROMPT_DEPTH_VISION": 2},
    "MaPLe": {"PROMPT_DEPTH": 2},
    "CoPrompt": {"PROMPT_DEPTH": 2},
    "SkipTuning": {"FIRST_BLOCK": 1},
    "TAC": {"PROMPT_DEPTH_TEXT": 2, "PROMPT_DEPTH_VISION": 2},
    "PromptSRC": {"PROMPT_DEPTH_TEXT": 2, "PROMPT_DEPTH_VISION": 2},
    "MMA": {"FIRST_BLOCK": 1},
    "MMRL": {"FIRST_BLOCK": 1},
    "PromptKD": {"PROMPT_DEPTH_VISION": 2},
    "MMRLpp": {"FIRST_BLOCK": 0},
}
FIXED_TEXT = ("VPT", "CLIPAdapter", "TipAdapterF", "TaskRes", "ProLIP", "PromptKD")
READABLE = ["cat", "hot air balloon", "oak tree"]


def config(trainer, **keys):
    cfg = CfgNode({"TRAINER": {"NAME": trainer}, "DATASET": {"NAME": "OxfordPets"}, "TRAIN": {}, "TEST": {}})
    extend_cfg(cfg)
    node = get_method(trainer).settings(cfg)
    for key, value in keys.items():
        node[key] = value
    return cfg


def build(trainer, double=True, names=NAMES, **keys):
    torch.manual_seed(0)
    return build_method(config(trainer, **keys), names, small_clip(double=double))


def images(count=4):
    torch.manual_seed(1)
    return torch.randn(count, 3, 32, 32, dtype=torch.float64)


def test_keys_and_defaults_are_coops():
    cfg = config("CoOp")
    assert {k: v for k, v in cfg.TRAINER.COOP.items() if not k.startswith("TEXT_")} == {
        "N_CTX": 16,
        "CSC": False,
        "CTX_INIT": "",
        "PREC": "fp16",
        "CLASS_TOKEN_POSITION": "end",
    }
    assert {k: v for k, v in cfg.TRAINER.COCOOP.items() if not k.startswith("TEXT_")} == {
        "N_CTX": 16,
        "CTX_INIT": "",
        "PREC": "fp16",
    }


def test_zero_shot_is_clip_with_the_template_of_the_dataset():
    method, image = build("ZeroshotCLIP"), images()
    model, layout = method.clip_model, hard_prompts([f"a photo of a {n}, a type of pet." for n in READABLE])
    text = F.normalize(model.encode_text(layout.tokens), dim=-1)
    expected = model.logit_scale.exp() * F.normalize(model.visual(image), dim=-1) @ text.t()
    assert method.templates == ["a photo of a {}, a type of pet."]
    with torch.no_grad():
        torch.testing.assert_close(method(image), expected)


def test_the_ensemble_is_the_mean_of_normalised_features():
    method = build("ZeroshotCLIP2")
    assert len(method.templates) == 8 and method.templates[-1] == "a photo of a {}, a type of pet."
    layouts = [hard_prompts([t.replace("{}", n) for n in READABLE]) for t in method.templates]
    each = torch.stack([F.normalize(encode_plain(method.clip_model, None, layout), dim=-1) for layout in layouts])
    torch.testing.assert_close(method.encode_classes(), F.normalize(each.mean(0), dim=-1), rtol=1e-9, atol=1e-9)


def test_coop_starting_from_words_is_zero_shot_clip():
    image = images()
    method = build("CoOp", CTX_INIT="a photo of a")
    assert method.ctx.shape == (4, 64)
    texts = coop_layout(NAMES, 4, "end")
    texts.tokens[:, 1:5] = torch.tensor(tokenizer.encode("a photo of a"))
    texts.ctx_index.fill_(-1)
    expected = F.normalize(encode_plain(method.clip_model, None, texts), dim=-1)
    with torch.no_grad():
        torch.testing.assert_close(method.class_features(), expected, rtol=1e-9, atol=1e-9)
        assert method(image).shape == (4, 3)


@pytest.mark.parametrize("position, expected", [("end", "SXXXXn.E"), ("middle", "SXXnXX.E"), ("front", "SnXXXX.E")])
def test_where_the_class_name_stands(position, expected):
    layout = coop_layout(["cat"], 4, position)
    kinds = {tokenizer.encode("cat")[0]: "n", tokenizer.encode(".")[0]: ".", 49406: "S", 49407: "E"}
    pairs = zip(layout.tokens[0].tolist(), layout.ctx_index[0].tolist())
    shown = "".join("X" if ctx >= 0 else kinds[token] for token, ctx in list(pairs)[: int(layout.lengths[0])])
    assert shown == expected
    assert [i for i in layout.ctx_index[0].tolist() if i >= 0] == [0, 1, 2, 3]


@pytest.mark.parametrize("position", ["middle", "front"])
def test_a_name_that_ends_in_punctuation_stands_apart_from_the_full_stop(position):
    layout = coop_layout(["dog!"], 2, position)
    fixed = layout.tokens[0][layout.ctx_index[0] < 0]
    assert fixed[1:4].tolist() == [*tokenizer.encode("dog!"), *tokenizer.encode(".")]


def test_class_specific_contexts_reach_only_their_class():
    method = build("CoOp", CSC=True, N_CTX=3)
    assert method.ctx.shape == (3, 3, 64)
    before = method.encode_classes()
    with torch.no_grad():
        method.ctx[1] += torch.randn_like(method.ctx[1])
    changed = (method.encode_classes() - before).norm(dim=-1) > 1e-6
    assert changed.tolist() == [False, True, False]


@pytest.mark.parametrize("trainer", ["CoOp", "CoCoOp"])
def test_all_tokens_of_the_words_to_start_from_learn(trainer):
    method = build(trainer, CTX_INIT="a_photo of playfulness")
    tokens = torch.tensor(tokenizer.encode("a photo of playfulness"))
    assert len(tokens) == 5  # of four words
    assert torch.equal(method.ctx.detach(), method.clip_model.token_embedding.weight[tokens])


@pytest.mark.parametrize("blanks", [" ", "_"])
def test_blanks_are_no_words_to_start_from(blanks):
    assert build("CoOp", CTX_INIT=blanks, N_CTX=3).ctx.shape == (3, 64)


def test_noise_has_coops_spread():
    ctx = build("CoOp", N_CTX=64).ctx
    assert 0.018 < float(ctx.detach().std()) < 0.022


def test_cocoops_meta_net_is_two_layers_sixteen_times_narrower():
    net = build("CoCoOp").meta_net
    assert (net.linear1.in_features, net.linear1.out_features, net.linear2.out_features) == (32, 2, 64)


@pytest.mark.parametrize("trainer", [name for name in methods() if name != "CoCoOp"])
def test_classes_are_encoded_once_until_something_learned_changes(trainer):
    method, image = build(trainer, **SMALL.get(trainer, {})).double().eval(), images(2)
    with torch.no_grad():
        first = method(image)
        calls = method.text_encoder.calls
        assert torch.equal(method(image), first)
        assert method.text_encoder.calls == calls
        for p in method.learned_parameters().values():
            p.add_(0.1)
        if method.learned_parameters():
            assert not torch.equal(method(image), first)
            assert method.text_encoder.calls == calls + (trainer not in FIXED_TEXT)


def test_no_graph_is_built_for_a_frozen_image_tower():
    assert not build("CoOp").image_features(images()).requires_grad
    assert build("MoCoOp").image_features(images()).requires_grad


def test_training_mode_leaves_clip_in_evaluation_mode():
    method = build_method(config("CoOp"), NAMES, small_clip(vision="rn")).train()
    assert method.training and not any(module.training for module in method.clip_model.modules())


def test_learned_state_that_does_not_fit():
    state = build("CoOp", N_CTX=4).learned_state()
    with pytest.raises(CheckpointError, match=r"ctx has shape \(4, 64\), expected \(16, 64\)"):
        build("CoOp").load_learned_state(state)
    with pytest.raises(CheckpointError, match="meta_net.linear1.weight is missing"):
        build("CoCoOp", N_CTX=4).load_learned_state(state)


def test_an_average_that_holds_no_tensors_is_refused():
    method = build("PromptSRC", **SMALL["PromptSRC"])
    for average in (5, dict.fromkeys(method.learned_state(), 1)):
        with pytest.raises(CheckpointError, match="the average of the weights does not fit PromptSRC"):
            method.load_extra_state({"average": average})


def test_a_method_made_of_kgcoop_has_its_anchors():
    class Own(KgCoOp):
        entry = replace(KgCoOp.entry, name="Own")

    cfg = config("KgCoOp")
    cfg.DATASET.NAME = "DescribableTextures"  # where they are not the dataset's template
    assert Own(cfg, NAMES, small_clip()).template == "a photo of a {}, a type of texture."


def test_unknown_method():
    with pytest.raises(ConfigError, match="TRAINER.NAME is 'CoCoCoOp', expected one of"):
        build_method(CfgNode({"TRAINER": {"NAME": "CoCoCoOp"}}), NAMES, small_clip())
