import pytest
import torch
from torch import nn

from mocoop.engine.lite.config import get_cfg_default
from mocoop.errors import ConfigError
from mocoop.training.optimizer import build_optimizer


def optim_cfg(**changes):
    node = get_cfg_default().OPTIM
    for key, value in changes.items():
        node[key] = value
    return node


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


def test_groups_keep_their_own_rates():
    a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer([{"params": [a]}, {"params": [b], "lr": 0.5}], optim_cfg(LR=0.1))
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.5]


@pytest.mark.parametrize("name", ["adam", "amsgrad", "adamw", "radam"])
def test_eps_where_the_config_has_it(name):
    node = optim_cfg(NAME=name)
    assert build_optimizer(nn.Linear(2, 2).parameters(), node).param_groups[0]["eps"] == 1e-8
    node.EPS = 1e-3
    assert build_optimizer(nn.Linear(2, 2).parameters(), node).param_groups[0]["eps"] == 1e-3


def test_staged_rates_are_refused():
    with pytest.raises(ConfigError, match="OPTIM.STAGED_LR is True, expected False"):
        build_optimizer(nn.Linear(2, 2).parameters(), optim_cfg(STAGED_LR=True))


def test_unknown_optimiser():
    with pytest.raises(ConfigError, match='OPTIM.NAME: got "lion", expected one of adam, amsgrad, sgd'):
        build_optimizer(nn.Linear(1, 1).parameters(), optim_cfg(NAME="lion"))
