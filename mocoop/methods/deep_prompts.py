"""What methods with deep prompts share: the context with its fixed rest, rows for blocks, and what a tower can take."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from mocoop.clip.backbone import Transformer, VisionTransformer
from mocoop.clip.prompts import Context, PromptLayout, count_tokens, readable, split_words
from mocoop.clip.tower_parts import Rows, TowerParts
from mocoop.errors import ConfigError
from mocoop.methods.base import PromptMethod
from mocoop.methods.coop import log_context, noise_context, words_context
from mocoop.methods.parts import OnePrompt

STD = 0.02


def start_from_words(method: OnePrompt, length: int) -> None:
    """Make a method's `ctx` (length, W), which starts as the first tokens of CTX_INIT, and its `layout`.

    Of "a photo of a", two learn and "of a" stands in every prompt, as in the code of MaPLe and its kin. Where there
    are fewer words than vectors, all start from noise. Raises ConfigError where the vectors end within a word.
    """
    words, clip_model = method.settings.CTX_INIT, method.clip_model
    if not words or count_tokens(words, clip_model.tokenizer) < length:
        ctx, rest = noise_context(length, clip_model=clip_model), ""
    else:
        first, rest = split_words(words, length, clip_model.tokenizer)
        ctx = words_context(first, clip_model)
    method.ctx, method.layout = nn.Parameter(ctx), worded_layout(method, length, rest)
    log_context(ctx, words)


def worded_layout(method: PromptMethod, length: int, rest: str) -> PromptLayout:
    """[SOT] [context] [rest of the words] [class] [.] [EOT]."""
    prompts: list[list[str | Context]] = [
        [Context(0, length), f"{rest} {readable(name)}.".strip()] for name in method.classnames
    ]
    return PromptLayout(prompts, method.classnames, method.clip_model.tokenizer)


def deep_rows(count: int, length: int, width: int) -> nn.ParameterList:
    """`count` learned tensors (length, width), from N(0, 0.02^2), in fp32: nothing is rounded where they are put in."""
    return nn.ParameterList([nn.Parameter(STD * torch.randn(length, width)) for _ in range(count)])


def before_blocks(values: Iterable[Tensor], how: str = "replace") -> dict[int, Rows]:
    """The first rows before block 1, the next before block 2, ..."""
    return {block: Rows(value, how) for block, value in enumerate(values, start=1)}


def beside_patches(rows: Iterable[Tensor]) -> TowerParts:
    """Rows beside an image's patches: the first from the start on, the next before block 1, ..."""
    first, *deeper = rows
    return TowerParts(tokens=first, rows=before_blocks(deeper, "replace_last"))


def image_tower(method: PromptMethod) -> tuple[Transformer, int]:
    """The image transformer and its width. Raises ConfigError for a ResNet or another tower, which takes no prompts."""
    name, opaque = method.entry.name, method.clip_model.opaque_image
    if opaque:
        raise ConfigError(f"{name} works inside the image tower and needs a vision transformer, got {opaque}")
    visual = cast(VisionTransformer, method.clip_model.visual)
    return visual.transformer, visual.class_embedding.shape[0]


def text_tower(method: PromptMethod) -> Transformer:
    """The text transformer. Raises ConfigError for a tower that takes no prompts but at its input."""
    name, opaque = method.entry.name, method.clip_model.opaque_text
    if opaque:
        raise ConfigError(f"{name} works inside the text tower and needs a causal transformer, got {opaque}")
    return method.clip_model.transformer


def check_depth(method: PromptMethod, key: str, tower: Transformer) -> None:
    """Raise ConfigError unless a tower has as many blocks as one of the method's keys says."""
    depth, blocks = method.settings[key], len(tower.resblocks)
    if not 1 <= depth <= blocks:
        name = f"TRAINER.{method.entry.node}.{key}"
        raise ConfigError(f"{name} is {depth}, expected 1 to {blocks}, the blocks of this CLIP's tower")


def blocks_from(method: PromptMethod, tower: Transformer) -> range:
    """The blocks of a tower from the method's FIRST_BLOCK on. Raises ConfigError where there is none."""
    first, blocks = method.settings.FIRST_BLOCK, len(tower.resblocks)
    if first >= blocks:
        name = f"TRAINER.{method.entry.node}.FIRST_BLOCK"
        raise ConfigError(f"{name} is {first}, expected 0 to {blocks - 1} for this CLIP")
    return range(first, blocks)


def released_rows(state: dict[str, Tensor]) -> dict[str, str]:
    """Our names of deep rows for those of a state that the code of MaPLe's kin saved, by where they are put in."""
    names = {"image_encoder.VPT": "visual_prompts.0"}
    for name in (name for name in state if name.endswith(".VPT_shallow")):
        tower, _, _, block, _ = name.split(".")
        names[name] = f"text_prompts.{int(block) - 1}" if tower == "text_encoder" else f"visual_prompts.{block}"
    return names
