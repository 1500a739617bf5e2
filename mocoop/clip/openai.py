"""OpenAI's `clip` package: the one place it is imported.

The packages on PyPI that provide `clip` import `pkg_resources`, which setuptools no longer ships. They use nothing of
it but `packaging`, so where it is absent a stand-in with that one attribute is present for the length of the import.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import Tensor, nn

from mocoop.clip.backbone import NO_WEIGHTS, Backbone, Preprocessing, computed
from mocoop.clip.tokenizer import byte_pairs


def _import_clip() -> types.ModuleType:
    if "clip" in sys.modules or importlib.util.find_spec("pkg_resources") is not None:
        return importlib.import_module("clip")
    stand_in = types.ModuleType("pkg_resources")
    vars(stand_in)["packaging"] = importlib.import_module("packaging")
    importlib.import_module("packaging.version")
    sys.modules["pkg_resources"] = stand_in
    try:
        return importlib.import_module("clip")
    finally:
        del sys.modules["pkg_resources"]


clip = _import_clip()
clip_modules = importlib.import_module("clip.model")
tokenizer = importlib.import_module("clip.clip")._tokenizer
MODEL_URLS = dict(importlib.import_module("clip.clip")._MODELS)

CONTEXT_LENGTH = 77
VOCABULARY_SIZE = len(tokenizer.encoder)
SOT_TOKEN = tokenizer.encoder["<|startoftext|>"]
EOT_TOKEN = tokenizer.encoder["<|endoftext|>"]
TOKENIZER = byte_pairs("CLIP", CONTEXT_LENGTH, tokenizer, SOT_TOKEN, EOT_TOKEN)
_OpenAI: Any = clip_modules.CLIP


class CLIP(_OpenAI, Backbone):
    """OpenAI's class as it is, with what `Backbone` asks for."""

    tokenizer = TOKENIZER
    text_projection: Tensor
    encode_image: Callable[[Tensor], Tensor]
    build_attention_mask: Callable[[], Tensor]
    images: dict[str, Any] = {}  # what of `Preprocessing` is not as OpenAI's

    @computed
    def model(self) -> nn.Module:
        return self

    @computed
    def opaque_image(self) -> str | None:
        return None if isinstance(self.visual, clip_modules.VisionTransformer) else "a ResNet"

    @computed
    def embed_dim(self) -> int:
        return self.text_projection.shape[1]

    @computed
    def preprocessing(self) -> Preprocessing:
        edge = cast(int, self.visual.input_resolution)
        return Preprocessing((edge, edge), **self.images)

    @computed
    def activation(self) -> str:
        return "quick_gelu" if is_quick_gelu(self.transformer.resblocks[0].mlp.gelu) else "gelu"

    @computed
    def anatomy(self) -> str:
        return self.activation

    def project_text(self, states: Tensor, weights: Mapping[str, Tensor] = NO_WEIGHTS) -> Tensor:
        return states.to(self.dtype) @ weights.get("text_projection", self.text_projection)

    def use_gelu(self) -> None:
        """Compute GELU in the MLPs, as most models of LAION do, from now on."""
        for module in self.modules():
            if isinstance(module, clip_modules.ResidualAttentionBlock):
                module.mlp.gelu = nn.GELU()

    def halve(self) -> None:
        clip_modules.convert_weights(self)


def is_quick_gelu(module: nn.Module) -> bool:
    """Whether a block's activation is QuickGELU, of OpenAI's package or of open_clip's."""
    return type(module).__name__ == "QuickGELU"


def build_clip(weights: dict[str, Tensor]) -> CLIP:
    """The model that OpenAI's `build_model` makes of a state dict, which it changes."""
    model = clip_modules.build_model(weights)
    model.__class__ = CLIP
    return model
