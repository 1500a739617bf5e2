"""Config keys that all methods with soft prompts share, and how their values are checked."""

from yacs.config import CfgNode

from mocoop.clip.text_encoder import KINDS

PRECISIONS = ("fp32", "fp16", "amp", "bf16")


def add_common_keys(node: CfgNode, prec: str) -> None:
    """Add PREC (default `prec`), TEXT_ENCODER and TEXT_CHUNK to a method's config node."""
    node.PREC = prec  # fp32, fp16 (CLIP in half precision), amp (fp16 autocast with loss scaling) or bf16 (autocast)
    node.TEXT_ENCODER = "fast"  # fast, or plain: CLIP's own code, 77 tokens a prompt, the reference
    node.TEXT_CHUNK = 0  # prompts encoded at a time, the rest recomputed in the backward pass; 0 fits the memory


def common_problems(name: str, node: CfgNode) -> list[str]:
    """What is wrong with the shared keys of TRAINER.<name>, one line each."""
    problems = choice_problems(f"TRAINER.{name}", node, PREC=PRECISIONS, TEXT_ENCODER=KINDS)
    if node.TEXT_CHUNK < 0:
        problems.append(f"TRAINER.{name}.TEXT_CHUNK is {node.TEXT_CHUNK}, expected 0 (automatic) or more")
    return problems


def choice_problems(prefix: str, node: CfgNode, **choices: tuple) -> list[str]:
    """One line for each key whose value is not among its choices."""
    return [
        f"{prefix}.{key} is {node[key]!r}, expected one of {', '.join(map(repr, accepted))}"
        for key, accepted in choices.items()
        if node[key] not in accepted
    ]
