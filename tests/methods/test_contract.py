"""What base.py promises to whoever holds a method: what is final and derived, and what is checked at the first step."""

import pytest
import torch
from torch import nn

from mocoop import registry
from mocoop.clip.tower_parts import TowerParts
from mocoop.engine import get_cfg_default
from mocoop.errors import ConfigError, TrainingError
from mocoop.methods import PromptMethod, build_method, extend_cfg, get_method
from mocoop.methods.keys import common_keys
from mocoop.methods.mocoop.routed import RoutedMethod
from mocoop.registry import register_method
from mocoop.training.learner import Learner, Precision
from tests.methods.test_coop_and_cocoop import config
from tests.small_clip import small_clip

NAMES = ["cat", "oak tree", "crane"]
IMAGE, LABEL = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 2, 1, 2])


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))


class Text(PromptMethod):
    """Class features that learn; its images are CLIP's."""

    def setup(self) -> None:
        self.text = nn.Parameter(torch.randn(len(self.classnames), self.clip_model.embed_dim))

    def encode_classes(self):
        return nn.functional.normalize(self.text, dim=-1)


def built(method: type[PromptMethod], names=NAMES, about=None, **keys):
    about = {"node": "OWN", "keys": common_keys("fp32"), "published": "2026-11", "title": "", **(about or {})}
    register_method("Own", **about)(method)
    torch.manual_seed(0)
    return build_method(config("Own", **keys), names, small_clip())


# --- image features -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, instead",
    [
        ("image_features", "transform_image"),
        ("raw_image_features", "transform_image"),
        ("image_learns", "follows from"),
        ("takes_clip_features", "follows from"),
        ("forward", "override predict"),
    ],
)
def test_what_is_final_is_not_overridden(name, instead):
    with pytest.raises(
        ConfigError, match=rf"^Shift \(.*test_contract.py\) overrides {name}, which is final: .*{instead}"
    ):
        type("Shift", (Text,), {name: lambda self, image: image, "__module__": __name__})
    mixin = type("Mixin", (), {name: lambda self, image: image})
    with pytest.raises(ConfigError, match="is final"):
        type("Shift", (mixin, Text), {"__module__": __name__})


def test_nor_set_on_the_method():
    class Sets(Text):
        def setup(self):
            super().setup()
            self.image_features = lambda image: image

    with pytest.raises(ConfigError, match="Sets .* sets image_features, which is final: override transform_image"):
        built(Sets)


def test_nor_is_the_encoder_that_they_are_from():
    class Sets(Text):
        def setup(self):
            super().setup()
            self.image_encoder = lambda image, parts=None: self.clip_model.visual(image) + 1

    with pytest.raises(ConfigError, match="Sets .* has the image encoder .*, expected image_parts instead"):
        built(Sets)


def own(**parts):
    return type("Own", (Text,), parts | {"__module__": __name__})


class Shift(Text):
    def transform_image(self, features):
        with torch.no_grad():  # as an averaged teacher's: nothing of it has a gradient
            return features + self.text[0]


class FixedParts(Text):
    def image_parts(self):
        return TowerParts(tokens=torch.ones(2, 64))


class OwnPredict(Text):
    def predict(self, image):
        return self.predict_features(2 * self.image_features(image))


class FixedMap(PromptMethod):
    def encode_classes(self):
        return torch.eye(3, 32)

    def transform_image(self, features):
        return features.flip(-1)


@pytest.mark.parametrize(
    "method, learns, takes_clip",
    [
        (Text, False, True),
        (Shift, True, True),
        (FixedParts, True, False),
        (OwnPredict, False, False),
        (FixedMap, False, True),
    ],
)
def test_what_the_image_features_depend_on_is_derived(method, learns, takes_clip):
    method = built(method)
    assert (method.image_learns, method.takes_clip_features) == (learns, takes_clip)
    with torch.no_grad():
        assert (method.image_learns, method.takes_clip_features) == (learns, takes_clip)


