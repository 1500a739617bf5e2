"""What the two lines in the train.py of a CoOp checkout do, as far as it shows without Dassl."""

from yacs.config import CfgNode

from mocoop.config import leaves, merge_overrides
from mocoop.engine import get_cfg_default
from mocoop.methods import extend_cfg
from trainers.mocoop import add_mocoop_config


def coops_config() -> CfgNode:
    """As CoOp's extend_cfg leaves it."""
    cfg = get_cfg_default()
    cfg.TRAINER.COOP = CfgNode(
        {"N_CTX": 16, "CSC": False, "CTX_INIT": "", "PREC": "fp16", "CLASS_TOKEN_POSITION": "end"}
    )
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    return cfg


def test_every_key_of_ours_can_be_set():
    ours, theirs = get_cfg_default(), coops_config()
    extend_cfg(ours)
    add_mocoop_config(theirs)
    assert dict(leaves(ours)).keys() == dict(leaves(theirs)).keys()
    merge_overrides(theirs, ["MODEL.BACKBONE.ACTIVATION", "gelu", "TRAINER.COOP.TEXT_ENCODER", "plain"])
    theirs.merge_from_list(["TEST.FEATURE_CACHE", True, "TRAINER.MOCOOP.TOP_K", 1])  # as CoOp does


def test_what_the_checkout_has_keeps_its_value():
    cfg = coops_config()
    add_mocoop_config(cfg)
    assert cfg.TRAINER.COOP.PREC == "fp16" and cfg.TRAINER.COOP.CTX_INIT == ""
