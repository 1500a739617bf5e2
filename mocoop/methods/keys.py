"""Config keys, declared once: default, meaning, bounds, and whether learned tensors depend on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mocoop.clip.text_encoder import KINDS
from mocoop.config import Limits
from mocoop.errors import ConfigError, quoted

PRECISIONS = ("fp32", "fp16", "amp", "bf16")
_TYPES = (bool, int, float, str, tuple, list)


@dataclass(frozen=True)
class Key:
    """One config key of a method, TRAINER.<NODE>.<name>.

    Attributes:
        help: what it means, its unit and choices, one line.
        choices: the values that are accepted; empty: any.
        at_least, at_most: the smallest and the largest number that is accepted.
        structural: whether the learned tensors mean something else under another value. Such a key travels with a
            checkpoint and wins over the config of an evaluation.
    """

    name: str
    default: object
    help: str
    choices: tuple = ()
    at_least: float | None = None
    structural: bool = False
    at_most: float | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for what no config can hold."""
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise ConfigError(f"a key is called {quoted(self.name)}, expected letters, digits and _")
        if not isinstance(self.default, _TYPES):
            kinds = ", ".join(kind.__name__ for kind in _TYPES)
            raise ConfigError(f"the default of the key {self.name} is {quoted(self.default)}, expected one of {kinds}")

    def with_default(self, default: object) -> "Key":
        """The same key of a method that starts from another value."""
        return replace(self, default=default)

    def problem(self, node_name: str, value: object) -> str | None:
        """What is wrong with a value, one line, or None."""
        limits = Limits(self.at_least, self.at_most, self.choices)
        return limits.problem(f"TRAINER.{node_name}.{self.name}", value)


HEAD_CLASSES = Key(  # of every method with `trained_classnames`
    "HEAD_CLASSES", (), "names of the classes that it was trained for; empty: the dataset's", structural=True
)


def common_keys(prec: str) -> tuple[Key, ...]:
    """The keys that all methods with keys share; `prec` is the default precision."""
    return (
        Key("PREC", prec, "fp32, fp16 (CLIP in half precision), amp (fp16 autocast, loss scaling), bf16", PRECISIONS),
        Key("TEXT_ENCODER", "fast", "fast, or plain: CLIP's own code, 77 tokens a prompt, the reference", KINDS),
        Key("TEXT_CHUNK", 0, "prompts encoded at a time, the rest recomputed; 0 (automatic) fits memory", at_least=0),
    )


def keys_of(method: str, node: str | None, keys: Sequence[Key], about: Mapping[str, object]) -> tuple[Key, ...]:
    """All keys of a method that is registered with these. Raises ConfigError for what cannot be its keys."""
    keys = (*keys, *([HEAD_CLASSES] if about.get("trained_classes") is True else []))
    if wrong := next((key for key in keys if not isinstance(key, Key)), None):
        raise ConfigError(f"{method} has {quoted(wrong)} among its keys, expected each to be a Key")
    if keys and node is None:
        raise ConfigError(f'{method} has keys and no node, expected node="...", the name of theirs under TRAINER')
    if doubled := next((key.name for i, key in enumerate(keys) if key.name in [k.name for k in keys[:i]]), None):
        raise ConfigError(f"{method} has two keys called {doubled}, expected one")
    return keys