def test_they_still_depend_on_what_an_earlier_stage_learned():
    method = build_method(config("TwoSFS"), NAMES, small_clip())
    assert method.image_learns and method.image_features(IMAGE).requires_grad
    method.start_stage(1)
    assert method.image_learns and not method.takes_clip_features and not method.image_features(IMAGE).requires_grad


def test_a_map_behind_the_tower_is_trained_and_builds_no_graph_of_the_tower():
    class Map(Text):
        def transform_image(self, features):
            assert not features.requires_grad
            return features + self.text[0]

    method = built(Map)
    features = method.image_features(IMAGE)
    assert features.requires_grad and torch.allclose(features.norm(dim=-1), torch.ones(4))
    method.loss(IMAGE, LABEL)["loss"].backward()
    assert method.text.grad[0].abs().sum() > 0


def test_several_vectors_of_an_image():
    class Several(Text):
        extra_vectors = 2

        def extra_image_features(self, image, features):
            return features.unsqueeze(1).expand(-1, 2, -1) * 3

        def predict_features(self, image_features):
            assert image_features.shape == (4, 3, 32)
            return super().predict_features(image_features.sum(1))

    method = built(Several)
    assert method.image_learns and not method.takes_clip_features
    expected = 7 * method.logit_scale * method.frozen_image_features(IMAGE) @ method.encode_classes().t()
    assert torch.allclose(method(IMAGE), expected, rtol=1e-4)


def test_several_rows_of_an_image_are_read_in_one_pass(monkeypatch):
    class Rows(Text):
        extra_vectors, image_rows = 1, (2, 3)

        def features_of_rows(self, states):
            assert states.shape == (4, 2, 64)
            return self.image_encoder.project(states).mean(1, keepdim=True)

        def predict_features(self, image_features):
            return super().predict_features(image_features[:, 1])

    method, passes = built(Rows), []
    states = method.image_encoder.states(IMAGE, read=(0, 2, 3))
    monkeypatch.setattr(method.image_encoder, "states", lambda image, parts, read: passes.append(read) or states)
    found = method.image_features(IMAGE)
    assert passes == [(0, 2, 3)] and torch.allclose(found[:, 0], method.frozen_image_features(IMAGE), atol=1e-6)
    assert torch.allclose(found[:, 1], method.image_encoder.project(states[:, 1:]).mean(1))


# --- what is returned -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "returned, found",
    [
        (lambda m: torch.zeros(()), r"a tensor of shape \(\)"),
        (lambda m: {"total": m.text.sum()}, "a dict of 'total'"),
        (lambda m: {"loss": m.text.sum(), "acc": 12.5}, "12.5 under 'acc', expected a tensor of one number"),
        (lambda m: {"loss": m.text}, r"a tensor of shape \(3, 32\) under 'loss'"),
        (lambda m: {"loss": torch.tensor(1.0)}, "a number that depends on nothing that learns"),
    ],
)
def test_what_is_no_loss_is_named_at_the_first_step(returned, found):
    method = built(own(loss=lambda self, image, label: returned(self)))
    with pytest.raises(TrainingError, match=rf"^the loss of Own \(.*test_contract.py\) is {found}"):
        method.loss(IMAGE, LABEL)


@pytest.mark.parametrize(
    "predicted, found",
    [
        (lambda m: torch.zeros(4, 3), r"is a tensor of shape \(4, 3\), expected a dict with \"logits\""),
        (lambda m: {"scores": 1}, "is a dict of 'scores', expected"),
        (lambda m: {"logits": torch.zeros(4, 2)}, r"have the shape \(4, 2\), expected .* \(4, 3\)"),
    ],
)
def test_what_is_no_prediction_is_named(predicted, found):
    method = built(own(predict=lambda self, image: predicted(self)))
    with pytest.raises(TrainingError, match=rf"of Own \(.*test_contract.py\) {found}"):
        method.loss(IMAGE, LABEL)


