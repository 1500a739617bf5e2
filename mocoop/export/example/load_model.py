"""Loads what lies in this folder with torch, torchvision, safetensors and OpenAI's clip, or open_clip for its own."""

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import packaging.version
import torch
from PIL import Image
from pixels import FORMATS, Reading
from safetensors.torch import load_file
from torch import Tensor
from torchvision import transforms as T

HERE = Path(__file__).parent


def load() -> tuple[Any, dict[str, Tensor], dict, Callable[[Image.Image], Tensor]]:
    """CLIP as the run left it, the run's tensors, its description with the class names, and the preprocessing."""
    info, classes = (json.loads((HERE / name).read_text("utf-8")) for name in ("model.json", "classes.json"))
    weights = load_file(HERE / "model.safetensors")
    model, tokenize = (load_open_clip if info["backbone"].get("kind") == "open_clip" else load_clip)(info["backbone"])
    tuned = {name.removeprefix("clip."): value for name, value in weights.items() if name.startswith("clip.")}
    model.load_state_dict({**model.state_dict(), **tuned})
    info |= {"classes": classes, "tokenize": tokenize}
    return model.float().eval(), weights, info, preprocessing(**info["preprocess"])


def load_clip(backbone: dict) -> tuple[Any, Callable[[list[str]], Tensor]]:
    """OpenAI's model by its name, or of the weights in this folder; and its tokenizer."""
    try:
        import clip
    except ModuleNotFoundError:  # clip on PyPI wants setuptools' pkg_resources, for `packaging` alone
        stand_in = types.ModuleType("pkg_resources")
        stand_in.__dict__["packaging"] = packaging
        sys.modules["pkg_resources"] = stand_in
        import clip
    if backbone["included"]:
        state = load_file(HERE / "backbone.safetensors")
        model = clip.model.build_model(dict(state)).float()
        model.load_state_dict(state)  # build_model rounds
    else:
        model, _ = clip.load(backbone["name"], device="cpu")
    if backbone.get("activation") == "gelu":
        for module in model.modules():
            if isinstance(module, clip.model.ResidualAttentionBlock):
                module.mlp.gelu = torch.nn.GELU()
    return model, clip.tokenize


def load_open_clip(backbone: dict) -> tuple[Any, Callable[[list[str]], Tensor]]:
    """The model of open_clip that this folder holds, and its tokenizer."""
    import open_clip

    name = f"local-dir:{HERE}"
    return open_clip.create_model(name, pretrained_text=False), lambda texts: open_clip.get_tokenizer(name)(texts)


def image_features(model: Any, weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """(B, D), not normalised; with what the run's method makes of the image tower's, if that is anything."""
    features = tower_features(model, weights, images)
    if "image_map.weight" not in weights:
        return features
    features = torch.nn.functional.normalize(features, dim=-1) if weights["image_map.unit"] else features
    return features @ weights["image_map.weight"] + weights["image_map.bias"]


def tower_features(model: Any, weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """(B, D); with the rows, if there are any, that the run puts beside an image's patches, before each block anew."""
    rows = [weights[f"visual_prompts.{i}"] for i in range(sum(name.startswith("visual_prompts.") for name in weights))]
    if not rows:
        return model.encode_image(images)
    visual, blocks = model.visual, model.visual.transformer.resblocks
    x = visual.conv1(images).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], dim=1) + visual.positional_embedding
    x = visual.ln_pre(torch.cat([x, rows[0].expand(len(x), -1, -1)], dim=1))
    for i, block in enumerate(blocks):
        if 0 < i < len(rows):
            x = torch.cat([x[:, : -len(rows[i])], rows[i].expand(len(x), -1, -1)], dim=1)
        x = block(x) if block.attn.batch_first else block(x.transpose(0, 1)).transpose(0, 1)
    return visual.ln_post(x[:, 0]) @ visual.proj


def read_image(path: str, info: dict) -> Image.Image:
    """The picture in a file, RGB, with the pixels that the run would give it."""
    with Image.open(path, formats=FORMATS) as image:
        return Reading(**info["reading"]).rgb(image)


def preprocessing(
    size: list[int], interpolation: str, mean: list[float], std: list[float]
) -> Callable[[Image.Image], Tensor]:
    """PIL image to tensor (3, H, W)."""
    resize = T.Resize(max(size), interpolation=T.InterpolationMode(interpolation))
    return T.Compose([resize, T.CenterCrop(size), T.ToTensor(), T.Normalize(mean, std)])


def name_classes(logits: Callable[..., Tensor], most: int = 5) -> None:
    """Print the most probable classes of the images on the command line, by `logits(model, weights, info, images)`."""
    model, weights, info, preprocess = load()
    for path in sys.argv[1:]:
        images = preprocess(read_image(path, info)).unsqueeze(0)
        best = logits(model, weights, info, images)[0].softmax(-1).topk(min(most, len(info["classes"])))
        print(path)
        for probability, label in zip(best.values.tolist(), best.indices.tolist()):
            print(f"  {100 * probability:5.1f} %  {info['classes'][label]}")
