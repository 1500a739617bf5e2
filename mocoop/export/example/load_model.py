"""Loads what lies in this folder with torch, torchvision, safetensors and OpenAI's clip, and nothing else."""

import json
import sys
import types
from pathlib import Path

import packaging.version
import torch
from safetensors.torch import load_file
from torchvision import transforms as T

try:
    import clip
except ModuleNotFoundError:  # clip on PyPI wants setuptools' pkg_resources, for `packaging` alone
    sys.modules["pkg_resources"] = types.SimpleNamespace(packaging=packaging)
    import clip

HERE = Path(__file__).parent


def load():
    """CLIP as the run left it, the run's tensors, its description with the class names, and the preprocessing."""
    info, classes = (json.loads((HERE / name).read_text("utf-8")) for name in ("model.json", "classes.json"))
    weights = load_file(HERE / "model.safetensors")
    if info["backbone"]["included"]:
        state = load_file(HERE / "backbone.safetensors")
        model = clip.model.build_model(dict(state)).float()
    else:
        model, _ = clip.load(info["backbone"]["name"], device="cpu")
        state = model.state_dict()
    if info["backbone"].get("activation") == "gelu":
        for module in model.modules():
            if isinstance(module, clip.model.ResidualAttentionBlock):
                module.mlp.gelu = torch.nn.GELU()
    tuned = {name.removeprefix("clip."): value for name, value in weights.items() if name.startswith("clip.")}
    model.load_state_dict({**state, **tuned})
    return model.eval(), weights, {**info, "classes": classes}, preprocessing(**info["preprocess"])


def preprocessing(size, interpolation, mean, std):
    """PIL image to tensor (3, H, W)."""
    resize = T.Resize(max(size), interpolation=T.InterpolationMode(interpolation))
    return T.Compose([resize, T.CenterCrop(size), T.ToTensor(), T.Normalize(mean, std)])
