"""TCP, textual-based class-aware prompt tuning (arXiv 2311.18231): rows of each class's own, deep in the text tower."""

from collections import OrderedDict

from torch import Tensor, nn

from mocoop.clip.openai import clip_modules
from mocoop.clip.prompts import Context, PromptLayout, readable
from mocoop.clip.templates import prompt_ending
from mocoop.clip.tower_parts import Rows, TowerParts
from mocoop.errors import ConfigError
from mocoop.methods.deep_prompts import text_tower
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.kgcoop import KgCoOp
from mocoop.registry import register_method

KEYS = (
    Key("N_CTX", 4, "number of context vectors, and of class-specific rows", at_least=1, at_most=75, structural=True),
    Key("CTX_INIT", "", "words that the context starts from; empty: noise, as released", structural=True),
    Key("BLOCK", 8, "block of the text tower, from 0, before which the class-specific rows are put in", at_least=1,
        structural=True),
    Key("W", 8.0, "weight of the distance to the hand-written prompt", at_least=0.0),
    *common_keys(prec="fp16"),
)  # fmt: skip


@register_method("TCP", node="TCP", keys=KEYS, published="2023-11", title="textual-based class-aware prompt tuning",
                 expert=True, dept_base=True)  # fmt: skip
class TCP(KgCoOp):
    """Learns `ctx` (n, width) and `meta_net`, which makes n rows for each class of its hand-written prompt's feature.

    The loss is KgCoOp's.

    Raises ConfigError for a text tower without the block.
    """

    anchors_of = "TCP"

    def setup(self) -> None:
        super().setup()
        blocks = len(text_tower(self).resblocks)
        if self.settings.BLOCK >= blocks:
            key = f"TRAINER.{self.entry.node}.BLOCK"
            raise ConfigError(f"{key} is {self.settings.BLOCK}, expected 1 to {blocks - 1} for this CLIP")
        width, features = self.ctx.shape[1], self.clip_model.embed_dim
        layers = OrderedDict(
            linear1=nn.Linear(features, features // 4),
            relu=clip_modules.QuickGELU(),  # under the release's name
            linear2=nn.Linear(features // 4, self.ctx.numel()),
        )
        self.meta_net = nn.Sequential(layers).to(self.clip_model.dtype)
        ending = prompt_ending("TCP", self.cfg.DATASET.NAME)
        prompts: list[list[str | Context]] = [
            [Context(0, len(self.ctx)), ending.format(readable(name))] for name in self.classnames
        ]
        self.layout = PromptLayout(prompts, self.classnames, self.clip_model.tokenizer)
        self.rows_shape = (1, len(self.classnames), len(self.ctx), width)

    def text_parts(self) -> TowerParts:
        rows = self.meta_net(self.anchors().to(self.dtype)).view(self.rows_shape)
        return TowerParts(rows={self.settings.BLOCK: Rows(rows)})

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release saves the embeddings of the class names, too."""
        return {name: value for name, value in state.items() if name == "ctx" or name.startswith("meta_net.")}
