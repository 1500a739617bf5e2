"""naive.py for the methods of later years."""

import json
from pathlib import Path

import torch

from tests.methods.naive import (
    cross_entropy,
    embedded,
    hard_feature,
    image_feature,
    image_features,
    text_feature,
    unit,
    with_weights,
)

SENTENCES = Path(__file__).parents[1] / "fixtures/sentences.json"


def coprompt(method, image, label, names, more):
    """Of two views (B, 2, 3, H, W); a class with fewer sentences than the one with most says them again."""
    clip, deep = method.clip_model, dict(enumerate(method.compound_prompts_text, 1))
    layers = [method.proj, *method.compound_prompt_projections]
    sources = [method.ctx, *method.compound_prompts_text]
    rows = [source @ layer.weight.t() + layer.bias for layer, source in zip(layers, sources)]

    def adapted(own, share, feature):
        hidden = torch.relu(own[0].weight @ feature)
        return unit(share * torch.relu(own[2].weight @ hidden) + (1 - share) * feature)

    features, text = [], []
    for views in image:
        features.append(adapted(method.adapter_image, 0.1, image_feature(clip, views[0], rows)))
    for name in names:
        middle = torch.cat([method.ctx, embedded(clip, f"of a {name}.")])
        text.append(adapted(method.adapter_text, 0.2, text_feature(clip, middle, deep)))
    every = json.loads(SENTENCES.read_text())
    most = max(len(every[name]) for name in names)
    with torch.random.fork_rng():  # what the method is about to draw
        drawn = int(torch.randint(most, (1,)))
    told = [unit(hard_feature(clip, every[name][drawn % len(every[name])])) for name in names]
    seen = image_features(clip, [views[1] for views in image])
    f, t = torch.stack(features), torch.stack(text)
    parts = {
        "loss_ce": cross_entropy(clip.logit_scale.exp() * f @ t.t(), label),
        "loss_text": 2 * (1 - torch.stack([a @ b for a, b in zip(t, told)]).mean()),
        "loss_image": 2 * (1 - torch.stack([a @ b for a, b in zip(f, seen)]).mean()),
    }
    return {"loss": sum(parts.values()), **parts}


def skip_tuning(method, image, label, names, more, top=2):
    """The batch's own classes, the nearest others up to `top`, and of those behind the ranks that were drawn."""
    clip, text = method.clip_model, [f"a bad photo of a {name}, a type of pet." for name in names]
    weights = {name.replace("/", "."): value for name, value in method.text_weights.named_parameters()}
    weights |= {f"visual.{n.replace('/', '.')}": value for n, value in method.image_weights.named_parameters()}
    zero_shot = [unit(hard_feature(clip, one)) for one in text]

    def loss(clip):
        features = image_features(clip, image)
        near = [max(float(f.detach() @ t) for f in features) for t in zero_shot]
        order = sorted(range(len(names)), key=lambda c: (c not in label.tolist(), -near[c]))
        kept = [c for rank, c in enumerate(order) if rank < max(top, len(image)) or method.kept[rank - top]]
        t = torch.stack([unit(hard_feature(clip, text[c])) for c in kept])
        place = torch.tensor([kept.index(y) for y in label.tolist()])
        return cross_entropy(clip.logit_scale.exp() * features @ t.t(), place)

    return {"loss": with_weights(clip, weights, loss)}


def tac(method, image, label, names, more):
    """Of views (B, 1 + V, 3, H, W), the last of them the plain one."""
    clip, size = method.clip_model, image.shape[0] * (image.shape[1] - 1 if image.dim() == 5 else 1)
    clusters_t, clusters_v = (c.weight @ method.clusters[..., None] for c in (method.to_text, method.to_image))
    clusters_t, clusters_v = clusters_t[..., 0] + method.to_text.bias, clusters_v[..., 0] + method.to_image.bias
    deep = {i: torch.cat([clusters_t, rows]) for i, rows in enumerate(method.text_prompts, 1)}
    beside = [torch.cat([clusters_v, rows]) for rows in method.visual_prompts]
    with torch.random.fork_rng():  # what the method is about to draw
        kept = torch.nn.functional.dropout(torch.ones(size, clip.visual.output_dim).double(), 0.3)
        kept_of_clip = torch.nn.functional.dropout(torch.ones(len(image), clip.visual.output_dim).double(), 0.3)
    every = json.loads(SENTENCES.read_text())
    text, taught, own, frozen, labels = [], [], [], [], []
    for name in names:
        middle = torch.cat([clusters_t, method.ctx, embedded(clip, f"a photo of a {name}.")])
        text.append(unit(text_feature(clip, middle, deep)))
        taught.append(unit(sum(hard_feature(clip, one) for one in every[name]) / len(every[name])))
    for i, views in enumerate(image):
        of_clip = unit(image_feature(clip, views[-1]) * kept_of_clip[i])
        for view in views[:-1]:
            own.append(unit(image_feature(clip, view, beside, hidden=len(clusters_v)) * kept[len(own)]))
            frozen.append(of_clip)
            labels.append(label[i])
    t, f = torch.stack(text), torch.stack(own)
    parts = {
        "loss_ce": cross_entropy(clip.logit_scale.exp() * f @ t.t(), torch.stack(labels)),
        "loss_text": 20 * (t - torch.stack(taught)).abs().mean(),
        "loss_image": 25 * (f - torch.stack(frozen)).abs().mean(),
    }
    return {"loss": sum(parts.values()), **parts}


DEPTHS = {"PROMPT_DEPTH_TEXT": 2, "PROMPT_DEPTH_VISION": 2}
REFERENCES = {
    "CoPrompt": (coprompt, {"PROMPT_DEPTH": 2, "W": 2.0, "SENTENCES": str(SENTENCES)}),
    "TAC": (
        tac,
        {
            "PROMPT_DEPTH_TEXT": 2,
            "PROMPT_DEPTH_VISION": 2,
            "N_CLUSTERS": 2,
            "N_CTX_TEXT": 6,
            "SENTENCES": str(SENTENCES),
        },
    ),
    "SkipTuning": (skip_tuning, {"FIRST_BLOCK": 1, "TOP_RATIO": 0.4, "LAMBDA": 3.0}),
}
