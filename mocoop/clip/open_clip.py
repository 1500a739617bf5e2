"""Models of open_clip as backbones, by its own modules. The package is optional: nothing here imports it unasked."""

import json
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from mocoop.clip.backbone import NO_WEIGHTS, Backbone, Preprocessing, Transformer, computed
from mocoop.clip.openai import is_quick_gelu
from mocoop.clip.tokenizer import Tokenizer, byte_pairs
from mocoop.clip.tower_parts import with_weights
from mocoop.errors import ConfigError


class OpenCLIP(Backbone):
    """A model of open_clip's: CLIP, CustomTextCLIP or CoCa.

    Args:
        model: it is used as it is.
        config: what it was built from, `model_cfg`.
        tokenizer: of its texts, see `tokenizer_of`.
    """

    def __init__(self, model: nn.Module, config: dict[str, Any], tokenizer: Tokenizer):
        super().__init__()
        visual: Any = model.visual
        self.model, self.config, self.tokenizer = model, config, tokenizer
        self.text_prefix = "text." if hasattr(model, "text") else ""
        self.embed_dim, self.anatomy = config["embed_dim"], json.dumps(config, sort_keys=True)
        self.activation = "quick_gelu" if any(map(is_quick_gelu, model.modules())) else "gelu"
        self.preprocessing = _preprocessing(visual.preprocess_cfg)
        self.opaque_text, self.opaque_image = _opaque_text(self.text, tokenizer), _opaque_image(visual)
        if getattr(visual, "output_tokens", False):
            visual.output_tokens = False  # CoCa's: features alone

    @property
    def text(self) -> Any:
        """The module that holds the text tower; the whole model where it has no module of its own."""
        return getattr(self.model, "text", self.model)

    @computed
    def visual(self) -> nn.Module:
        return cast(nn.Module, self.model.visual)

    @property
    def _open_text(self) -> Any:
        """The module that holds the text tower. Raises ConfigError for one that can only be run as a whole."""
        if self.opaque_text:
            raise ConfigError(f"nothing can be put into the text tower but prompts: it is {self.opaque_text}")
        return self.text

    @computed
    def transformer(self) -> Transformer:
        return self._open_text.transformer

    @computed
    def token_embedding(self) -> nn.Embedding:
        text = self.text
        return text.transformer.get_input_embeddings() if _is_hf(text) else text.token_embedding

    @computed
    def positional_embedding(self) -> Tensor:
        return self._open_text.positional_embedding

    @computed
    def ln_final(self) -> nn.LayerNorm:
        return self._open_text.ln_final

    @computed
    def logit_scale(self) -> Tensor:
        return cast(Tensor, self.model.logit_scale)

    @computed
    def logit_bias(self) -> Tensor | None:
        return getattr(self.model, "logit_bias", None)

    @computed
    def dtype(self) -> torch.dtype:
        return next(m.weight.dtype for m in self.visual.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))

    def encode_text(self, tokens: Tensor) -> Tensor:
        model: Any = self.model
        return model.encode_text(tokens, normalize=False)

    def project_text(self, states: Tensor, weights: Mapping[str, Tensor] = NO_WEIGHTS) -> Tensor:
        projection = weights.get("text_projection", self.text.text_projection)
        if projection is None:
            return states
        if isinstance(projection, nn.Module):
            return cast(Tensor, with_weights(projection, "text_projection.", weights)(states))
        return states @ projection

    def halve(self) -> None:
        from open_clip.transformer import LayerNorm, LayerNormFp32

        self.half()
        for module in self.modules():
            if isinstance(module, LayerNorm):  # as open_clip builds a model that is to compute in half precision
                module.__class__ = LayerNormFp32
                module.float()


def tokenizer_of(theirs: Any) -> Tokenizer:
    """The tokenizer of an open_clip model. Raises ConfigError for one whose prompts have no end of their own."""
    if hasattr(theirs, "sot_token_id"):
        name = "CLIP" if theirs.clean_fn.__name__ == "_clean_lower" else f"CLIP, {theirs.clean_fn.__name__}"
        return byte_pairs(name, theirs.context_length, theirs, theirs.sot_token_id, theirs.eot_token_id)
    hf = theirs.tokenizer
    if getattr(theirs, "tokenizer_mode", "") or hf.padding_side != "right":
        raise ConfigError(f"the tokenizer {hf.name_or_path} does not pad behind a prompt's end, which is not supported")

    def ids_of(text: str) -> list[int]:
        return hf(_cleaned(theirs, text), add_special_tokens=False).input_ids

    inner, whole = ids_of("x"), hf(_cleaned(theirs, "x")).input_ids
    start = next(i for i in range(len(whole)) if whole[i : i + len(inner)] == inner)
    before, after = whole[:start], whole[start + len(inner) :]
    if getattr(theirs, "strip_sep_token", False):
        after = [0 if token == hf.sep_token_id else token for token in after]
    text_of = hf.convert_ids_to_tokens
    return Tokenizer(
        hf.name_or_path, theirs.context_length, tuple(before), tuple(after), hf.pad_token_id, ids_of, text_of
    )


def _cleaned(theirs: Any, text: str) -> str:
    if hasattr(theirs, "clean_fn"):
        return theirs.clean_fn(text)
    from open_clip.tokenizer import basic_clean, canonicalize_text

    return canonicalize_text(basic_clean(text))  # SigLipTokenizer


def _preprocessing(found: dict) -> Preprocessing:
    size = found["size"]
    size = (size, size) if isinstance(size, int) else tuple(size)
    return Preprocessing(size, tuple(found["mean"]), tuple(found["std"]), found["interpolation"], found["resize_mode"])


def _is_hf(text: Any) -> bool:
    return hasattr(text, "pooler") and hasattr(text, "config")


def _opaque_text(text: Any, tokenizer: Tokenizer) -> str | None:
    if _is_hf(text):
        return f"{text.config.model_type} of transformers"
    if text.attn_mask is None:
        return "a transformer without a causal mask"
    if getattr(text, "cls_emb", None) is not None:
        return "a transformer with a class token at its end"
    if not all(map(_is_plain, text.transformer.resblocks)):
        return "a transformer of other blocks"
    return None if _is_read_at_end(text, tokenizer) else "a transformer that is not read at EOT"


def _is_read_at_end(text: Any, tokenizer: Tokenizer) -> bool:
    """Whether the feature is read at a prompt's one end, and one token stands in front of the prompt."""
    if len(tokenizer.before) != 1 or len(tokenizer.after) != 1:
        return False
    pool = getattr(text, "text_pool_type", None) or text.pool_type
    if pool == "argmax":
        return tokenizer.after[0] == text.vocab_size - 1
    return pool == "eos" and tokenizer.after[0] == getattr(text, "text_eos_id", getattr(text, "eos_id", None))


def _opaque_image(visual: Any) -> str | None:
    kind = type(visual).__name__
    if kind == "ModifiedResNet":
        return "a ResNet"
    if kind == "TimmModel":
        return f"timm's {visual.trunk.default_cfg['architecture']}"
    if kind != "VisionTransformer":
        return f"a {kind}"
    if visual.attn_pool is not None or visual.pool_type != "tok":
        return "a vision transformer that is not read at its class token"
    return None if all(map(_is_plain, visual.transformer.resblocks)) else "a vision transformer of other blocks"


def _is_plain(block: nn.Module) -> bool:
    return type(block).__name__ == "ResidualAttentionBlock" and not hasattr(block, "ln_1_kv")
