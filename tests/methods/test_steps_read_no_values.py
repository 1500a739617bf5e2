"""A training step of every method on a device without values: whatever the host would wait for raises there."""

import copy

import pytest
import torch
from yacs.config import CfgNode

from mocoop import registry
from mocoop.methods import build_method
from mocoop.methods.base import PromptMethod
from mocoop.registry import load_plugin
from mocoop.training.learner import Precision, left_alone
from mocoop.training.optim import build_optimizer
from tests.methods.test_coop_and_cocoop import SMALL, config
from tests.shipped import ROOT, STEPPING
from tests.small_clip import small_clip

OPTIM = CfgNode(
    {"NAME": "sgd", "LR": 0.01, "WEIGHT_DECAY": 5e-4, "MOMENTUM": 0.9, "SGD_DAMPNING": 0, "SGD_NESTEROV": False}
    | {"STAGED_LR": False}
)
NAMES = ["cat", "oak tree", "dog", "hot air balloon"]
VARIANTS = [
    *((name, SMALL.get(name, {})) for name in STEPPING),
    ("CoOp", {"CSC": True, "TEXT_CHUNK": 3}),
    ("MoCoOp", {"TEXT_LOSS_EXPERTS": "chosen"}),
    ("DePT", {"BASE": "CoOp"}),
    ("Mixture", {"METHOD": "KgCoOp"}),
]


@pytest.mark.parametrize("name, keys", VARIANTS, ids=lambda value: value if isinstance(value, str) else None)
def test_a_step_reads_no_value(name, keys):
    assert_reads_no_value(name, **keys)


def test_nor_does_the_example_of_a_method_of_ones_own(monkeypatch):
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))  # it is of this test alone
    load_plugin(ROOT / "examples/feature_shift.py")
    assert_reads_no_value("FeatureShift")


def test_a_method_that_looks_at_a_value_is_found():
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        torch.ones(3, device="meta").max().item()


def assert_reads_no_value(name: str, **keys) -> None:
    torch.manual_seed(0)
    method = build_method(config(name, **keys), NAMES, small_clip()).train()
    image, label = torch.randn(4, 3, 32, 32), torch.tensor([0, 3, 1, 2])
    method.backward(method.loss(image, label))  # computes what is frozen
    stages = range(len(method.stages) + 1)
    for stage in stages:
        if stage:
            method.start_stage(stage)
        elsewhere = on_meta(method)
        optimizer = build_optimizer(elsewhere.parameter_groups(0.01), OPTIM)
        precision = Precision("fp32", torch.device("meta"))
        for _ in range(2):
            optimizer.zero_grad()
            parts = elsewhere.loss(image.to("meta"), label.to("meta"))
            precision.backward(elsewhere, parts)
            with left_alone(optimizer, elsewhere.resting()):
                precision.update(elsewhere, optimizer, clip_norm=1.0)
        assert parts["loss"].device.type == "meta"
        assert any(p.grad is not None for p in elsewhere.learned_parameters().values())


def on_meta(method: PromptMethod) -> PromptMethod:
    """A copy on the `meta` device, with what it has computed once."""
    elsewhere = copy.deepcopy(method).to("meta")
    for module in elsewhere.modules():
        if isinstance(module, PromptMethod):
            module._frozen = {name: value.to("meta") for name, value in module._frozen.items()}
    return elsewhere
