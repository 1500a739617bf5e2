"""Zero-shot CLIP: one template, or the ensemble of CLIP's selected ones. Nothing is trained."""

from mocoop.engine import TRAINER_REGISTRY
from mocoop.training.trainer import PromptTrainer


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(PromptTrainer):
    """CLIP with the hand-crafted template of the dataset."""


@TRAINER_REGISTRY.register()
class ZeroshotCLIP2(PromptTrainer):
    """CLIP with an ensemble of templates."""
