"""Every method on every kind of CLIP: it takes a step, or says in one line which tower it cannot work in.

METHODS.md has the outcome as a table; `python -m tests.methods.test_backbones` writes it.
"""

import re
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest
import torch

from mocoop.clip.openai import CLIP
from mocoop.config import merge_file
from mocoop.engine import get_cfg_default
from mocoop.errors import ConfigError
from mocoop.methods import PromptMethod, build_method, extend_cfg
from mocoop.registry import listed
from tests.methods.test_methods_md import learned
from tests.small_open_clip import Small

ROOT = Path(__file__).parents[2]
KINDS = {  # heading: a small model of it
    "ViT": "gelu",
    "ResNet": "resnet",
    "EVA-CLIP": "timm",
    "SigLIP": "siglip",
    "HF text": "bert",
    "BiomedCLIP": "biomed",
    "CoCa": "coca",
}
START, END = "<!-- made by tests/methods/test_backbones.py -->\n", "<!-- end -->"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return Small(tmp_path_factory.mktemp("open_clip"))


class RandomFeatures:
    """Stands in for a run's few-shot features."""

    def __init__(self, classes: int, size: int):
        self.label = torch.arange(classes).repeat(4)
        self.size = size

    def training(self, views: int = 0):
        return torch.randn(max(views, 1), len(self.label), self.size), self.label

    def validation(self):
        return torch.randn(len(self.label), self.size), self.label


def config(name: str):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    merge_file(cfg, str(ROOT / f"configs/trainers/{name}/tiny_vit.yaml"))
    cfg.TRAINER.NAME, cfg.DATASET.NAME = name, "OxfordPets"
    return cfg


def steps(method: PromptMethod, size: tuple[int, int], count: int) -> list[float]:
    """The losses of a few steps on random images, whose labels are learned by heart."""
    image, label = torch.randn(4, 3, *size), torch.tensor([0, 1, 0, 1])
    optimizer = torch.optim.SGD(method.parameter_groups(0.02), lr=0.02)
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        parts = method.loss(image, label)
        method.backward(parts)
        optimizer.step()
        losses.append(float(parts["loss"]))
    return losses


def outcome(name: str, clip_model) -> str:
    """yes, or the tower in which the method cannot work. Raises AssertionError where a step does not work."""
    torch.manual_seed(0)
    size = clip_model.preprocessing.size
    try:
        method = build_method(config(name), ["cat", "red dog"], clip_model, ["cat", "red dog", "fox"]).train()
    except ConfigError as error:
        assert name in str(error), error
        return re.search("(text|image) tower", str(error))[1]
    features = RandomFeatures(2, clip_model.embed_dim)
    method.fit(features)
    if listed()[name].learns and method.takes_steps:
        before = method.learned_state()
        assert all(map(torch.isfinite, map(torch.tensor, steps(method, size, 2))))
        after = method.learned_state()
        assert any(not torch.equal(before[key], value) for key, value in after.items())
    method.select(features)
    with torch.no_grad():
        logits = method.eval()(torch.randn(3, 3, *size))
    assert logits.shape == (3, 2) and logits.isfinite().all()
    return "yes"


@cache
def vit_l14(resolution: int) -> CLIP:
    """A CLIP of ViT-L/14's shapes without memory."""
    with torch.device("meta"):
        return CLIP(768, resolution, 24, 1024, 14, 77, 49408, 768, 12, 12).requires_grad_(False)


def learns(name: str, clip_model: CLIP) -> str:
    """How many values learn with C classes."""
    two, three = (learned(name, clip_model, classes) for classes in (2, 3))
    fixed, of_each = two - 2 * (three - two), three - two
    return " + ".join([f"{fixed:,}"] * (fixed > 0 or not of_each) + [f"{of_each:,} C"] * (of_each > 0))


HEAD = f"| | {' | '.join(KINDS)} | learns on ViT-L/14 |\n|---|{'---|' * len(KINDS)}---|\n"


def row(name: str, small: Small) -> str:
    cells = {"yes": "yes", "text": "–, text", "image": "–, image"}
    found = [cells[outcome(name, small.backbone(kind))] for kind in KINDS.values()]
    return f"| {name} | {' | '.join(found)} | {learns(name, vit_l14(224))} |\n"


def said() -> list[str]:
    text = (ROOT / "METHODS.md").read_text(encoding="utf-8")
    return text.split(START)[1].split(END)[0].splitlines(keepends=True)


def test_the_table_in_methods_md_has_a_row_for_each_method():
    assert "".join(said()[:2]) == HEAD and [line.split(" | ")[0][2:] for line in said()[2:]] == list(listed())


@pytest.mark.parametrize("name", list(listed()))
def test_a_row_of_the_table_in_methods_md_is_what_happens(small, name):
    assert row(name, small) in said(), f"run python -m {__name__}"


def test_as_many_values_learn_on_vit_l14_as_its_widths_say():
    """At both resolutions; the rows above are of the smaller one."""
    widths = {  # text 768, image 1024, features 768
        "CoOp": 16 * 768,
        "KgCoOp": 4 * 768,
        "CoCoOp": 16 * 768 + 768 * 48 + 48 + 48 * 768 + 768,
        "VPT": 12 * 8 * 1024,
        "IVLP": 12 * 2 * 768 + 12 * 2 * 1024,
        "MaPLe": 9 * (2 * 768 + 768 * 1024 + 1024),
        "PromptSRC": 9 * 4 * 768 + 9 * 4 * 1024,
        "CLIPLoRA": 12 * 3 * 2 * 2 * 768 + 24 * 3 * 2 * 2 * 1024,
    }
    told = {name: row.split(" | ")[-1].removesuffix(" |\n") for name, row in zip(listed(), said()[2:])}
    assert {name: learns(name, vit_l14(336)) for name in listed()} == told
    assert {name: told[name] for name in widths} == {name: f"{count:,}" for name, count in widths.items()}


@pytest.mark.parametrize("name", ["CoOp", "KgCoOp", "MoCoOp", "MaPLe", "CLIPLoRA"])
@pytest.mark.parametrize("kind", ["quick_gelu", "scaled", "bert"])
def test_after_some_steps_fast_and_plain_encoders_agree(small, name, kind):
    clip_model, cfg = small.backbone(kind), config(name)
    torch.manual_seed(0)
    methods = []
    for encoder in ("fast", "plain"):
        cfg.TRAINER[name.upper()].TEXT_ENCODER = encoder
        try:
            methods.append(build_method(cfg, ["cat", "red dog"], clip_model))
        except ConfigError:
            return  # as the table says
    fast, plain = methods
    losses = steps(fast.train(), clip_model.preprocessing.size, 3)
    assert losses[-1] < losses[0]
    plain.load_learned_state(fast.learned_state())
    image = torch.randn(3, 3, *clip_model.preprocessing.size)
    with torch.no_grad():
        assert torch.allclose(fast.eval()(image), plain.eval()(image), atol=1e-3)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        small_models = Small(Path(folder))
        made = HEAD + "".join(row(name, small_models) for name in listed())
    path = ROOT / "METHODS.md"
    head, rest = path.read_text(encoding="utf-8").split(START)
    path.write_text(head + START + made + END + rest.split(END)[1], encoding="utf-8")
    sys.exit()
