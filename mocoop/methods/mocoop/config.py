"""MoCoOp's config keys, TRAINER.MOCOOP.*, and the groups of templates they name.

Where the paper's abstract and the authors' released code differ, a key decides; the defaults are the released ones.
"""

from yacs.config import CfgNode

from mocoop.clip.templates import split_template, template_groups, template_problem
from mocoop.errors import one_line, quoted
from mocoop.methods.keys import add_common_keys, choice_problems, common_problems
from mocoop.names import name_problem
from mocoop.results.predictions import SEPARATOR


def add_mocoop_config(cfg: CfgNode) -> None:
    """Add TRAINER.MOCOOP to a config."""
    cfg.TRAINER.MOCOOP = node = CfgNode()
    # Experts. One soft prompt per group of templates; empty: the dataset's groups in mocoop/clip/templates.json.
    node.GROUPS = ()  # lists of templates, one list per group
    node.GROUP_NAMES = ()  # a name for each group
    node.INIT = "first"  # first: from the group's first template (released); mean: over those of equal token length
    node.CORRECTION = "shared"  # shared: one learned vector added to all text features (released); none
    # Router.
    node.TOP_K = 2  # experts that answer for an image
    node.ROUTER = "learned"  # learned, or random: fixed at its start, an ablation
    node.ROUTER_LR_MULT = 1.0  # factor on the learning rate (released: 1)
    node.GATE_LOSS_WEIGHT = 1.0  # weight of the hard-prompt-guided routing loss
    node.GATE_TARGET_TOP = 2  # groups most similar to the image that the target favours
    node.GATE_TARGET_BONUS = 10.0  # what is added to their similarity
    node.GATE_TARGET_GRAD = True  # let the target's gradient reach tuned image LayerNorms (released: not detached)
    # Semantically grouped text supervision.
    node.TEXT_LOSS_WEIGHT = 5.0  # weight of the loss (released: 5; 1 before October 2024)
    node.TEXT_LOSS_SCALE = 1.0  # inverse temperature (released: 1); 0: CLIP's own, exp(logit_scale)
    node.TEXT_LOSS_CLASSES = "all"  # all: base and new names, when training on base (released); train: trained ones
    # Image tower.
    node.FINETUNE_VIT_LN = True  # learn every ln_1 and ln_2 of the image transformer (released)
    node.LN_LR_MULT = 0.1  # their factor on the learning rate (released: 0.1)
    # Optimisation.
    node.GRAD_CLIP_NORM = 1.0  # largest norm of the gradient (released: 1); 0: no clipping
    node.GRAD_CLIP_WHEN = "amp"  # amp: only with PREC amp (released); always
    add_common_keys(node, prec="amp")


def resolve_groups(cfg: CfgNode) -> dict[str, list[str]]:
    """{group name: templates}: those of the config, else those the project carries for the dataset."""
    node = cfg.TRAINER.MOCOOP
    if not node.GROUPS:
        return template_groups(cfg.DATASET.NAME)
    names = node.GROUP_NAMES or [f"group{i}" for i in range(len(node.GROUPS))]
    return {str(name): list(group) for name, group in zip(names, node.GROUPS)}


def mocoop_problems(cfg: CfgNode) -> list[str]:
    """What is wrong with TRAINER.MOCOOP, one line each."""
    node = cfg.TRAINER.MOCOOP
    problems = common_problems("MOCOOP", node)
    problems += choice_problems(
        "TRAINER.MOCOOP",
        node,
        INIT=("first", "mean"),
        CORRECTION=("shared", "none"),
        ROUTER=("learned", "random"),
        TEXT_LOSS_CLASSES=("all", "train"),
        GRAD_CLIP_WHEN=("amp", "always"),
    )
    problems += _group_problems(node)
    if not problems:
        groups = len(resolve_groups(cfg))
        if not 1 <= node.TOP_K <= groups:
            problems.append(f"TRAINER.MOCOOP.TOP_K is {node.TOP_K}, expected 1 to {groups}, the number of groups")
    for key in (
        "GATE_LOSS_WEIGHT",
        "TEXT_LOSS_WEIGHT",
        "TEXT_LOSS_SCALE",
        "ROUTER_LR_MULT",
        "LN_LR_MULT",
        "GRAD_CLIP_NORM",
    ):
        if node[key] < 0:
            problems.append(f"TRAINER.MOCOOP.{key} is {node[key]}, expected 0 or more")
    return problems


def _group_problems(node: CfgNode) -> list[str]:
    problems = []
    if node.GROUP_NAMES and len(node.GROUP_NAMES) != len(node.GROUPS):
        problems.append(
            f"TRAINER.MOCOOP.GROUP_NAMES has {len(node.GROUP_NAMES)} names, expected {len(node.GROUPS)}, one per group"
        )
    names = [str(name) for name in node.GROUP_NAMES]
    for name in names:
        problem = name_problem(name) or ("is there twice" if names.count(name) > 1 else None)
        if SEPARATOR in name:
            problem = f'has a "{SEPARATOR}", which stands between names in predictions.csv'
        if problem:
            problems.append(f"TRAINER.MOCOOP.GROUP_NAMES: the name {quoted(name)} {problem}")
    for i, group in enumerate(node.GROUPS):
        key = f"TRAINER.MOCOOP.GROUPS[{i}]"
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
