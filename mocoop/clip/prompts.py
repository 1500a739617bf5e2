"""Soft prompts: token sequences with learnable context vectors at some positions.

A prompt is written as *pieces*: text (tokens, frozen) and `Context` (learnable). CoOp's is
[SOT] [context] [class] [.] [EOT]; a MoCoOp expert's is [SOT] [ctx_before] [class] [ctx_after] [.] [EOT].
`PromptLayout` holds the pieces of all classes as index tensors; every text encoder reads prompts from it.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.backbone import Backbone
from mocoop.clip.openai import TOKENIZER
from mocoop.clip.tokenizer import Tokenizer
from mocoop.errors import ConfigError, one_line, quoted


@dataclass(frozen=True)
class Context:
    """`length` learnable positions, filled from rows `start` ... `start + length - 1` of the context tensor."""

    start: int
    length: int


def count_tokens(text: str, tokenizer: Tokenizer = TOKENIZER) -> int:
    """Number of tokens of a text, without SOT and EOT."""
    return len(tokenizer.encode(text))


def split_words(words: str, length: int, tokenizer: Tokenizer = TOKENIZER) -> tuple[str, str]:
    """The first words, which make `length` tokens, and the rest. Raises ConfigError where that would cut a word."""
    parts = words.split()
    for k in range(len(parts) + 1):
        if count_tokens(" ".join(parts[:k]), tokenizer) == length:
            return " ".join(parts[:k]), " ".join(parts[k:])
    raise ConfigError(f"{length} context vectors end within a word of {quoted(words)}; choose another number of them")


def readable(classname: str) -> str:
    """A class name as it stands in a prompt: underscores are spaces."""
    return classname.replace("_", " ")


@dataclass(frozen=True)
class Places:
    """A layout's positions on the CPU, where plans are made of them: (C, L) tokens and context rows, (C,) lengths."""

    tokens: Tensor
    ctx_index: Tensor
    lengths: Tensor


class PromptLayout(nn.Module):
    """Where each position of each class's prompt takes its embedding from.

    Attributes (C classes, L positions, 77 of CLIP's):
        tokenizer: what the tokens are of.
        tokens: (C, L) token ids; those that pad after EOT, a word's at context positions.
        ctx_index: (C, L) row of the context tensor, -1 where the token is fixed.
        lengths: (C,) number of positions up to and including EOT.
        host: the same three on the CPU, wherever the layout is.
        shortest, count: the least of the lengths, and their sum.
        prefix_length: how many leading positions are the same for all classes (EOT is never one of them).
    """

    tokens: Tensor
    ctx_index: Tensor
    lengths: Tensor

    def __init__(
        self,
        prompts: Sequence[Sequence["str | Context"]],
        names: Sequence[str] | None = None,
        tokenizer: Tokenizer = TOKENIZER,
    ):
        """`prompts`: the pieces of each class's prompt; `names`: of the classes, for an error.

        Raises ConfigError where a prompt does not fit into CLIP's positions.
        """
        super().__init__()
        self.tokenizer = tokenizer
        rows = [_token_row(pieces, tokenizer) for pieces in prompts]
        _check_lengths(rows, prompts, names, tokenizer.length)
        tokens = torch.full((len(rows), tokenizer.length), tokenizer.pad)
        ctx_index = torch.full_like(tokens, -1)
        for c, row in enumerate(rows):
            row_tokens, row_ctx = zip(*row)
            tokens[c, : len(row)] = torch.tensor(row_tokens)
            ctx_index[c, : len(row)] = torch.tensor(row_ctx)
        self._set(Places(tokens, ctx_index, torch.tensor([len(row) for row in rows])))
        same = (tokens == tokens[0]).all(0) & (ctx_index == ctx_index[0]).all(0)  # (L,)
        self.prefix_length = min(int(same.long().cumprod(0).sum()), self.shortest - 1)

    def _set(self, host: Places) -> None:
        self.host = host
        self._of_classes: dict[tuple, PromptLayout] = {}
        self.shortest, self.count = int(host.lengths.min()), int(host.lengths.sum())
        for name in ("tokens", "ctx_index", "lengths"):
            self.register_buffer(name, getattr(host, name), persistent=False)

    def __len__(self) -> int:
        return len(self.host.lengths)

    def of_classes(self, classes: Tensor) -> "PromptLayout":
        """The layout of some of the classes, (C',) on the CPU; made once for the same ones."""
        key = (tuple(classes.tolist()), self.tokens.device)
        if key not in self._of_classes:
            own = copy.copy(self)
            own._buffers = {}
            own._set(Places(*(value[classes] for value in vars(self.host).values())))
            self._of_classes[key] = own.to(self.tokens.device)
        return self._of_classes[key]

    def embed(self, ctx: Tensor | None, token_embedding: nn.Embedding, rows: Tensor, columns: Tensor) -> Tensor:
        """Embeddings of the positions (rows[i], columns[i]).

        Args:
            ctx: (G, n, D) context vectors of G prompts of this layout, or None where it has no context.
            token_embedding: CLIP's token embedding.
            rows, columns: (T,) class and position of each wanted embedding.

        Returns:
            (G, T, D), differentiable with respect to `ctx`.
        """
        fixed = F.embedding(self.tokens[rows, columns], token_embedding.weight)  # (T, D)
        if ctx is None or not ctx.shape[1]:
            return fixed.unsqueeze(0)
        index = self.ctx_index[rows, columns]  # (T,)
        return torch.where((index >= 0)[:, None], ctx[:, index.clamp(min=0)], fixed.to(ctx.dtype))


