"""How a CLIP reads texts: their tokens, and what stands around them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from mocoop.errors import ConfigError, quoted


@dataclass(frozen=True)
class Tokenizer:
    """A vocabulary, and how a prompt of it begins and ends.

    Attributes:
        name: what it is known by; two of one name give a text the same tokens.
        length: the positions that a prompt has.
        before, after: tokens in front of and behind a text, SOT and EOT.
        pad: the token at the positions behind a prompt's end.
        ids_of: a text's tokens, without those around it.
        text_of: a token as text.
    """

    name: str
    length: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    pad: int
    ids_of: Callable[[str], list[int]] = field(repr=False, compare=False)
    text_of: Callable[[int], str] = field(repr=False, compare=False)

    def __deepcopy__(self, memo: dict) -> "Tokenizer":
        return self

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without those around it.

        Raises ConfigError for a text that spells one of them out: a prompt is read where it ends.
        """
        tokens = _ids(self, text)
        if set(tokens) & {*self.before, *self.after}:
            spelled = " or ".join(self.text_of(mark) for mark in (*self.before, *self.after))
            raise ConfigError(f"{quoted(text)} holds {spelled}, which mark the ends of a prompt")
        return list(tokens)

    @cached_property
    def stand_in(self) -> int:
        """A token that neither ends nor pads a prompt: what stands at a learned position, where a token has to."""
        return self.encode("x")[0]


@lru_cache(maxsize=1 << 16)
def _ids(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """A class name stands in every expert's prompts, and in every template's."""
    return tuple(tokenizer.ids_of(text))


def byte_pairs(name: str, length: int, tokenizer: Any, sot: int, eot: int) -> Tokenizer:
    """CLIP's byte pairs, by OpenAI's code or open_clip's; as text, a token that ends no word ends in a hyphen."""

    def text_of(token: int) -> str:
        ends_word = tokenizer.decoder[token].endswith("</w>") or token in (sot, eot)
        return tokenizer.decode([token]).strip() + ("" if ends_word else "-")

    return Tokenizer(name, length, (sot,), (eot,), 0, tokenizer.encode, text_of)
