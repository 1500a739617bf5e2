"""What a checkpoint holds: classes are found by their names, and what does not fit is one line."""

import pytest
import torch
from yacs.config import CfgNode

from mocoop.errors import CheckpointError
from mocoop.methods import build_method, extend_cfg
from mocoop.training.checkpoint import load_checkpoint
from mocoop.training.run_state import check_classes, describe_method, load_weights, restore
from tests.small_clip import small_clip

TRAINED, OTHERS = ["cat", "oak tree", "violin"], ["violin", "cat", "oak tree"]
CSC = {"COOP": {"CSC": True, "N_CTX": 2}}
METHODS = {
    "CoOp": CSC,
    "DePT": CSC | {"DEPT": {"BASE": "CoOp"}},
    "Mixture": CSC | {"MIXTURE": {"METHOD": "CoOp", "GROUPS": [["{} in the dark."], ["{} blurred."]]}},
}


def build(name, classnames, seed=0):
    cfg = CfgNode({"TRAINER": {"NAME": name}, "DATASET": {"NAME": "OxfordPets"}, "TRAIN": {}, "TEST": {}})
    cfg.MODEL = CfgNode({"BACKBONE": {"NAME": "small"}})
    extend_cfg(cfg)
    for node, values in METHODS[name].items():
        cfg.TRAINER[node].merge_from_other_cfg(CfgNode(values))
    torch.manual_seed(seed)
    return cfg, build_method(cfg, classnames, small_clip(), TRAINED).eval()


def checkpoint_of(name):
    cfg, method = build(name, TRAINED)
    return method, {"epoch": 1, "state_dict": method.learned_state(), "method": describe_method(cfg, method)}


def logits(method):
    torch.manual_seed(5)
    with torch.no_grad():
        return method(torch.randn(2, 3, 32, 32))


@pytest.mark.parametrize("wanted", [OTHERS, TRAINED[1:], TRAINED])
def test_contexts_follow_their_classes(wanted):
    method, checkpoint = checkpoint_of("CoOp")
    _, other = build("CoOp", wanted, seed=1)
    check_classes(other, checkpoint, "x.pth")
    load_weights(other, checkpoint, "x.pth")
    assert torch.allclose(logits(other), logits(method)[:, [TRAINED.index(name) for name in wanted]], atol=1e-5)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "CoOp"])
def test_so_do_those_of_a_method_within_another(name):
    method, checkpoint = checkpoint_of(name)
    _, other = build(name, OTHERS, seed=1)
    assert other.bound_to_classes()
    names = [key for key in checkpoint["state_dict"] if key.endswith("ctx")]
    load_weights(other, checkpoint, "x.pth")
    for key in names:
        assert torch.equal(other.learned_state()[key], checkpoint["state_dict"][key][[2, 0, 1]]), key
    assert names


def test_classes_of_one_name_keep_their_order():
    cfg, method = build("CoOp", ["cat", "crane", "crane"])
    found = method.rows_of_classes({"ctx": torch.arange(3)}, ["crane", "crane", "cat"])
    assert found["ctx"].tolist() == [2, 0, 1]


def test_other_classes_are_named_beside_those_that_were_trained():
    _, checkpoint = checkpoint_of("CoOp")
    _, other = build("CoOp", ["cat", "dog"])
    expected = (
        "a context for each trained class .*, of which there are 3, and none for other class names, such as 'dog'$"
    )
    with pytest.raises(CheckpointError, match=expected):
        check_classes(other, checkpoint, "x.pth")


def more_groups(checkpoint):
    checkpoint["optimizer"]["param_groups"].append(dict(checkpoint["optimizer"]["param_groups"][0]))


def no_scheduler(checkpoint):
    del checkpoint["scheduler"]


def fewer_contexts(checkpoint):
    checkpoint["state_dict"]["ctx"] = checkpoint["state_dict"]["ctx"][:2]


@pytest.mark.parametrize(
    "change, message",
    [
        (more_groups, "made with other settings: the state of its optimizer does not"),
        (no_scheduler, "has no scheduler state, expected a checkpoint of this trainer"),
        (fewer_contexts, "ctx"),
    ],
)
def test_a_state_that_does_not_fit_is_one_line(trained_runs, change, message):
    path, learner = trained_runs.of("coop") / "prompt_learner/model.pth.tar-1", trained_runs.trainer("coop").learner
    checkpoint = load_checkpoint(path)
    change(checkpoint)
    with pytest.raises(CheckpointError, match=message) as caught:
        restore(learner.method, learner.stateful_parts(), checkpoint, path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
