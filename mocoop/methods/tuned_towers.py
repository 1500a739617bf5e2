"""What methods share that change both of CLIP's towers and leave the prompt as it is: "a photo of a name."."""

from collections.abc import Sequence

from torch import Tensor
from yacs.config import CfgNode

from mocoop.clip.backbone import Backbone
from mocoop.clip.prompts import hard_prompts
from mocoop.clip.templates import fill
from mocoop.methods.one_prompt import OnePrompt

TEMPLATE = "a photo of a {}."


class TunedTowers(OnePrompt):
    """Subclasses say what they put into the towers: `text_parts`, `image_parts`."""

    def __init__(self, cfg: CfgNode, classnames: Sequence[str], clip_model: Backbone, all_classnames=None):
        super().__init__(cfg, classnames, clip_model)
        self.layout = hard_prompts([fill(TEMPLATE, name) for name in self.classnames], clip_model.tokenizer)

    def class_embeddings(self) -> Tensor:
        return self.text_encoder([None], [self.layout], self.text_parts())[0]
