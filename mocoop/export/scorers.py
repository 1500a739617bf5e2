"""What is exported of a method: a module from images to logits, with tensors of plain meaning, and CLIP's files.

Everything that does not depend on the image is computed beforehand, in fp32.
"""

import copy
import json

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.backbone import Backbone
from mocoop.clip.image_encoder import plain_features
from mocoop.clip.open_clip import OpenCLIP
from mocoop.clip.prompts import PromptLayout
from mocoop.clip.residual_block import Block
from mocoop.clip.tower_parts import NOTHING, TowerParts
from mocoop.errors import ConfigError
from mocoop.methods.base import PromptMethod, keeps
from mocoop.methods.cocoop import CoCoOp
from mocoop.methods.deep_prompts import beside_patches
from mocoop.methods.on_features import FeatureMethod
from mocoop.runs.trained_run import TrainedRun

BACKBONE, OPEN_CLIP, OPEN_CLIP_CONFIG = "backbone.safetensors", "open_clip_model.safetensors", "open_clip_config.json"


def tuned_state(method: PromptMethod) -> dict[str, Tensor]:
    """The parameters that a method changes in CLIP, by their makers' names, with LoRA merged into them."""
    own = method.clip_model.model.state_dict()
    tuned: dict[str, Tensor] = {}
    for tower, parts in (("visual.", method.image_parts()), (method.clip_model.text_prefix, method.text_parts())):
        if parts is None:
            continue
        tuned |= {f"{tower}{name}": value for name, value in parts.weights.items()}
        for block, update in parts.lora.items():
            name = f"{tower}transformer.resblocks.{block}.attn.in_proj_weight"
            tuned[name] = own[name] + update.weight_update()
    return {name: value.detach() for name, value in tuned.items()}


def backbone_files(clip_model: Backbone) -> dict[str, bytes]:
    """The files that a backbone is loaded from: OpenAI's state dict, or a folder of open_clip's."""
    weights = save(_exact_state(clip_model))
    if not isinstance(clip_model, OpenCLIP):
        return {BACKBONE: weights}
    images = clip_model.preprocessing
    prepared = {"size": images.size, "mean": images.mean, "std": images.std, "interpolation": images.interpolation}
    config = {"model_cfg": clip_model.config, "preprocess_cfg": prepared}
    return {OPEN_CLIP: weights, OPEN_CLIP_CONFIG: json.dumps(config, indent=1).encode()}


def _exact_state(clip_model: Backbone) -> dict[str, Tensor]:
    """Its state dict, in half precision if that loses nothing, as it does not for OpenAI's own weights."""
    state = {name: value.contiguous() for name, value in clip_model.model.state_dict().items()}
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    exact = all(torch.equal(value, halves[name].to(value.dtype)) for name, value in state.items())
    return halves if exact else state


class Scorer(nn.Module):
    """Logits (B, C) of images (B, 3, H, W), by the method itself from CLIP's own features.

    Args:
        run: on the CPU.

    Attributes:
        example: which file of example/ computes the same.
        few: how many images are enough to see that it does.
        clip_model: CLIP with what the run changed in it.
        tuned: the parameters that differ from CLIP's own, by their makers' names.
    """

    method: PromptMethod
    example, few = "", 8

    def __init__(self, run: TrainedRun):
        super().__init__()
        self.method, tuned = run.method, tuned_state(run.method)
        self.clip_model, self.tuned = self.method.clip_model, list(tuned)
        if tuned:
            self.clip_model = copy.deepcopy(self.clip_model)
            self.clip_model.model.load_state_dict(tuned, strict=False)
        self.visual_prompts = [rows.detach().clone() for rows in visual_prompts(self.method.image_parts())]

    def image_features(self, image: Tensor) -> Tensor:
        """What the method takes for image features (B, D)."""
        return self.method.of_encoded(self._prompted(image) if self.visual_prompts else self.clip_model.visual(image))

    def _prompted(self, image: Tensor) -> Tensor:
        first, *deeper = self.visual_prompts
        return plain_features(self.clip_model.vision_transformer, image, beside_patches([first, *deeper]))

    def forward(self, image: Tensor) -> Tensor:
        return self.method.predict_features(self.image_features(image))["logits"]

    def own_tensors(self) -> dict[str, Tensor]:
        """What its example computes with, beside the scale and the bias of CLIP's logits."""
        raise NotImplementedError

    @torch.no_grad()
    def tensors(self) -> dict[str, Tensor]:
        """What is written of it: its own tensors, and under "clip." those that CLIP gets in place of its own."""
        tensors = {"scale": self.method.logit_scale, "bias": torch.as_tensor(self.method.logit_bias)}
        tensors |= {f"visual_prompts.{i}": rows for i, rows in enumerate(self.visual_prompts)}
        tensors |= image_map(self.method) | self.own_tensors()
        state = self.clip_model.model.state_dict()
        tensors |= {f"clip.{name}": state[name] for name in self.tuned}
        return {name: value.detach().float().contiguous() for name, value in tensors.items()}


class MixtureScorer(Scorer):
    """`text_features` (E, C, D) of E experts, and where they are routed the router's `weight` and `bias`."""

    example = "mixture"

    def own_tensors(self) -> dict[str, Tensor]:
        features, router = self.method.class_features(), getattr(self.method, "router", None)
        tensors = {"text_features": features if features.dim() == 3 else features.unsqueeze(0)}
        if router is not None:
            none = torch.zeros(len(router.weight))
            tensors |= {"router.weight": router.weight, "router.bias": getattr(router, "bias", none)}
        return tensors


