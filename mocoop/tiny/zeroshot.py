"""Zero-shot accuracy of an embedded CLIP on fresh pictures of the held-out combinations, for its sidecar."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.openai import CLIP, clip
from mocoop.shapes.render import render
from mocoop.shapes.sets import SOURCES, STYLE_MIX, ShapesSet
from mocoop.shapes.vocabulary import STYLES

PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)
TEMPLATE = "a photo of a {}."
REPORT_SEED = 20_000  # no Shapes set is drawn from it


def normalised(pictures: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32, with the mean and deviation of CLIP's pixels."""
    mean, std = (torch.tensor(values) * 255 for values in (PIXEL_MEAN, PIXEL_STD))
    return ((torch.from_numpy(pictures) - mean) / std).permute(0, 3, 1, 2)


@torch.inference_mode()
def text_features(model: CLIP, names: list[str]) -> Tensor:
    """Normalised features (C, D) of "a photo of a {name}."."""
    tokens = clip.tokenize([TEMPLATE.format(name) for name in names])
    return F.normalize(model.encode_text(tokens), dim=-1)


@torch.inference_mode()
def image_features(model: CLIP, pictures: np.ndarray, batch: int = 256) -> Tensor:
    """Normalised features (N, D) of pictures (N, 64, 64, 3) uint8."""
    parts = [pictures[i : i + batch] for i in range(0, len(pictures), batch)]
    return torch.cat([F.normalize(model.encode_image(normalised(part)), dim=-1) for part in parts])


def base_new_h(model: CLIP, shapes_set: ShapesSet, mix: dict[str, float], tint: str | None, per_class: int) -> dict:
    """Accuracy in percent on a set's base classes and on its new ones, each among themselves, and the harmonic mean."""
    rng = np.random.default_rng(REPORT_SEED)
    half = len(shapes_set.classes) // 2
    labels = np.repeat(np.arange(half), per_class)
    accuracy = []
    for part in (slice(half), slice(half, None)):
        codes = rng.choice([STYLES.index(style) for style in mix], size=len(labels), p=list(mix.values()))
        colours, textures, shapes = np.array(shapes_set.classes[part])[labels].T
        pictures = render(colours, textures, shapes, codes, rng, tint)
        scores = image_features(model, pictures) @ text_features(model, shapes_set.classnames[part]).t()
        accuracy.append(100 * (scores.argmax(1).numpy() == labels).mean())
    base, new = accuracy
    figures = {"base": base, "new": new, "H": 2 * base * new / max(base + new, 1e-9)}
    return {name: round(float(value), 1) for name, value in figures.items()}


def zeroshot_report(model: CLIP) -> dict:
    """Figures of each set in its mix of styles, by a neutral and by its own camera, and of each style on its own.

    The styles are those of ShapesBoth's classes by a neutral camera.
    """
    report = {}
    for source in SOURCES:
        cameras = {"neutral": None, source.tint: source.tint}
        report[source.name] = {k: base_new_h(model, source, STYLE_MIX, tint, 40) for k, tint in cameras.items()}
    report["styles"] = {style: base_new_h(model, SOURCES[-1], {style: 1.0}, None, 5) for style in STYLES}
    return report
