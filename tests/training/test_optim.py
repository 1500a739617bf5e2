"""Optimisers and schedules: Dassl's rates, and torch's own optimisers."""

import math

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from mocoop.engine.lite.config import get_cfg_default
from mocoop.errors import ConfigError
from mocoop.training.optim import build_lr_scheduler, build_optimizer


def optim_cfg(**changes):
    node = get_cfg_default().OPTIM
    node.LR, node.MAX_EPOCH, node.LR_SCHEDULER, node.WARMUP_TYPE = 0.002, 5, "cosine", "constant"
    for key, value in changes.items():
        node[key] = value
    return node


def optimizer_at(*rates):
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def rates_of(node, epochs, *base):
    """The rates of each group in each epoch."""
    optimizer = optimizer_at(*(base or (node.LR,)))
    return stepped(optimizer, build_lr_scheduler(optimizer, node), epochs)


def stepped(optimizer, scheduler, epochs):
    rates = []
    for _ in range(epochs):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


def cos(epoch, base=0.002, total=5):
    return base * (1 + math.cos(math.pi * epoch / total)) / 2


# Learning rates of Dassl 0.6.3 at LR 0.002 and MAX_EPOCH 5, first in the digits it prints, then exactly.
GOLDEN = [
    ("constant", 1, [1e-5, 0.002, 0.00180902, 0.00130902, 0.000690983], [1e-5, cos(0), cos(1), cos(2), cos(3)]),
    ("constant", 2, [1e-5, 1e-5, 0.002, 0.00180902, 0.00130902], [1e-5, 1e-5, cos(0), cos(1), cos(2)]),
    ("linear", 2, [1e-5, 0.001, 0.002, 0.00180902, 0.00130902], [1e-5, 0.001, cos(0), cos(1), cos(2)]),
]


@pytest.mark.parametrize("kind, length, printed, exact", GOLDEN)
def test_golden_rates(kind, length, printed, exact):
    rates = [rate for (rate,) in rates_of(optim_cfg(WARMUP_TYPE=kind, WARMUP_EPOCH=length), 5)]
    assert rates == pytest.approx(printed, rel=3e-6)
    assert rates == pytest.approx(exact, abs=1e-10)


SCHEDULES = {
    "cosine": ({}, lambda o: lr_scheduler.CosineAnnealingLR(o, 5.0)),
    "single_step": ({"STEPSIZE": (2,)}, lambda o: lr_scheduler.StepLR(o, 2, gamma=0.1)),
    "multi_step": ({"STEPSIZE": (1, 3, 3)}, lambda o: lr_scheduler.MultiStepLR(o, [1, 3, 3], gamma=0.1)),
}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_without_warmup_the_rates_are_torchs_and_without_recount_from_the_end_of_the_warmup(kind):
    """Torch's own schedule, its count set to the end of the warm-up while its rate is still the base rate."""
    settings, make = SCHEDULES[kind]
    for warmup in (0, 2):
        optimizer = optimizer_at(0.002)
        theirs = make(optimizer)
        theirs.last_epoch = warmup
        expected = [1e-5] * warmup + [rate for (rate,) in stepped(optimizer, theirs, 5 - warmup)]
        node = optim_cfg(LR_SCHEDULER=kind, WARMUP_EPOCH=warmup or -1, WARMUP_RECOUNT=False, **settings)
        assert [rate for (rate,) in rates_of(node, 5)] == pytest.approx(expected, abs=1e-10)


def test_each_group_keeps_its_own_base_rate():
    rates = rates_of(optim_cfg(WARMUP_EPOCH=1), 3, 0.002, 0.1)
    assert rates[0] == [1e-5, 1e-5]
    assert rates[1] == [0.002, 0.1]
    assert rates[2] == pytest.approx([cos(1), cos(1, base=0.1)])
    assert rates_of(optim_cfg(WARMUP_EPOCH=2, WARMUP_TYPE="linear"), 2, 0.002, 0.1)[1] == [0.001, 0.05]
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer([{"params": [a]}, {"params": [b], "lr": 0.5}], optim_cfg(LR=0.1))
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]


