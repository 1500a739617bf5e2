"""CoOp, context optimisation (arXiv 2109.01134). Keys: TRAINER.COOP, in mocoop/methods/coop.py."""

from mocoop.engine import TRAINER_REGISTRY
from mocoop.training.trainer import PromptTrainer


@TRAINER_REGISTRY.register()
class CoOp(PromptTrainer):
    """Learns one context, for all classes or for each."""
