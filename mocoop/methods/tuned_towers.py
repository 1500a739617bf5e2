"""What methods share that change both of CLIP's towers and leave the prompt as it is: "a photo of a name."."""

from mocoop.clip.prompts import hard_prompts
from mocoop.clip.templates import fill
from mocoop.methods.one_prompt import OnePrompt

TEMPLATE = "a photo of a {}."


class TunedTowers(OnePrompt):
    """Subclasses say what they put into the towers: `text_parts`, `image_parts`."""

    def setup(self) -> None:
        self.layout = hard_prompts([fill(TEMPLATE, name) for name in self.classnames], self.clip_model.tokenizer)