def _token_row(pieces: Sequence["str | Context"], tokenizer: Tokenizer) -> list[tuple[int, int]]:
    row: list[tuple[int, int]] = []
    for piece in pieces:
        if isinstance(piece, Context):
            row += [(tokenizer.stand_in, piece.start + i) for i in range(piece.length)]
        else:
            row += [(token, -1) for token in tokenizer.encode(piece)]
    _check_pieces(pieces, [token for token, _ in row], tokenizer)
    before, after = ([(token, -1) for token in tokens] for tokens in (tokenizer.before, tokenizer.after))
    return before + row + after


def _check_pieces(pieces: Sequence["str | Context"], tokens: Sequence[int], tokenizer: Tokenizer) -> None:
    """Raise ConfigError where the tokens of the pieces are not those of the sentence that they make.

    CLIP's tokenizer repairs texts that seem to be in a wrong encoding, and judges by all of the text.
    """
    texts = [piece for piece in pieces if isinstance(piece, str)]
    if len(pieces) == 1 or tokenizer == TOKENIZER and all(text.isascii() for text in texts):
        return
    words = [word for piece in pieces for word in (["x"] * piece.length if isinstance(piece, Context) else [piece])]
    if tokenizer.encode(" ".join(words)) != tokens:
        raise ConfigError(
            f"{quoted(' '.join(texts))} is read in another way in a prompt than alone, as text in a wrong encoding "
            "is; write it in other letters"
        )


def _check_lengths(
    rows: Sequence[Sequence], prompts: Sequence[Sequence], names: Sequence[str] | None, most: int
) -> None:
    for c, row in enumerate(rows):
        if len(row) > most:
            text = names[c] if names else " ".join(piece for piece in prompts[c] if isinstance(piece, str))
            raise ConfigError(
                f'{"class name" if names else "text"} "{one_line(text, 80)}" makes a prompt of {len(row)} tokens, '
                f"expected at most {most}: shorten it or what stands around it"
            )


def hard_prompts(texts: Sequence[str], tokenizer: Tokenizer = TOKENIZER) -> PromptLayout:
    """The layout of ready sentences, without context. Raises ConfigError for one that is too long."""
    return PromptLayout([[text] for text in texts], tokenizer=tokenizer)


def embed_words(text: str, clip_model: Backbone) -> Tensor:
    """(n, W) embeddings of a text's n tokens."""
    embedding = clip_model.token_embedding
    tokens = torch.tensor(clip_model.tokenizer.encode(text), dtype=torch.long, device=embedding.weight.device)
    return embedding(tokens).detach()
