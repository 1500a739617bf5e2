"""Words that an embedded CLIP has never seen."""

from collections.abc import Iterable

from mocoop.clip.openai import tokenizer
from mocoop.tiny.store import trained_tokens


def untrained_words(name: str, classnames: Iterable[str]) -> list[str]:
    """Words of the class names with a byte-pair token that pre-training of the CLIP `name` never used.

    Each word once, in order of first appearance; "_" counts as a space, as it does in prompts. The embedding of such a
    token is zero, so what the model says about the word means nothing.
    """
    trained = trained_tokens(name)
    words = dict.fromkeys(word for classname in classnames for word in classname.replace("_", " ").split())
    return [word for word in words if not trained.issuperset(tokenizer.encode(word))]
