"""CLIP's weights in the wrappers and under the prefixes that people have them in; what holds none is one line."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from yacs.config import CfgNode

from mocoop.backbone import load_clip
from mocoop.errors import CheckpointError
from tests.small_clip import small_clip


def load(path):
    return load_clip(CfgNode({"MODEL": {"BACKBONE": {"NAME": str(path), "ACTIVATION": "quick_gelu"}}}))


def state():
    return small_clip().state_dict()


def prefixed(prefix):
    return {prefix + name: value for name, value in state().items()}


HELD = {
    "state_dict": lambda: {"state_dict": state(), "epoch": 3},
    "model_state_dict": lambda: {
        "model_state_dict": state(),
        "optimizer_state_dict": {"state": {}, "param_groups": []},
    },
    "model": lambda: {"model": state()},
    "twice": lambda: {"checkpoint": {"net": state()}},
    "an average too": lambda: {"state_dict": state(), "state_dict_ema": {k: v + 1 for k, v in state().items()}},
    "module.": lambda: prefixed("module."),
    "lightning": lambda: {"state_dict": prefixed("model.clip."), "hyper_parameters": {"lr": 0.1}},
    "compiled": lambda: {"model": prefixed("_orig_mod.module.")},
    "beside a head": lambda: prefixed("clip_model.") | {"classifier.weight": torch.zeros(3, 32)},
}


@pytest.mark.parametrize("how", HELD)
def test_a_clip_is_found_in_whatever_holds_it(tmp_path, how):
    torch.save(HELD[how](), tmp_path / "clip.pth")
    loaded, own = load(tmp_path / "clip.pth"), state()
    assert loaded.state_dict().keys() == own.keys()
    assert all(torch.equal(value, own[name]) for name, value in loaded.state_dict().items())


def refusal(path) -> str:
    with pytest.raises(CheckpointError) as error:
        load(path)
    line = str(error.value)
    assert "\n" not in line and "\x1b" not in line and "\\x1b" not in line and len(line) < 400
    return line


def test_a_pickled_module_is_one_line(tmp_path):
    for name, held in {"module.pt": nn.Linear(2, 2), "inside.pt": {"model": nn.Linear(2, 2)}}.items():
        torch.save(held, tmp_path / name)
        line = refusal(tmp_path / name)
        assert 'holds an object "torch.nn.modules.linear.Linear"' in line and "save its state_dict() instead" in line


def test_what_holds_no_clip_says_what_it_holds(tmp_path):
    torch.save({"fc.weight": torch.zeros(3), "fc.bias": torch.zeros(3)}, tmp_path / "other.pth")
    assert "holds no CLIP weights: found fc.weight, fc.bias, expected OpenAI's names" in refusal(tmp_path / "other.pth")
    torch.save([1], tmp_path / "list.pth")
    assert "found a list" in refusal(tmp_path / "list.pth")
    torch.save({"visual.trunk.pos_embed": torch.zeros(3)}, tmp_path / "timm.pth")
    assert "name which, such as open_clip:" in refusal(tmp_path / "timm.pth")


def test_a_name_that_is_no_word_is_refused(tmp_path):
    torch.save(state() | {3: torch.zeros(2)}, tmp_path / "odd.pth")
    assert "is not a complete CLIP: 3 is no dense tensor" in refusal(tmp_path / "odd.pth")


def test_two_clips_are_not_guessed_among(tmp_path):
    torch.save(prefixed("student.") | prefixed("teacher."), tmp_path / "two.pth")
    assert "holds 2 CLIPs (the file: student.*, the file: teacher.*), expected one" in refusal(tmp_path / "two.pth")


def test_a_text_tower_of_another_length_is_refused_when_it_is_loaded(tmp_path):
    longer = state() | {"positional_embedding": torch.zeros(248, 64)}
    torch.save(longer, tmp_path / "long.pth")
    assert "its texts have 248 tokens, expected 77" in refusal(tmp_path / "long.pth")


def test_a_folder_without_weights_says_what_it_lacks(tmp_path):
    assert "holds no weights, expected model.safetensors or pytorch_model.bin" in refusal(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}))
    assert "is no index of weights: it names no files beside it" in refusal(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "1.safetensors"}}))
    assert "names 1.safetensors, which is not there" in refusal(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    (tmp_path / "open_clip_config.json").write_text("{}")
    assert f"name it open_clip:local-dir:{tmp_path}" in refusal(tmp_path)


def test_one_part_of_several_is_no_clip(tmp_path):
    save_file({"text_projection": torch.zeros(3)}, tmp_path / "model-00002-of-00002.safetensors")
    assert "is one part of a CLIP's weights: name its folder" in refusal(tmp_path / "model-00002-of-00002.safetensors")