@pytest.mark.parametrize(
    "name, value, expected",
    [
        ("knowledge", property(lambda self: "an LLM"), "knowledge of .* is 'an LLM', expected a list of texts"),
        ("bound_to_classes", lambda self: True, "is True, expected a text or None"),
        ("structure", lambda self: ["A"], "is .'A'., expected a dict"),
    ],
)
def test_what_a_method_says_of_itself_is_judged_when_it_is_built(name, value, expected):
    with pytest.raises(ConfigError, match=expected):
        built(own(**{name: value}))


# --- after each step ------------------------------------------------------------------------------------------------


class Average(Text):
    def setup(self):
        super().setup()
        self.register_buffer("teacher", self.text.detach().clone())

    def after_step(self):
        self.teacher.lerp_(self.text.detach(), 0.5)


def learning_config():
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.TRAINER.NAME, cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.WARMUP_EPOCH = "Own", "sgd", 0.1, -1
    return cfg


def test_a_teacher_is_averaged_after_each_step_of_the_learner():
    method = built(Average).train()
    before = method.text.detach().clone()
    learner = Learner(learning_config(), method, Precision("fp32", torch.device("cpu")), batches=2)
    learner.step({"img": IMAGE, "label": LABEL, "impath": [""] * 4}, "a test")
    assert not torch.equal(method.text, before)
    assert torch.allclose(method.teacher, (before + method.text) / 2)


def test_what_rests_is_left_alone_by_the_learner(monkeypatch):
    method = built(Average).train()
    before = method.text.detach().clone()
    monkeypatch.setattr(Average, "resting", lambda self: {self.text: torch.tensor(True)})
    learner = Learner(learning_config(), method, Precision("fp32", torch.device("cpu")), batches=2)
    learner.step({"img": IMAGE, "label": LABEL, "impath": [""] * 4}, "a test")
    assert torch.equal(method.text, before)


@pytest.mark.parametrize("holder", ["DePT", "Mixture"])
def test_a_method_that_holds_another_passes_it_on(holder, monkeypatch):
    called = []
    monkeypatch.setattr(get_method("CoOp").build, "after_step", lambda self: called.append(self), raising=False)
    monkeypatch.setattr(get_method("CoOp").build, "resting", lambda self: {self.ctx: torch.tensor(True)})
    keys = {"BASE": "CoOp"} if holder == "DePT" else {"METHOD": "CoOp", "GROUPS": [["a {}."], ["the {}."]]}
    method = build_method(config(holder, **keys), NAMES, small_clip())
    method.after_step()
    held = list(method.experts) if isinstance(method, RoutedMethod) else [method.base]
    assert called == held
    assert set(method.resting()) == {one.ctx for one in held}


# --- the trained classes --------------------------------------------------------------------------------------------


class Head(Text):
    def setup(self):
        self.text = nn.Parameter(torch.randn(len(self.trained_classnames), self.clip_model.embed_dim))

    def encode_classes(self):
        return nn.functional.normalize(self.text[self.rows], dim=-1)


def test_trained_classnames_take_one_word():
    trained = built(Head, about={"trained_classes": True})
    assert trained.trained_classnames == NAMES and trained.structure() == {"HEAD_CLASSES": NAMES}
    other = build_method(config("Own", HEAD_CLASSES=tuple(NAMES)), ["crane", "violin", "cat"], small_clip())
    other.load_learned_state(trained.learned_state())
    assert other.rows.tolist() == [2, -1, 0] and other.structure() == trained.structure()
    assert torch.equal(other(IMAGE)[:, [0, 2]], trained(IMAGE)[:, [2, 0]])


def test_without_it_they_are_not_guessed():
    with pytest.raises(ConfigError, match="Own asks for trained_classnames, expected trained_classes=True"):
        built(Head)
