"""TEST.FINAL_MODEL best_val: the weights that are tested are those of the epoch that is best on validation images."""

from yacs.config import CfgNode

from mocoop.errors import ConfigError
from mocoop.methods.base import PromptMethod, keeps
from mocoop.training.few_shot_features import RunFeatures


def is_wanted(cfg: CfgNode) -> bool:
    return cfg.TEST.FINAL_MODEL == "best_val" and not cfg.TEST.NO_TEST


def check_choice(cfg: CfgNode, method: PromptMethod, features: RunFeatures) -> None:
    """Raises ConfigError where the best epoch is wanted and none can be chosen."""
    if not is_wanted(cfg):
        return
    if not features.can_choose:
        found = f"{cfg.DATASET.NAME} has no validation images other than test images"
    elif not keeps(type(method), "select"):
        found = f"{method.entry.name} chooses on the validation images itself, after the last epoch"
    else:
        return
    raise ConfigError(f"TEST.FINAL_MODEL is best_val, expected last_step: {found}")
