"""Plugins that tests write: a learned map of CLIP's features, and what a stranger may do to one."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "examples/configs/FeatureShift/tiny.yaml"  # one that fits any method on tiny
TEXT = """
import torch
from torch import nn
from torch.nn import functional as F

from mocoop.methods import PromptMethod, register_method
from mocoop.methods.base import batch_accuracy
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.zeroshot import template_features


@register_method({registered})
class {name}(PromptMethod):
    def setup(self):
        size = self.clip_model.embed_dim
        self.map = nn.Parameter(torch.zeros(size, size, dtype=self.dtype))

    def encode_classes(self):
        with torch.no_grad():
            return template_features(self.text_encoder, ["a photo of a {{}}."], self.classnames)

{body}
"""
MAP = """
    def transform_image(self, features):
        return features + features.norm(dim=-1, keepdim=True) * self.map.sum(0) + features @ self.map
"""  # the norm makes it no affine map
LINEAR = """
    def transform_image(self, features):
        return F.normalize(features, dim=-1) @ (torch.eye(len(self.map)) + self.map) + self.map[0]
"""
PREDICT = """
    def predict(self, image):
        features = self.image_features(image)
        features = F.normalize(features + features @ self.map, dim=-1)
        return {"logits": self.logit_scale * features @ self.class_features().t()}
"""
OWN_CLIP = """
    def predict(self, image):
        features = self.clip_model.visual(image.to(self.dtype))
        features = F.normalize(features + features @ self.map, dim=-1)
        return {"logits": self.logit_scale * features @ self.class_features().t()}
"""
OWN_CLIP_IN_LOSS = """
    def loss(self, image, label):
        features = self.clip_model.visual(image.to(self.dtype))
        own = F.normalize(features + features @ self.map, dim=-1)[label >= 0]
        return {"loss": F.cross_entropy(self.logit_scale * own @ self.class_features().t(), label)}
"""


def write_plugin(folder: Path, body: str = "", name: str = "Mine", about: str = "", file: str = "mine.py") -> Path:
    """A plugin with a method `name`, which learns `map` (D, D) and has the body; `about`: more of its registration."""
    registered = f'"{name}", published="2026-11", title="of a test", {about}'
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEXT.format(registered=registered, name=name.replace("-", "_"), body=body))
    return path


def plugin_argv(run, plugin: Path, name: str = "Mine") -> list[str]:
    """The command line of a run (tests/faults/runs.py) with a plugin's method in the place of its own."""
    argv = run.argv()
    for flag, value in (("--trainer", name), ("--config-file", str(CONFIG))):
        argv[argv.index(flag) + 1] = value
    return ["--plugin", str(plugin), *argv]
