"""Config keys, declared once: default, meaning, bounds, and whether learned tensors depend on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from yacs.config import CfgNode

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


def add_keys(cfg: CfgNode, node_name: str, keys: Sequence[Key]) -> None:
    """Add TRAINER.<node_name>.* with the keys' defaults to a config; a key that it has keeps its value."""
    node = cfg.TRAINER.setdefault(node_name, CfgNode())
    for key in keys:
        node.setdefault(key.name, key.default)


def key_problems(cfg: CfgNode, node_name: str, keys: Sequence[Key]) -> list[str]:
    """What is wrong with the values of the keys under TRAINER.<node_name>, one line each."""
    node = cfg.TRAINER[node_name]
    problems = (key.problem(node_name, node[key.name]) for key in keys)
    return [problem for problem in problems if problem]
