"""What methods with deep prompts share: the context with its fixed rest, rows for blocks, and what a tower can take."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mocoop.clip.openai import CLIP, clip_modules
from mocoop.clip.prompts import Context, PromptLayout, count_tokens, readable, split_words
from mocoop.clip.tower_parts import TowerParts
from mocoop.errors import ConfigError
from mocoop.methods.coop import noise_context, words_context

STD = 0.02


def first_words(words: str, length: int, clip_model: CLIP) -> tuple[Tensor, str]:
    """A context (length, width) that starts as the first tokens of `words`, and the words that stay fixed behind it.

    Of "a photo of a", two learn and "of a" stands in every prompt, as in the code of MaPLe and its kin. Where there
    are fewer words than vectors, all start from noise. Raises ConfigError where the vectors end within a word.
    """
    if not words or count_tokens(words) < length:
        return noise_context(length, clip_model=clip_model), ""
    first, rest = split_words(words, length)
    return words_context(first, clip_model), rest


def worded_layout(classnames: Sequence[str], length: int, rest: str) -> PromptLayout:
    """[SOT] [context] [rest of the words] [class] [.] [EOT]."""
    prompts = [[Context(0, length), f"{rest} {readable(name)}.".strip()] for name in classnames]
    return PromptLayout(prompts, names=classnames)


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


def visual_width(clip_model: CLIP, method: str) -> int:
    """Width of the image transformer. Raises ConfigError for a ResNet, which takes no prompts."""
    if not isinstance(clip_model.visual, clip_modules.VisionTransformer):
        raise ConfigError(f"{method} works inside the image tower and needs a vision transformer, got a ResNet")
    return clip_model.visual.class_embedding.shape[0]


def check_depth(key: str, depth: int, tower: nn.Module, least: int = 1) -> None:
    """Raise ConfigError unless a tower has so many blocks."""
    blocks = len(tower.resblocks)
    if not least <= depth <= blocks:
        raise ConfigError(f"{key} is {depth}, expected {least} to {blocks}, the blocks of this CLIP's tower")
