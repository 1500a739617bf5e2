"""A method of one's own, in one file: a shift of the image features, learned beside a frozen CLIP.

    bash scripts/base2new.sh FeatureShift shapes_both 1        with PLUGIN=examples/feature_shift.py in the environment
    mocoop run base2new --methods CoOp,FeatureShift --plugin examples/feature_shift.py --datasets shapes_both

Its settings lie beside it, in configs/FeatureShift. Nothing else knows of it: every protocol, table and tool of mocoop
takes it as it takes its own methods.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.methods import PromptMethod, register_method
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.zeroshot import template_features

KEYS = (
    Key("TEMPLATE", "a photo of a {}.", "hard prompt of the classes", structural=True),
    Key("SCALE", 0.1, "length of the shift for each unit that is learned", at_least=0.0, structural=True),
    *common_keys(prec="fp32"),
)


@register_method("FeatureShift", node="FEATURE_SHIFT", keys=KEYS, published="2026-11", title="an example of a plugin")
class FeatureShift(PromptMethod):
    """f' = normalise(normalise(f) + SCALE * shift), with `shift` (D,) learned from 0 by cross-entropy."""

    def setup(self) -> None:
        self.shift = nn.Parameter(torch.zeros(self.clip_model.embed_dim))

    def encode_classes(self) -> Tensor:
        given = self.text_encoder, [self.settings.TEMPLATE], self.classnames
        return self.frozen("text", lambda: template_features(*given))  # CLIP is frozen, and so are hard prompts

    def transform_image(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=-1) + self.settings.SCALE * self.shift
