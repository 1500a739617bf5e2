"""What methods are put together from: one prompt, both towers under a fixed prompt, LayerNorms that learn."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar, cast

from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.prompts import PromptLayout, hard_prompts
from mocoop.clip.templates import fill
from mocoop.clip.tower_parts import TowerParts
from mocoop.methods.base import PromptMethod, batch_accuracy

TEMPLATE = "a photo of a {}."
_UPPER = re.compile(r"transformer\.resblocks\.(\d+)\.|ln_final\.|text_projection|ln_post\.|proj$")
M = TypeVar("M", bound=nn.Module)


def module_list(modules: Iterable[M]) -> Sequence[M]:
    """An nn.ModuleList, whose own type does not say of what it is."""
    return cast(Sequence[M], nn.ModuleList(modules))


class OnePrompt(PromptMethod):
    """Scores are the product of an image's feature and the classes', and nothing else.

    Subclasses make `layout`, of all classes, and `ctx` unless the prompt is fixed, and implement `loss_of_features`
    if there is more to it than cross-entropy.

    With features and loss apart, a method such as DePT can stand beside them.
    """

    ctx: nn.Parameter
    layout: PromptLayout

    def context(self) -> Tensor | None:
        """What `layout` takes its vectors from, (n, W), or (C * n, W); None of a fixed prompt."""
        return self.ctx.flatten(0, -2) if hasattr(self, "ctx") else None

    def class_embeddings(self) -> Tensor:
        """Text features of the classes (C, D), not normalised."""
        return self.text_encoder([self.context()], [self.layout], self.text_parts())[0]

    def encode_classes(self) -> Tensor:
        return F.normalize(self.class_embeddings(), dim=-1)

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        return self.loss_of_features(self.image_features(image), self.class_features(), label)

    def loss_of_features(self, image_features: Tensor, text_features: Tensor, label: Tensor) -> dict[str, Tensor]:
        """`loss` of normalised features of images (B, D) and classes (C, D); the cross-entropy is "loss_ce" or all."""
        logits = self.logit_scale * image_features @ text_features.t()
        return {"loss": F.cross_entropy(logits, label), "acc": batch_accuracy(logits, label)}


class TunedTowers(OnePrompt):
    """Of methods that change both towers and leave the prompt as it is: "a photo of a name.".

    Subclasses say what they put into the towers: `text_parts`, `image_parts`.
    """

    def setup(self) -> None:
        self.layout = hard_prompts([fill(TEMPLATE, name) for name in self.classnames], self.clip_model.tokenizer)


class TowerWeights(nn.Module):
    """Parameters of a tower that learn: copies, held under their names with "/" for ".".

    Args:
        own: the tower's, by their names in it; they are not changed.
        prefix: of the names in the tower, where these are of a part of it.
    """

    def __init__(self, own: Iterable[tuple[str, Tensor]], prefix: str = ""):
        super().__init__()
        self.prefix = prefix
        for name, value in own:
            self.register_parameter(name.replace(".", "/"), nn.Parameter(value.detach().clone()))

    def __len__(self) -> int:
        return len(self._parameters)

    def parts(self, learn: bool = True) -> TowerParts | None:
        """What a pass is handed, without a gradient unless they `learn`; None if the tower keeps its own."""
        own = self.named_parameters(recurse=False)
        weights = {self.prefix + name.replace("/", "."): p if learn else p.detach() for name, p in own}
        return TowerParts(weights=weights) if weights else None


def of_upper_blocks(own: Iterable[tuple[str, Tensor]], first: int) -> Iterator[tuple[str, Tensor]]:
    """Of a tower's parameters those of its blocks from `first` on, and of what follows these."""
    for name, value in own:
        if (found := _UPPER.match(name)) and (found[1] is None or int(found[1]) >= first):
            yield name, value


class LayerNorms(TowerWeights):
    """LayerNorms that learn: every ln_1 and ln_2 of a tower.

    Args:
        tower: CLIP's; None: none learn.
    """

    def __init__(self, tower: nn.Module | None, prefix: str = ""):
        every = tower.named_parameters() if tower is not None else ()
        super().__init__(((name, p) for name, p in every if ".ln_1." in name or ".ln_2." in name), prefix)
