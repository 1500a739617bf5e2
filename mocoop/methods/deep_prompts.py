"""What methods with deep prompts share: the context with its fixed rest, rows for blocks, and what a tower can take."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mocoop.clip.backbone import Backbone
from mocoop.clip.openai import TOKENIZER
from mocoop.clip.prompts import Context, PromptLayout, count_tokens, readable, split_words
from mocoop.clip.tokenizer import Tokenizer
from mocoop.clip.tower_parts import TowerParts
from mocoop.errors import ConfigError
from mocoop.methods.coop import noise_context, words_context

STD = 0.02


def first_words(words: str, length: int, clip_model: Backbone) -> tuple[Tensor, str]:
    """A context (length, width) that starts as the first tokens of `words`, and the words that stay fixed behind it.

    Of "a photo of a", two learn and "of a" stands in every prompt, as in the code of MaPLe and its kin. Where there
    are fewer words than vectors, all start from noise. Raises ConfigError where the vectors end within a word.
    """
    if not words or count_tokens(words, clip_model.tokenizer) < length:
        return noise_context(length, clip_model=clip_model), ""
    first, rest = split_words(words, length, clip_model.tokenizer)
    return words_context(first, clip_model), rest


def worded_layout(classnames: Sequence[str], length: int, rest: str, tokenizer: Tokenizer = TOKENIZER) -> PromptLayout:
    """[SOT] [context] [rest of the words] [class] [.] [EOT]."""
    prompts = [[Context(0, length), f"{rest} {readable(name)}.".strip()] for name in classnames]
    return PromptLayout(prompts, classnames, tokenizer)


def deep_rows(count: int, length: int, width: int) -> nn.ParameterList:
    """`count` learned tensors (length, width), from N(0, 0.02^2), in fp32: nothing is rounded where they are put in."""
    return nn.ParameterList([nn.Parameter(STD * torch.randn(length, width)) for _ in range(count)])


def before_blocks(rows: Sequence[Tensor]) -> dict[int, Tensor]:
    """The first rows before block 1, the next before block 2, ..."""
    return dict(enumerate(rows, start=1))


def beside_patches(rows: Sequence[Tensor]) -> TowerParts:
    """Rows beside an image's patches: the first from the start on, the next before block 1, ..."""
    first, *deeper = rows
    return TowerParts(tokens=first, deep=before_blocks(deeper))


def visual_width(clip_model: Backbone, method: str) -> int:
    """Width of the image transformer. Raises ConfigError for a ResNet or another tower, which takes no prompts."""
    if clip_model.opaque_image:
        raise ConfigError(
            f"{method} works inside the image tower and needs a vision transformer, got {clip_model.opaque_image}"
        )
    return clip_model.visual.class_embedding.shape[0]


def text_tower(clip_model: Backbone, method: str) -> nn.Module:
    """The text transformer. Raises ConfigError for a tower that takes no prompts but at its input."""
    if clip_model.opaque_text:
        raise ConfigError(
            f"{method} works inside the text tower and needs a causal transformer, got {clip_model.opaque_text}"
        )
    return clip_model.transformer


def check_depth(key: str, depth: int, tower: nn.Module, least: int = 1) -> None:
    """Raise ConfigError unless a tower has so many blocks."""
    blocks = len(tower.resblocks)
    if not least <= depth <= blocks:
        raise ConfigError(f"{key} is {depth}, expected {least} to {blocks}, the blocks of this CLIP's tower")