class FeatureScorer(Scorer):
    """Of a method on features: what it scores with (`FeatureMethod.scoring_tensors`)."""

    method: FeatureMethod
    example = "features"

    def own_tensors(self) -> dict[str, Tensor]:
        return self.method.scoring_tensors()


class ConditionalScorer(Scorer):
    """CoCoOp's `ctx` (n, width) and `meta_net`; the text tower runs for every image, over all classes."""

    method: CoCoOp
    example, few = "conditional", 2

    def own_tensors(self) -> dict[str, Tensor]:
        return self.method.learned_state()

    def forward(self, image: Tensor) -> Tensor:
        method, features = self.method, self.image_features(image)
        contexts = method.ctx + method.meta_net(features).unsqueeze(1)  # (B, n, width)
        text = F.normalize(encode_contexts(self.clip_model, contexts, method.layout), dim=-1)  # (B, C, D)
        return method.logit_scale * torch.einsum("bd,bcd->bc", features, text) + method.logit_bias


@torch.no_grad()
def image_map(method: PromptMethod) -> dict[str, Tensor]:
    """`transform_image` as tensors, none where it changes nothing: "image_map.weight" (D, D) and "image_map.bias" (D,)
    of the feature f as it is, f @ weight + bias, or normalised, if "image_map.unit" is 1.

    Raises ConfigError for one that is no such map.
    """
    if keeps(type(method), "transform_image"):
        return {}
    one = torch.eye(method.clip_model.embed_dim, dtype=method.dtype)
    ends, some = method.transform_image(torch.cat([one, -one])), one * 3 + one.roll(1, 0) - 1
    forth, back = ends.split(len(one))
    weight, bias = (forth - back) / 2, ((forth + back) / 2).mean(0)
    expected = method.transform_image(some)
    for unit in (0, 1):
        found = (F.normalize(some, dim=-1) if unit else some) @ weight + bias
        if torch.allclose(found, expected, rtol=1e-4, atol=1e-4):
            values = {"weight": weight, "bias": bias, "unit": torch.tensor(unit)}
            return {f"image_map.{name}": value for name, value in values.items()}
    raise ConfigError(
        f"{method.entry.name} cannot be exported: its transform_image is no affine map of the feature or of the "
        "normalised one"
    )


def visual_prompts(parts: TowerParts | None) -> list[Tensor]:
    """The rows beside an image's patches, for blocks 0, 1, ...; none for a tower without."""
    if parts is None or parts.tokens is None:
        return []
    return [parts.tokens, *(parts.rows[block].value for block in sorted(parts.rows))]


def is_exportable(parts: TowerParts | None) -> bool:
    """Whether all in the image tower is a change of weights, or rows for the first blocks that all patches see."""
    if parts is None or not (parts.tokens is not None or parts.rows or parts.adapters):
        return True
    rows_alone = parts.tokens is not None and not (parts.adapters or parts.hidden)
    rows_alone = rows_alone and all(rows.how == "replace_last" and not rows.mix for rows in parts.rows.values())
    return rows_alone and sorted(parts.rows) == list(range(1, len(parts.rows) + 1))


def encode_contexts(clip_model: Backbone, contexts: Tensor, layout: PromptLayout) -> Tensor:
    """Text features (B, C, D) of one layout with B contexts (B, n, width), in operations that can be traced for any B.

    Positions after the longest prompt's EOT are left out; they never matter.
    """
    classes, length = len(layout), int(layout.lengths.max())
    rows = torch.arange(classes).repeat_interleave(length)
    columns = torch.arange(length).repeat(classes)
    x = layout.embed(contexts, clip_model.token_embedding, rows, columns)  # (B, C * L, width)
    x = x.reshape(-1, length, x.shape[-1]) + clip_model.positional_embedding[:length]  # (B * C, L, width)
    mask = torch.full((length, length), float("-inf")).triu(1)
    for i, module in enumerate(clip_model.transformer.resblocks):
        x = Block(module, i, NOTHING).plain(x, mask)
    x = clip_model.ln_final(x).reshape(-1, classes, length, x.shape[-1])
    return clip_model.project_text(x[:, torch.arange(classes), layout.lengths - 1])


def scorer_of(run: TrainedRun) -> Scorer:
    """The scorer of a run's method, in evaluation mode; it shares CLIP with the run if the run does not change it.

    Raises ConfigError for a method that no scorer computes.
    """
    method = run.method
    if not is_exportable(method.image_parts()):
        raise ConfigError(
            f"{method.entry.name} cannot be exported: an export's image tower takes rows for its first blocks alone, "
            "and all its patches see them"
        )
    kind = method.entry.export
    if kind is None or method.extra_vectors:
        raise ConfigError(f"{method.entry.name} cannot be exported: its scores are not a product of features")
    if kind == "conditional" and (opaque := method.clip_model.opaque_text):
        raise ConfigError(f"{method.entry.name} cannot be exported with a text tower that is {opaque}")
    return _SCORERS[kind](run).eval()


_SCORERS = {"product": MixtureScorer, "features": FeatureScorer, "conditional": ConditionalScorer}
