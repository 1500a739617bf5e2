"""MoCoOp's config keys, TRAINER.MOCOOP.*, and the groups of templates they name.

Where the paper's abstract and the authors' released code differ, a key decides; the defaults are the released ones.
"""

from yacs.config import CfgNode

from mocoop.clip.templates import split_template, template_groups, template_problem
from mocoop.errors import one_line, quoted
from mocoop.methods.keys import Key
from mocoop.methods.lasp import SHARED_KEYS
from mocoop.methods.mocoop.auto_groups import wants_auto
from mocoop.names import SEPARATOR, name_problem

_ROUTERS = ("learned", "random")
_TEXT_EXPERTS = ("all", "chosen", "released")
GROUP_KEYS = (
    # One expert per group of templates; empty: the dataset's groups in mocoop/clip/templates.json.
    # auto: AUTO_TEMPLATES, grouped by CLIP's text features (auto_groups.py).
    Key("GROUPS", (), "lists of templates, one list per group, or auto", structural=True),
    Key("GROUP_NAMES", (), "a name for each group", structural=True),
    Key("AUTO_TEMPLATES", "dataset", "what GROUPS auto groups: dataset, clip (its 80), or a file of sentences"),
    Key("AUTO_GROUPS", 0, "how many groups it makes; 0: the number with the best silhouette", at_least=0),
)
ROUTER_KEYS = (
    Key("TOP_K", 2, "experts that answer for an image", structural=True),
    Key("ROUTER", "learned", "learned, or random: fixed at its start, an ablation", _ROUTERS, structural=True),
    Key("ROUTER_LR_MULT", 1.0, "factor on the learning rate (released: 1)", at_least=0),
    Key("GATE_LOSS_WEIGHT", 1.0, "weight of the hard-prompt-guided routing loss", at_least=0),
    Key("GATE_TARGET_TOP", 2, "groups most similar to the image that the target favours", at_least=0),
    Key("GATE_TARGET_BONUS", 10.0, "what is added to their similarity"),
)
TEXT_LOSS_KEYS = (
    # Semantically grouped text supervision.
    Key("TEXT_LOSS_WEIGHT", 5.0, "weight of the loss (released: 5; 1 before October 2024)", at_least=0),
    Key("TEXT_LOSS_SCALE", 1.0, "inverse temperature (released: 1); 0: CLIP's own, exp(logit_scale)", at_least=0),
)
KEYS = (
    *GROUP_KEYS,
    Key("INIT", "first", "first: from the group's first template (released); mean: over those of equal token length",
        ("first", "mean"), structural=True),
    Key("CORRECTION", "shared", "shared: one learned vector added to all text features (released); none",
        ("shared", "none"), structural=True),
    *ROUTER_KEYS,
    Key("GATE_TARGET_GRAD", True, "let the target's gradient reach tuned image LayerNorms (released: not detached)"),
    *TEXT_LOSS_KEYS,
    Key("TEXT_LOSS_EXPERTS", "released", "all; chosen: those that some image of the batch chose, the others counting "
        "as ln C; released: chosen if the batch size is below 4, else all", _TEXT_EXPERTS),
    *SHARED_KEYS,
)  # fmt: skip


def resolve_groups(cfg: CfgNode, node_name: str = "MOCOOP") -> dict[str, list[str]]:
    """{group name: templates}: those of TRAINER.<node_name>, else the project's for the dataset; not `auto`."""
    node = cfg.TRAINER[node_name]
    if not node.GROUPS:
        return template_groups(cfg.DATASET.NAME)
    names = node.GROUP_NAMES or [f"group{i}" for i in range(len(node.GROUPS))]
    return {str(name): list(group) for name, group in zip(names, node.GROUPS)}


def mocoop_problems(cfg: CfgNode) -> list[str]:
    """What is wrong with TRAINER.MOCOOP beyond what each key says, one line each."""
    return group_problems(cfg, "MOCOOP")


def group_problems(cfg: CfgNode, node_name: str) -> list[str]:
    """What is wrong with the groups and TOP_K of TRAINER.<node_name>, one line each."""
    node, where = cfg.TRAINER[node_name], f"TRAINER.{node_name}"
    if wants_auto(node):
        return [f"{where}.GROUP_NAMES is {quoted(node.GROUP_NAMES)}, expected none"] if node.GROUP_NAMES else []
    problems = _wrong_groups(node, where)
    if not problems:
        groups = len(resolve_groups(cfg, node_name))
        if not 1 <= node.TOP_K <= groups:
            problems.append(f"{where}.TOP_K is {node.TOP_K}, expected 1 to {groups}, the number of groups")
    return problems


def _wrong_groups(node: CfgNode, where: str) -> list[str]:
    problems = []
    if node.GROUP_NAMES and len(node.GROUP_NAMES) != len(node.GROUPS):
        problems.append(
            f"{where}.GROUP_NAMES has {len(node.GROUP_NAMES)} names, expected {len(node.GROUPS)}, one per group"
        )
    names = [str(name) for name in node.GROUP_NAMES]
    for name in names:
        problem = name_problem(name) or ("is there twice" if names.count(name) > 1 else None)
        if SEPARATOR in name:
            problem = f'has a "{SEPARATOR}", which stands between names in predictions.csv'
        if problem:
            problems.append(f"{where}.GROUP_NAMES: the name {quoted(name)} {problem}")
    for i, group in enumerate(node.GROUPS):
        key = f"{where}.GROUPS[{i}]"
        if not isinstance(group, (list, tuple)) or not group:
            problems.append(f"{key} is {quoted(group)}, expected a list of one or more templates")
            continue
        wrong = [problem for problem in map(template_problem, group) if problem]
        problems += [f"{key}: {problem}" for problem in wrong]
        if not wrong and not any(split_template(group[0])):
            problems.append(
                f'{key}: the first template "{one_line(group[0], 80)}" has no word that a context could start from'
            )
    return problems
