"""METHODS.md: a section for each method, with the numbers of values that learn and the published averages."""

import re
from pathlib import Path

import pytest
import torch
from yacs.config import CfgNode

from mocoop.clip.openai import CLIP
from mocoop.methods import build_method, extend_cfg, get_method
from mocoop.registry import listed
from mocoop.results.published import AVERAGE, load_published, published_method

TEXT = (Path(__file__).parents[2] / "METHODS.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, flags=re.M | re.S))
LEARN = {  # ViT-B/16, from the released codes
    "KgCoOp": 2_048,
    "ProGrad": 8_192,
    "LASP": 39_424,
    "MaPLe": 3_555_072,
    "CoPrompt": 3_555_072 + 262_144,
    "SkipTuning": 62_099_456,
    "IVLP": 30_720,
    "VPT": 73_728,
    "PromptSRC": 46_080,
    "TCP": 331_904,
    "DeKg": 2_048,
    "DeKgTCP": 331_904,
    "CLIPLoRA": 184_320,
    "CLIPAdapter": 131_072,
    "MMA": 674_560,
    "ATPrompt": 3 * 2 * 512,
    "MMRL": 4_992_256,
    "MMRLpp": 5 * 512 + 512 * (512 + 768) + 7 * (4 * (2 * 512 + 512 + 768) + 512 + 768) + 64 * (768 + 512),
    "ProLIP": 768 * 512,
    "PromptKD": 9 * 4 * 768 + 2 * (512 * 512 + 512) + 2 * 2 * 512,
    "TAC": 46_080 + 30_720 + 512 * (512 + 768) + 512 + 768 + 5 * 512,
    "TwoSFS": 61_440,
    "DePT": 2_048 + 2 * 2 * 512,
}
LEARN_PER_CLASS = {
    "LinearProbe": 513,
    "TipAdapter": 16 * 512,
    "TipAdapterF": 16 * 512,
    "LPPlusPlus": 514,
    "TaskRes": 512,
    "CLAP": 512,
    "GDA": 16 * 10 * 512,
    "TwoSFS": 512,
    "DePT": 513,
}
SAID = re.compile(r"Learns: (?:([\d,]+) values?\b(?! for))?(?: and )?(?:([\d,]+)(?: values)? for each class)?")


@pytest.fixture(scope="module")
def vit_b16():
    """A CLIP of ViT-B/16's shapes without memory."""
    with torch.device("meta"):
        return CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12).requires_grad_(False)


def learned(name: str, clip_model, classes: int = 2, **keys) -> int:
    dataset = {"NAME": "OxfordPets", "NUM_SHOTS": 16}
    cfg = CfgNode({"TRAINER": {"NAME": name}, "DATASET": dataset, "TRAIN": {}, "TEST": {}})
    extend_cfg(cfg)
    for key, value in keys.items():
        get_method(name).settings(cfg)[key] = value
    method = build_method(cfg, ["cat", "dog", "fox"][:classes], clip_model)
    return sum(t.numel() for t in method.learned_tensors().values() if t.is_floating_point())


def test_each_method_has_a_section_in_the_order_of_their_papers():
    assert list(SECTIONS) == list(listed())


@pytest.mark.parametrize("name", list(listed()))
def test_as_many_values_learn_as_it_says(vit_b16, name):
    said = SAID.search(SECTIONS[name])
    fixed, per_class = (int((value or "0").replace(",", "")) for value in said.groups())
    for classes in (2, 3):
        assert learned(name, vit_b16, classes) == fixed + classes * per_class
    assert LEARN.get(name, fixed) == fixed and LEARN_PER_CLASS.get(name, 0) == per_class


@pytest.mark.parametrize(
    "keys, count",
    [
        ({"N_CTX_TEXT": 4, "N_CTX_VISION": 4, "PROMPT_DEPTH_TEXT": 9, "PROMPT_DEPTH_VISION": 9}, 46_080),
        ({"N_CTX_TEXT": 4, "PROMPT_DEPTH_VISION": 0}, 24_576),
    ],
)
def test_the_other_two_of_ivlp(vit_b16, keys, count):
    assert learned("IVLP", vit_b16, **keys) == count


@pytest.mark.parametrize("name", [name for name in listed() if "Published: 8" in SECTIONS.get(name, "")])
def test_published_averages_are_those_of_the_file(name):
    said = re.search(r"Published: ([\d., ]+)\.\n", SECTIONS[name])[1].split(", ")
    frame = load_published().frame
    rows = frame[(frame["method"] == published_method(name)) & (frame["protocol"] == "base2new")]
    rows = rows[rows["dataset"] == AVERAGE]
    for split, value in zip(("base", "new", "H"), said):
        assert float(value) in rows.loc[rows["split"] == split, "value"].tolist(), split


@pytest.mark.parametrize("name", [name for name in listed() if "Published: few-shot" in SECTIONS.get(name, "")])
def test_published_few_shot_averages_are_those_of_the_file(name):
    said = re.search(r"few-shot averages: ([\d., ]+) and ([\d.]+) for 1, 2, 4, 8 and 16 shots", SECTIONS[name])
    values = [*said[1].split(", "), said[2]]
    entries = (
        load_published().entry("few_shot", published_method(name), "ViT-B/16", shots, AVERAGE)
        for shots in (1, 2, 4, 8, 16)
    )
    assert [f"{entry.values['all']:.2f}" for entry in entries] == values
