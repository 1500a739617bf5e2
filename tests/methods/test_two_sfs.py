"""2SFS's second stage: what starts it, what learns in it, and whose row of the head is whose."""

import pytest
import torch
from torch.nn import functional as F

from mocoop.errors import CheckpointError
from mocoop.methods import build_method
from mocoop.training.optim import build_lr_scheduler
from tests.methods import naive
from tests.methods.test_against_naive import NAMES, build, gradients
from tests.methods.test_coop_and_cocoop import config
from tests.training.test_optim import optim_cfg, optimizer_at

IMAGE, LABEL = torch.randn(4, 3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), [0, 2, 1, 2]


def in_second_stage():
    method = build("TwoSFS")
    method.start_stage(1)
    with torch.no_grad():
        method.head.add_(0.05 * torch.randn_like(method.head))
    return method


def test_the_head_starts_as_the_tuned_text():
    method = build("TwoSFS")
    with torch.no_grad():
        text = method.encode_classes()
        method.start_stage(1)
        assert torch.allclose(method.head, text) and torch.allclose(method.encode_classes(), text)


def test_the_head_alone_learns_in_it():
    method, batch = in_second_stage(), (IMAGE, torch.tensor(LABEL))
    expected, found = naive.two_sfs(method, *batch, NAMES, [])["loss"], method.loss(*batch)["loss"]
    assert abs(found.item() - expected.item()) < 1e-9
    assert (gradients(found, method)["head"] - gradients(expected, method)["head"]).abs().max() < 1e-7
    method.backward(method.loss(*batch))
    assert [name for name, p in method.learned_parameters().items() if p.grad is not None] == ["head"]


def test_classes_that_the_head_knows_have_its_rows_and_others_are_text():
    trained = in_second_stage()
    cfg, names = config("TwoSFS", HEAD_CLASSES=tuple(NAMES)), ["violin", NAMES[2], NAMES[0]]
    other = build_method(cfg, names, trained.clip_model).double()
    other.load_learned_state(trained.learned_state())
    with torch.no_grad():
        text = other.class_features()
        other.load_extra_state(trained.extra_state())
        found, head = other.class_features(), F.normalize(trained.head, dim=-1)
    assert torch.allclose(found[0], text[0]) and torch.allclose(found[1:], head[[2, 0]])
    assert not torch.allclose(found[1:], text[1:], atol=1e-3)


def test_a_stage_that_there_is_not_is_refused():
    with pytest.raises(CheckpointError, match="the stage of TwoSFS is 2, expected 0 or 1"):
        build("TwoSFS").load_extra_state({"stage": 2})


def test_the_rate_falls_anew_in_each_stage():
    optimizer, total = optimizer_at(0.01), 10
    scheduler = build_lr_scheduler(optimizer, optim_cfg(MAX_EPOCH=total, WARMUP_EPOCH=-1), stages=(0.65,))
    found, stages = [], []
    for _ in range(total):
        found.append(optimizer.param_groups[0]["lr"])
        stages.append(scheduler.stage)
        optimizer.step()
        scheduler.step()
    expected = []
    for length in (6, 4):
        own = optimizer_at(0.01)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(own, length)
        for _ in range(length):
            expected.append(own.param_groups[0]["lr"])
            own.step()
            cosine.step()
    assert found == pytest.approx(expected) and stages == [0] * 6 + [1] * 4
