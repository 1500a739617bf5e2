"""A mixture of any prompt method: with one expert it is that method; images are encoded once for each chosen expert."""

import pytest
import torch

from mocoop.errors import ConfigError
from mocoop.methods import build_method, get_method
from mocoop.methods.coop import words_context
from mocoop.training.run_state import with_structure
from tests.methods.naive import GROUPS
from tests.methods.test_against_naive import MORE, NAMES
from tests.methods.test_coop_and_cocoop import config, images
from tests.small_clip import small_clip

LABEL = torch.tensor([0, 2, 1, 2, 0, 1])
KEYS = {  # of the experts; IVLP without rows in the image tower is deep language prompting
    "CoOp": {},
    "KgCoOp": {},
    "TCP": {"BLOCK": 2},
    "IVLP": {"PROMPT_DEPTH_TEXT": 3, "PROMPT_DEPTH_VISION": 0},
    "VPT": {"PROMPT_DEPTH_VISION": 2},
    "MaPLe": {"PROMPT_DEPTH": 2},
}


def mixed(expert, names=NAMES, seed=0, **keys):
    """A mixture of a method over the three groups, unless keys say otherwise, in fp64."""
    torch.manual_seed(seed)
    cfg = config("Mixture", **({"METHOD": expert, "GROUPS": GROUPS} | keys))
    get_method(expert).settings(cfg).update(KEYS.get(expert, {}))
    return build_method(cfg, names, small_clip(double=True), NAMES + MORE).double()


def spread(method):
    """The method, with a router that sends images to different experts."""
    with torch.no_grad():
        method.router.weight.copy_(5 * torch.randn_like(method.router.weight))
    return method


@pytest.mark.parametrize("expert", KEYS)
def test_with_one_expert_it_is_the_method(expert):
    words, keys = "a photo of the dark", {"GROUPS": [["a photo of the dark {}."]], "TOP_K": 1, "TEXT_LOSS_WEIGHT": 0.0}
    mixture = mixed(expert, **keys)
    torch.manual_seed(0)
    cfg = config(expert, CTX_INIT=words, **KEYS[expert])
    alone = build_method(cfg, NAMES, small_clip(double=True), NAMES + MORE).double()
    assert {f"experts.0.{name}" for name in alone.learned_state()} | {"router.weight", "router.bias"} == set(
        mixture.learned_state()
    )
    for name, value in alone.learned_state().items():
        assert torch.equal(mixture.learned_state()[f"experts.0.{name}"], value)
    image = images(6)
    found, expected = mixture.loss(image, LABEL), alone.loss(image, LABEL)
    assert found["loss_gate"] == 0 and abs(found["loss"] - expected["loss"]) < 1e-9
    mixture.backward(found)
    alone.backward(expected)
    for name, p in alone.learned_parameters().items():
        assert (mixture.get_parameter(f"experts.0.{name}").grad - p.grad).abs().max() < 1e-9, name
    assert not mixture.router.weight.grad.any()
    with torch.no_grad():
        assert (mixture(image) - alone(image)).abs().max() < 1e-9


@pytest.mark.parametrize("expert, top_k", [("VPT", 1), ("MaPLe", 2), ("CoOp", 2)])
def test_an_image_is_encoded_once_for_each_chosen_expert_and_once_for_the_router(monkeypatch, expert, top_k):
    mixture, image, counts = spread(mixed(expert, TOP_K=top_k)), images(6), []
    encode = mixture.image_encoder._features
    monkeypatch.setattr(
        mixture.image_encoder, "_features", lambda image, parts: counts.append(len(image)) or encode(image, parts)
    )
    mixture.loss(image, LABEL)
    chosen = mixture.predict(image)["experts"]
    assert len(chosen.unique()) > 1
    of_experts = [int((chosen == e).any(1).sum()) for e in range(3)] if expert != "CoOp" else []
    assert sum(of_experts) == (0 if expert == "CoOp" else 6 * top_k)
    assert counts == 2 * [6, *filter(None, of_experts)]


def test_an_expert_that_no_image_chose_learns_from_texts_alone():
    mixture = mixed("MaPLe")
    with torch.no_grad():
        mixture.router.weight.zero_()
        mixture.router.bias.copy_(torch.tensor([1.0, 0.0, 2.0]))
    mixture.backward(mixture.loss(images(6), LABEL))
    first, unchosen = mixture.experts[0], mixture.experts[1]
    assert unchosen.proj.weight.grad is None and unchosen.ctx.grad.abs().max() > 0
    assert first.proj.weight.grad.abs().max() > 0


