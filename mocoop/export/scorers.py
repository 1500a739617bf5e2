"""What is exported of a method: a module from images to logits, with tensors of plain meaning.

Everything that does not depend on the image is computed beforehand, in fp32.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.backbone import Backbone
from mocoop.clip.image_encoder import plain_features
from mocoop.clip.prompts import PromptLayout
from mocoop.clip.residual_block import Block
from mocoop.clip.tower_parts import NOTHING, TowerParts
from mocoop.errors import ConfigError
from mocoop.export.clip_weights import tuned_state
from mocoop.methods.base import PromptMethod
from mocoop.methods.cocoop import CoCoOp
from mocoop.methods.mocoop.routed import RoutedMethod
from mocoop.methods.mocoop.router import mix_scores, top_k_gates
from mocoop.methods.on_features import FeatureMethod
from mocoop.runs.trained_run import TrainedRun


class Scorer(nn.Module):
    """Logits (B, C) of images (B, 3, H, W).

    Args:
        run: on the CPU.

    Attributes:
        clip_model: CLIP with what the run changed in it.
        tuned: the parameters that differ from CLIP's own, by their makers' names.
    """

    def __init__(self, run: TrainedRun):
        super().__init__()
        method, tuned = run.method, tuned_state(run.method)
        self.clip_model, self.tuned = method.clip_model, list(tuned)
        if tuned:
            self.clip_model = copy.deepcopy(method.clip_model)
            self.clip_model.model.load_state_dict(tuned, strict=False)
        self.register_buffer("scale", method.logit_scale.detach().clone())
        self.register_buffer("bias", torch.as_tensor(method.logit_bias).detach().clone())
        self.visual_prompts = nn.ParameterList([rows.detach().clone() for rows in visual_prompts(method.image_parts())])

    def raw_features(self, image: Tensor) -> Tensor:
        visual = self.clip_model.visual
        if not len(self.visual_prompts):
            return visual(image)
        first, *deeper = self.visual_prompts
        parts = TowerParts(tokens=first, deep=dict(enumerate(deeper, start=1)))
        return plain_features(visual, image, parts)

    def image_features(self, image: Tensor) -> Tensor:
        return F.normalize(self.raw_features(image), dim=-1)

    def tensors(self) -> dict[str, Tensor]:
        """What is written of it: its own tensors, and under "clip." those that CLIP gets in place of its own."""
        own = {name: value for name, value in self.state_dict().items() if not name.startswith("clip_model.")}
        state = self.clip_model.model.state_dict()
        tensors = own | {f"clip.{name}": state[name] for name in self.tuned}
        return {name: value.detach().float().contiguous() for name, value in tensors.items()}


class MixtureScorer(Scorer):
    """`text_features` (E, C, D) of E experts, and where E experts are routed `router` and `top_k`."""

    def __init__(self, run: TrainedRun):
        super().__init__(run)
        with torch.no_grad():
            features = run.method.class_features()
        self.register_buffer("text_features", features if features.dim() == 3 else features.unsqueeze(0))
        self.top_k = 0
        if run.group_names:
            self.top_k, router = run.method.settings.TOP_K, run.method.router
            experts, width = router.weight.shape
            self.router = nn.Linear(width, experts)
            with torch.no_grad():
                self.router.weight.copy_(router.weight)
                self.router.bias.copy_(getattr(router, "bias", torch.zeros(experts)))

    def forward(self, image: Tensor) -> Tensor:
        features = self.image_features(image)
        scores = torch.einsum("bd,ecd->bec", features, self.text_features)
        if not self.top_k:
            return self.scale * scores[:, 0] + self.bias
        gates, experts = top_k_gates(self.router(features), self.top_k)
        return self.scale * mix_scores(scores, gates, experts) + self.bias


class FeatureScorer(Scorer):
    """Of a method on features: the tensors that it scores with (`FeatureMethod.scoring_tensors`)."""

    def __init__(self, run: TrainedRun):
        super().__init__(run)
        with torch.no_grad():
            for name, value in run.method.scoring_tensors().items():
                self.register_buffer(name, value)

    def forward(self, image: Tensor) -> Tensor:
        known, raw = dict(self.named_buffers(recurse=False)), self.raw_features(image)
        if "text_features" not in known:
            return raw @ self.weight.t() + self.bias
        features = F.normalize(raw, dim=-1)
        if "adapter_down" in known:
            adapted = F.relu(F.relu(features @ self.adapter_down.t()) @ self.adapter_up.t())
            features = F.normalize(self.ratio * adapted + (1 - self.ratio) * features, dim=-1)
        similarity = features @ self.text_features.t()
        if "weight" in known:
            return features @ self.weight.t() + self.bias + self.alpha * similarity
        if "keys" in known:
            votes = (self.beta * (features @ self.keys.t()) - self.beta).exp() @ self.values
            return self.scale * similarity + self.alpha * votes
        return self.scale * similarity


class ConditionalScorer(Scorer):
    """CoCoOp's: `ctx` (n, width) and `meta_net`; the text tower runs for every image, over all classes."""

    def __init__(self, run: TrainedRun):
        super().__init__(run)
        self.ctx, self.meta_net, self.layout = run.method.ctx, run.method.meta_net, run.method.layout

    def forward(self, image: Tensor) -> Tensor:
        features = self.image_features(image)
        contexts = self.ctx + self.meta_net(features).unsqueeze(1)  # (B, n, width)
        text = F.normalize(encode_contexts(self.clip_model, contexts, self.layout), dim=-1)  # (B, C, D)
        return self.scale * torch.einsum("bd,bcd->bc", features, text) + self.bias


def visual_prompts(parts: TowerParts | None) -> list[Tensor]:
    """The rows beside an image's patches, for blocks 0, 1, ...; none for a tower without."""
    if parts is None or parts.tokens is None:
        return []
    return [parts.tokens, *(parts.deep[block] for block in sorted(parts.deep))]


def is_exportable(parts: TowerParts | None) -> bool:
    """Whether all in the image tower is a change of its weights, or rows for the first blocks without a gap."""
    if parts is None or not (parts.tokens is not None or parts.deep or parts.inserted or parts.adapters):
        return True
    rows_alone = parts.tokens is not None and not (parts.inserted or parts.adapters)
    return rows_alone and sorted(parts.deep) == list(range(1, len(parts.deep) + 1))


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
            f"{method.entry.name} cannot be exported: an export's image tower takes rows for its first blocks alone"
        )
    is_product = type(method).predict_features is PromptMethod.predict_features
    if isinstance(method, CoCoOp):
        if opaque := method.clip_model.opaque_text:
            raise ConfigError(f"{method.entry.name} cannot be exported with a text tower that is {opaque}")
        scorer = ConditionalScorer(run)
    elif isinstance(method, FeatureMethod):
        scorer = FeatureScorer(run)
    elif is_product or (isinstance(method, RoutedMethod) and method.one_feature):
        scorer = MixtureScorer(run)
    else:
        raise ConfigError(f"{method.entry.name} cannot be exported: its scores are not a product of features")
    return scorer.eval().requires_grad_(False)
