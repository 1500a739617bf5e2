"""MoCoOp, mixture of prompt learning (arXiv 2409.12011). Its keys: TRAINER.MOCOOP, in mocoop/methods/mocoop/config.py.

To use it in another CoOp checkout, install this project, copy this file and configs/trainers/MoCoOp/ there, and add to
its train.py `import trainers.mocoop` and, in extend_cfg, `trainers.mocoop.add_mocoop_config(cfg)`. That adds every key
which a run of this project reads, MODEL.BACKBONE.ACTIVATION and TEST.FEATURE_CACHE among them; those that the checkout
has keep their values.
"""

from mocoop.methods import extend_cfg as add_mocoop_config  # noqa: F401 (for the train.py of other checkouts)
from mocoop.training.trainer import trainer_of

MoCoOp = trainer_of("MoCoOp")
