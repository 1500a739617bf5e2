"""CoCoOp, conditional context optimisation (arXiv 2203.05557). Keys: TRAINER.COCOOP, in mocoop/methods/cocoop.py."""

from mocoop.engine import TRAINER_REGISTRY
from mocoop.training.trainer import PromptTrainer


@TRAINER_REGISTRY.register()
class CoCoOp(PromptTrainer):
    """Learns a context and a small network that shifts it by each image's feature."""
