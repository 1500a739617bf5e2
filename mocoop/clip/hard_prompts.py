"""Text features of hand-written templates: frozen, so computed once, and kept on disk."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.feature_cache import cached_tensor, key_of
from mocoop.clip.identity import module_sha256
from mocoop.clip.prompts import hard_prompts
from mocoop.clip.templates import fill
from mocoop.clip.text_encoder import TextEncoder


def hard_features(
    encoder: TextEncoder, templates: Sequence[str], classnames: Sequence[str], normalised: bool = True
) -> Tensor:
    """Features (T, C, D) of T templates filled with C class names, normalised by default.

    Raises ConfigError for a class name that makes a template too long for CLIP's context.
    """
    return sentence_features(encoder, [[fill(one, name) for name in classnames] for one in templates], normalised)


@torch.no_grad()
def sentence_features(encoder: TextEncoder, texts: Sequence[Sequence[str]], normalised: bool = True) -> Tensor:
    """Features (T, C, D) of T sentences for each of C classes, normalised by default.

    Raises ConfigError for one that is too long for CLIP's context.
    """
    clip_model = encoder.clip_model
    device = clip_model.logit_scale.device

    def compute() -> Tensor:
        layouts = [hard_prompts(row, clip_model.tokenizer).to(device) for row in texts]
        with torch.autocast(device.type, enabled=False):
            features = encoder([None] * len(layouts), layouts)
            return F.normalize(features, dim=-1) if normalised else features

    computed = [clip_model.anatomy, encoder.kind, device.type, torch.__version__]
    key = key_of(module_sha256(clip_model, without="visual."), computed, texts, normalised)
    return cached_tensor("text", key, compute).to(device)