def test_experts_start_from_the_words_before_the_name():
    mixture = mixed("CoOp", GROUPS=[["a photo of a {}, a type of pet."], ["{} texture."]])
    clip = mixture.clip_model
    assert torch.equal(mixture.experts[0].ctx, words_context("a photo of a", clip))
    assert mixture.experts[1].ctx.shape == (16, 64)  # CoOp's noise


def test_experts_and_router_learn_at_their_rates():
    mixture = mixed("KgCoOp", ROUTER_LR_MULT=50.0)
    rates = {id(p): group["lr"] for group in mixture.parameter_groups(0.01) for p in group["params"]}
    assert len(rates) == len(mixture.learned_parameters()) == 3 + 2
    assert rates[id(mixture.router.weight)] == pytest.approx(0.5) and rates[id(mixture.experts[2].ctx)] == 0.01
    assert [group["lr"] for group in mixed("KgCoOp", ROUTER="random").parameter_groups(0.01)] == [0.01]


@pytest.mark.parametrize("expert", ["IVLP", "MaPLe"])
def test_the_structure_of_groups_and_experts_travels(expert):
    mixture = mixed(expert)
    cfg = with_structure(config("Mixture"), mixture.structure())
    again = build_method(cfg, [*NAMES, "violin"], small_clip(double=True)).double()
    again.load_learned_state(mixture.learned_state())
    with torch.no_grad():
        assert (again(images(2))[:, :3] - mixture(images(2))).abs().max() < 1e-9


def test_what_it_knows_and_whether_images_learn():
    assert mixed("KgCoOp").knowledge == ["groups of templates", "template of the dataset"]
    assert mixed("VPT").image_learns and not mixed("IVLP").image_learns
    assert mixed("VPT").routing_evidence({"image_features": torch.zeros(2, 4, 32)}, torch.zeros(2)) == {}
    noise = mixed("CoOp", GROUPS=[["{} texture."]], TOP_K=1)
    assert noise.bound_to_classes() is None


CHOICES = "expected one of CoOp, VPT, IVLP, MaPLe, KgCoOp, TCP$"


@pytest.mark.parametrize(
    "keys, message",
    [
        *(({"METHOD": name}, f"TRAINER.MIXTURE.METHOD is '{name}', {CHOICES}") for name in
          ("Co", "MoCoOp", "Mixture", "CoCoOp", "ProGrad", "PromptSRC", "LASP", "DePT", "CLIPLoRA", "MMA", "TwoSFS",
           "TipAdapter", "LinearProbe", "ZeroshotCLIP")),
        ({"TOP_K": 4}, "TRAINER.MIXTURE.TOP_K is 4, expected 1 to 3, the number of groups"),
        ({"GROUPS": [["a photo"]], "TOP_K": 1}, r'TRAINER.MIXTURE.GROUPS\[0\]: template "a photo" must hold'),
        ({"GROUP_NAMES": ["a"]}, "TRAINER.MIXTURE.GROUP_NAMES has 1 names, expected 3"),
        ({"ROUTER": "best"}, "TRAINER.MIXTURE.ROUTER is 'best', expected one of"),
    ],
)  # fmt: skip
def test_wrong_keys_are_one_line(keys, message):
    with pytest.raises(ConfigError, match=message) as error:
        build_method(config("Mixture", **({"GROUPS": GROUPS} | keys)), NAMES, small_clip())
    assert "\n" not in str(error.value)


def test_wrong_keys_of_the_expert_are_named():
    cfg = config("Mixture", METHOD="KgCoOp", GROUPS=GROUPS)
    cfg.TRAINER.KGCOOP.W = -1.0
    with pytest.raises(ConfigError, match="TRAINER.KGCOOP.W is -1.0"):
        build_method(cfg, NAMES, small_clip())
    with pytest.raises(ConfigError, match="expert 'group0' of Mixture: VPT .* needs a vision transformer"):
        build_method(config("Mixture", METHOD="VPT", GROUPS=GROUPS), NAMES, small_clip(vision="rn"))
    with pytest.raises(
        ConfigError, match="expert 'group1' of Mixture: 2 context vectors end within a word of 'a pixel"
    ):
        mixed("MaPLe", GROUPS=[["a photo of a {}."], ["a pixelated {}."]])
