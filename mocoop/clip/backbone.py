"""What the library asks of a CLIP, whoever made it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

from mocoop.clip.tokenizer import Tokenizer

T = TypeVar("T")
NO_WEIGHTS: Mapping[str, Tensor] = {}


def computed(compute: Callable[[Any], T]) -> T:
    """A property in place of an attribute of `Backbone`, with the attribute's type: it is computed when it is read."""
    return property(compute)  # type: ignore[return-value]  # type checkers let no property override an attribute


@dataclass(frozen=True)
class Preprocessing:
    """How images are prepared for a CLIP.

    Attributes:
        size: height and width.
        mean, std: of the channels, for values from 0 to 1.
        interpolation: bicubic, bilinear or nearest.
        resize_mode: shortest, the smaller edge is resized and the centre cropped; squash or longest, of open_clip's,
            are not done here.
    """

    size: tuple[int, int]
    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"


class MLP(Protocol):
    """What a residual block computes behind its attention, from states (..., W) to states (..., W)."""

    c_fc: nn.Linear
    gelu: nn.Module
    c_proj: nn.Linear

    def __call__(self, states: Tensor) -> Tensor: ...


class ResidualBlock(Protocol):
    """A residual attention block with the names of OpenAI's class."""

    attn: nn.MultiheadAttention
    ln_1: nn.LayerNorm
    ln_2: nn.LayerNorm
    mlp: MLP


class Transformer(Protocol):
    """The blocks of a tower with the names of OpenAI's class."""

    resblocks: Sequence[ResidualBlock]


class VisionTransformer(Protocol):
    """An image tower that is not opaque, with the names of OpenAI's class; no `proj`: features are the last states."""

    conv1: nn.Conv2d
    class_embedding: Tensor
    positional_embedding: Tensor
    ln_pre: nn.LayerNorm
    transformer: Transformer
    ln_post: nn.LayerNorm
    proj: Tensor | None


class Backbone(nn.Module):
    """A CLIP. Attributes have the names of OpenAI's class where it has one: it is a Backbone as it is.

    Attributes:
        sha256: of its weights, which it is known by (`mocoop.clip.identity`); None for one that no file was read for.
        notes: lines for the log of each run that loads it.
        model: the module whose weights have their makers' names; OpenAI's is it itself.
        text_prefix: of the text tower's names among these.
        tokenizer: how it reads texts.
        preprocessing: how images are prepared for it.
        embed_dim: the size of a feature, D.
        visual: the image tower, from images (B, 3, H, W) to features (B, D).
        transformer, positional_embedding, ln_final: of a text tower that is not opaque.
        token_embedding: from tokens to vectors (..., W).
        logit_scale, logit_bias: of scores, scale in its logarithm; no bias: None.
        dtype: what its towers compute in.
        activation: of its MLPs, quick_gelu or gelu; weights do not tell.
        anatomy: what it computes, as far as weights do not tell; part of the keys of cached features.
        opaque_text: what the text tower is, if it can only be run as a whole; None if it is causal, read at EOT and
            built like OpenAI's: `transformer.resblocks`, `positional_embedding`, `ln_final`. Then it is computed
            fast, and something can be put into it.
        opaque_image: the same of the image tower; None for a vision transformer like OpenAI's.
    """

    sha256: str | None = None
    notes: tuple[str, ...] = ()
    model: nn.Module
    text_prefix: str = ""
    tokenizer: Tokenizer
    preprocessing: Preprocessing
    embed_dim: int
    visual: nn.Module
    transformer: Transformer
    positional_embedding: Tensor
    ln_final: nn.LayerNorm
    token_embedding: nn.Embedding
    logit_scale: Tensor
    logit_bias: Tensor | None = None
    dtype: torch.dtype
    activation: str
    anatomy: str
    opaque_text: str | None = None
    opaque_image: str | None = None

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Unnormalised features (C, D) of tokens (C, L), by its own modules."""
        raise NotImplementedError

    def project_text(self, states: Tensor, weights: Mapping[str, Tensor] = NO_WEIGHTS) -> Tensor:
        """Unnormalised features (..., D) of last states (..., W) at EOT, for a text tower that is not opaque.

        Args:
            weights: {name of one of the text tower's own parameters: what takes its place}.
        """
        raise NotImplementedError

    def halve(self) -> None:
        """Compute in half precision from now on."""
        raise NotImplementedError

    @property
    def vision_transformer(self) -> VisionTransformer:
        """The image tower, for one that is not opaque."""
        return cast(VisionTransformer, self.visual)

    @property
    def text_width(self) -> int:
        return self.token_embedding.weight.shape[1]

    def describe(self) -> str:
        """What it is, in one line."""
        images, towers = self.preprocessing, []
        for tower, opaque in (("text", self.opaque_text), ("image", self.opaque_image)):
            towers.append(f"{tower} tower {f'plain ({opaque})' if opaque else 'fast'}")
        height, width = images.size
        return (
            f"{self.embed_dim} features, {self.tokenizer.length} tokens, {self.activation}; images {height} x {width} "
            f"{images.interpolation}, mean {_shown(images.mean)}, std {_shown(images.std)}; {', '.join(towers)}"
        )

    def encode_embedded(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        """Features (C, D) by its own pass over tokens (C, L), with `embedded` (C, L, W) for what it looks up."""
        handle = self.token_embedding.register_forward_hook(lambda *_: embedded)
        try:
            return self.encode_text(tokens)
        finally:
            handle.remove()


def _shown(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.3g}" for value in values)