@pytest.mark.parametrize("stop", range(1, 5))
@pytest.mark.parametrize("kind", ["constant", "linear"])
def test_resuming_anywhere_gives_the_rates_of_an_unbroken_run(stop, kind):
    node = optim_cfg(WARMUP_TYPE=kind, WARMUP_EPOCH=2)
    expected = rates_of(node, 5, 0.002, 0.02)
    optimizer, fresh = optimizer_at(0.002, 0.02), optimizer_at(0.002, 0.02)
    scheduler, resumed = build_lr_scheduler(optimizer, node), build_lr_scheduler(fresh, node)
    stepped(optimizer, scheduler, stop)
    fresh.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    assert stepped(fresh, resumed, 5 - stop) == expected[stop:]


def test_single_step_reads_the_last_stepsize_and_defaults_to_no_step():
    node = optim_cfg(LR_SCHEDULER="single_step", STEPSIZE=(1, 2), WARMUP_EPOCH=-1)
    assert [rate for (rate,) in rates_of(node, 3)] == pytest.approx([0.002, 0.002, 0.0002])
    node = optim_cfg(LR_SCHEDULER="single_step", STEPSIZE=(-1,), WARMUP_EPOCH=-1)
    assert [rate for (rate,) in rates_of(node, 5)] == [0.002] * 5
    for kind in ("cosine", "single_step"):  # no epoch at all is allowed
        assert rates_of(optim_cfg(MAX_EPOCH=0, LR_SCHEDULER=kind), 0) == []


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"LR_SCHEDULER": "cosin"}, 'OPTIM.LR_SCHEDULER: got "cosin", expected one of single_step'),
        ({"WARMUP_EPOCH": 1, "WARMUP_TYPE": "slow"}, 'OPTIM.WARMUP_TYPE: got "slow", expected one of constant, linear'),
        ({"LR_SCHEDULER": "multi_step", "STEPSIZE": 3}, "OPTIM.STEPSIZE: got 3, expected a list"),
        ({"LR_SCHEDULER": "single_step", "STEPSIZE": (0.5,)}, r"OPTIM.STEPSIZE: got \(0.5,\), expected a whole number"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_lr_scheduler(optimizer_at(0.1), optim_cfg(**changes))


@pytest.mark.parametrize(
    "name, kind, expected",
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.7, "dampening": 0, "nesterov": True}),
        ("adam", torch.optim.Adam, {"betas": (0.8, 0.99), "amsgrad": False}),
        ("amsgrad", torch.optim.Adam, {"betas": (0.8, 0.99), "amsgrad": True}),
        ("adamw", torch.optim.AdamW, {"betas": (0.8, 0.99)}),
        ("radam", torch.optim.RAdam, {"betas": (0.8, 0.99), "decoupled_weight_decay": True}),
        ("rmsprop", torch.optim.RMSprop, {"momentum": 0.7, "alpha": 0.95}),
    ],
)
def test_settings_reach_each_optimiser(name, kind, expected):
    node = optim_cfg(
        NAME=name, LR=0.01, WEIGHT_DECAY=0.2, MOMENTUM=0.7, SGD_NESTEROV=True, RMSPROP_ALPHA=0.95, ADAM_BETA1=0.8,
        ADAM_BETA2=0.99,
    )  # fmt: skip
    optimizer = build_optimizer(nn.Linear(2, 2).parameters(), node)
    assert type(optimizer) is kind
    group = optimizer.param_groups[0]
    expected = {"lr": 0.01, "weight_decay": 0.2, **expected}
    assert {key: group[key] for key in expected} == expected
    assert len(group["params"]) == 2


@pytest.mark.parametrize("name", ["adam", "amsgrad", "adamw", "radam"])
def test_eps_where_the_config_has_it(name):
    node = optim_cfg(NAME=name)
    assert build_optimizer(nn.Linear(2, 2).parameters(), node).param_groups[0]["eps"] == 1e-8
    node.EPS = 1e-3
    assert build_optimizer(nn.Linear(2, 2).parameters(), node).param_groups[0]["eps"] == 1e-3


def test_unknown_optimisers_and_staged_rates_are_refused():
    with pytest.raises(ConfigError, match="OPTIM.STAGED_LR is True, expected False"):
        build_optimizer(nn.Linear(2, 2).parameters(), optim_cfg(STAGED_LR=True))
    with pytest.raises(ConfigError, match='OPTIM.NAME: got "lion", expected one of adam, amsgrad, sgd'):
        build_optimizer(nn.Linear(1, 1).parameters(), optim_cfg(NAME="lion"))
