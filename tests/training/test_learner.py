"""Precisions: what runs on a CPU, and what is said of it; and what rests in a step."""

import logging

import pytest
import torch

from mocoop.methods import build_method
from mocoop.training.learner import Precision, left_alone
from mocoop.training.optim import build_optimizer
from tests.methods.test_against_naive import REFERENCES
from tests.methods.test_coop_and_cocoop import SMALL, config
from tests.shipped import STEPPING
from tests.small_clip import small_clip
from tests.training.test_optim import optim_cfg

CPU = torch.device("cpu")


@pytest.mark.parametrize("asked, used", [("fp32", "fp32"), ("bf16", "bf16"), ("fp16", "fp32"), ("amp", "fp32")])
def test_what_runs_on_a_cpu(asked, used, caplog):
    caplog.set_level(logging.INFO, "mocoop")
    assert Precision(asked, CPU).used == used
    lines = [record.message for record in caplog.records]
    assert lines == ([] if asked == used else [f"PREC {asked} needs a GPU: on the CPU it runs as fp32"])


@pytest.mark.parametrize(
    "prec, test, tested",
    [("bf16", "peers", "fp32"), ("bf16", "train", "bf16"), ("fp32", "peers", "fp32"), ("amp", "train", "fp32")],
)
def test_a_method_is_tested_as_its_peers_are_unless_asked_otherwise(prec, test, tested):
    precision = Precision(prec, CPU, test)
    assert precision.tested == tested
    with precision.autocast(testing=True):
        assert torch.is_autocast_enabled("cpu") is (tested == "bf16")
    with precision.autocast():
        assert torch.is_autocast_enabled("cpu") is (prec == "bf16")
    on_gpu = torch.device("cuda")  # half-precision weights are tested as they are
    assert [Precision(asked, on_gpu).tested for asked in ("fp16", "amp")] == ["fp16", "fp32"]


@pytest.mark.parametrize("trainer, prec", [("CoOp", "amp"), *((trainer, "bf16") for trainer in STEPPING)])
def test_a_step_changes_what_learns_and_is_near_fp32(trainer, prec):
    torch.manual_seed(0)
    cfg = config(trainer, **(SMALL.get(trainer, {}) | REFERENCES.get(trainer, (None, {}))[1]))
    method = build_method(cfg, ["cat", "oak tree", "dog"], small_clip()).train()
    image, label = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    torch.manual_seed(1)
    exact = method.loss(image, label)["loss"]
    precision = Precision(prec, CPU)
    optimizer = torch.optim.SGD(method.parameter_groups(0.1), lr=0.1)
    before = method.learned_state()
    torch.manual_seed(1)
    with precision.autocast():
        parts = method.loss(image, label)
    precision.backward(method, parts)
    precision.update(method, optimizer, clip_norm=1.0)
    assert parts["loss"].item() == pytest.approx(exact.item(), rel=0.05)
    assert any(not torch.equal(value, before[name]) for name, value in method.learned_state().items())


def test_the_gradient_is_clipped():
    method = torch.nn.Linear(2, 1, bias=False)
    before = method.weight.detach().clone()
    (100 * method(torch.ones(1, 2)).sum()).backward()
    Precision("fp32", CPU).update(method, torch.optim.SGD(method.parameters(), lr=1.0), clip_norm=1.0)
    assert float((method.weight.detach() - before).norm()) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_class_features_are_those_of_the_weights_after_each_step(fused):
    torch.manual_seed(0)
    method = build_method(config("CoOp"), ["cat", "oak tree", "dog"], small_clip()).train()
    optimizer = torch.optim.SGD(method.parameter_groups(0.1), lr=0.1, fused=fused)
    with torch.no_grad():
        before = method.class_features()
    precision = Precision("fp32", CPU)
    precision.backward(method, method.loss(torch.randn(3, 3, 32, 32), torch.arange(3)))
    precision.update(method, optimizer)
    with torch.no_grad():
        assert torch.equal(method.class_features(), method.encode_classes())
        assert not torch.equal(method.class_features(), before)


@pytest.mark.parametrize(
    "changes",
    [{}, {"SGD_NESTEROV": True}, {"MOMENTUM": 0.0}, {"NAME": "rmsprop"}],
    ids=["sgd", "nesterov", "plain sgd", "rmsprop"],
)
def test_what_rests_is_as_without_a_gradient(changes):
    """Weights and averages, also of what rests in the first step, when it has no averages yet."""
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(size, generator=generator) for size in ((2, 3), (4,), ())]
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in start] for _ in range(2))
    node = optim_cfg(LR=0.3, **({"NAME": "sgd"} | changes))
    mine, reference = build_optimizer(ours, node), build_optimizer(theirs, node)
    for rests in ((True, False), (False, True), (True, True), (False, False), (True, False)):
        for a, b, rest in zip(ours, theirs, (*rests, False)):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = None if rest else a.grad.clone()
            a.grad *= not rest
        with left_alone(mine, {p: torch.tensor(rest) for p, rest in zip(ours, rests)}):
            mine.step()
        reference.step()
        assert all(map(torch.equal, ours, theirs))
