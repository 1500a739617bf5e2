"""MoCoOp, mixture of prompt learning (Du, Niu & Zhao, arXiv 2409.12011).

Several soft prompts, the experts, each born from a group of hand-written templates. A router on the image feature picks
the best K for each image and weighs their scores. The router is taught by the similarity of the image to each group's
hard-prompt features; each expert's class features are held near its group's by a contrastive loss over classes.
"""

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.backbone import Backbone
from mocoop.clip.prompts import Context, PromptLayout, count_tokens, embed_words, readable
from mocoop.clip.templates import split_template
from mocoop.clip.tower_parts import TowerParts
from mocoop.methods.base import batch_accuracy
from mocoop.methods.mocoop.config import KEYS, mocoop_problems
from mocoop.methods.mocoop.routed import RoutedMethod, routing_loss, text_supervision_loss
from mocoop.methods.parts import LayerNorms, module_list
from mocoop.registry import register_method

logger = logging.getLogger(__name__)

SMALLEST_BATCH_OF_ALL = 4  # TEXT_LOSS_EXPERTS released: below, the release encodes the chosen experts alone


@register_method(
    "MoCoOp",
    node="MOCOOP",
    keys=KEYS,
    problems=mocoop_problems,
    published="2024-09",
    title="mixture of prompt learning",
)
class MoCoOp(RoutedMethod):
    """Learns the experts' contexts, the router, and by choice a correction vector and the image tower's LayerNorms.

    Expert g of E starts from group g of templates (TRAINER.MOCOOP.GROUPS, else the dataset's own groups).

    Attributes:
        resting_experts: (E,) which of them the last loss did not encode.
    """

    resting_experts: Tensor

    def setup(self) -> None:
        super().setup()
        settings = self.settings
        self.layer_norms = LayerNorms(self.clip_model.visual if settings.FINETUNE_VIT_LN else None)
        if settings.FINETUNE_VIT_LN and not len(self.layer_norms):
            logger.info("FINETUNE_VIT_LN: this image tower has no LayerNorm, nothing is tuned in it")
        self._add_experts()
        self.add_router()
        if settings.CORRECTION == "shared":
            self.correction = nn.Parameter(torch.zeros(1, self.clip_model.embed_dim, dtype=self.clip_model.dtype))
        self._add_layouts()
        choice, loader = settings.TEXT_LOSS_EXPERTS, self.cfg.get("DATALOADER")
        is_small = loader is not None and loader.TRAIN_X.BATCH_SIZE < SMALLEST_BATCH_OF_ALL
        self.teaches_chosen_experts = choice == "chosen" or (choice == "released" and is_small)
        self.register_buffer("resting_experts", torch.zeros(len(self.groups), dtype=torch.bool), persistent=False)

    def _add_experts(self) -> None:
        contexts = [initial_contexts(group, self.settings.INIT, self.clip_model) for group in self.groups.values()]
        self.ctx_before = nn.ParameterList([nn.Parameter(before) for before, _ in contexts])
        self.ctx_after = nn.ParameterList([nn.Parameter(after) for _, after in contexts])
        for name, (before, after) in zip(self.group_names, contexts):
            logger.info("expert %s: %d tokens before the class name, %d after", name, len(before), len(after))

    def _add_layouts(self) -> None:
        self.layouts = module_list(self._expert_layout(g, self.classnames) for g in range(len(self.groups)))
        self.taught_layouts, taught = self.layouts, self.taught_classnames
        if taught != self.classnames:
            self.taught_layouts = module_list(self._expert_layout(g, taught) for g in range(len(self.groups)))

    def _expert_layout(self, g: int, classnames: Sequence[str]) -> PromptLayout:
        """[SOT] [ctx_before_g] [class] [ctx_after_g] [.] [EOT]."""
        before, after = len(self.ctx_before[g]), len(self.ctx_after[g])
        prompts = []
        for name in map(readable, classnames):
            tail = [name, Context(before, after), "."] if after else [name + "."]
            prompts.append([Context(0, before), *tail])
        return PromptLayout(prompts, classnames, self.clip_model.tokenizer)

    def encode_classes(self) -> Tensor:
        """Normalised soft-prompt features (E, C, D) of the classes."""
        return self._encode_experts(self.layouts)

    def _encode_experts(self, layouts: Sequence[PromptLayout], chosen: Tensor | None = None) -> Tensor:
        """Normalised features (E, C, D) of all experts, or (E', C, D) of the chosen ones (E',)."""
        contexts = [torch.cat(sides) for sides in zip(self.ctx_before, self.ctx_after)]
        features = self.text_encoder(contexts, layouts, chosen=chosen)
        if self.settings.CORRECTION == "shared":
            features = features + self.correction
        return F.normalize(features, dim=-1)

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Cross-entropy + TEXT_LOSS_WEIGHT * text supervision + GATE_LOSS_WEIGHT * hard-prompt-guided routing.

        Returns "loss", its parts "loss_ce", "loss_text", "loss_gate", and "acc" in percent.
        """
        settings, count = self.settings, len(self.groups)
        image_features = self.image_features(image)
        router_logits, experts, gates = self.choose(image_features)
        encoded = counted = None
        rows, prototypes = experts, self.prototypes()
        if self.teaches_chosen_experts:
            encoded, counted, rows = encoded_experts(experts, count)
            self.resting_experts.fill_(True).scatter_(0, experts.flatten(), False)
            prototypes = prototypes.index_select(0, encoded)
        taught = self._encode_experts(self.taught_layouts, encoded)  # (E', C', D)
        logits = self.mix(image_features, taught[:, self.trained_rows], rows, gates)
        parts = {"loss_ce": F.cross_entropy(logits, label)}
        scale = settings.TEXT_LOSS_SCALE or self.logit_scale
        parts["loss_text"] = text_supervision_loss(taught, prototypes.to(taught.dtype), scale, count, counted)
        parts["loss_gate"] = routing_loss(router_logits, self.routing_target(image_features, label))
        total = parts["loss_ce"] + settings.TEXT_LOSS_WEIGHT * parts["loss_text"]
        total = total + settings.GATE_LOSS_WEIGHT * parts["loss_gate"]
        return {"loss": total, "acc": batch_accuracy(logits, label), **parts}

    def resting(self) -> dict[nn.Parameter, Tensor]:
        """Where the chosen experts alone are encoded, the contexts of the others."""
        if not self.teaches_chosen_experts:
            return {}
        contexts = zip(self.ctx_before, self.ctx_after, self.resting_experts)
        return {context: rests for before, after, rests in contexts for context in (before, after) if len(context)}

    def rate_factors(self) -> dict[str, float]:
        return super().rate_factors() | {"layer_norms.": self.settings.LN_LR_MULT}

    def image_parts(self) -> TowerParts | None:
        return self.layer_norms.parts()

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """LayerNorms were once saved under their names in CLIP."""
        old = "clip_model.visual."
        renamed = {name: "layer_norms." + name.removeprefix(old).replace(".", "/") for name in state if old in name}
        return {renamed.get(name, name): value for name, value in state.items()}


def encoded_experts(experts: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which of `count` experts a batch needs that chose `experts` (B, K), without a look at their numbers.

    Returns:
        numbers of min(count, B K) experts (E',): those that some image chose, in order, and others that fill up;
        1 for those that were chosen, else 0, (E',); the places of the chosen ones among them (B, K).
    """
    was_chosen = experts.new_zeros(count).scatter(0, experts.flatten(), 1)
    order = torch.argsort(was_chosen, descending=True, stable=True)
    encoded = order[: min(count, experts.numel())]
    return encoded, was_chosen.index_select(0, encoded), torch.argsort(order)[experts]


def initial_contexts(templates: Sequence[str], init: str, clip_model: Backbone) -> tuple[Tensor, Tensor]:
    """Context vectors before (n, width) and after (m, width) the class name, from a group's templates.

    `first` takes the embeddings of the first template's words; `mean` averages them position by position over the
    templates with as many tokens before and after the name as the first has. Tokens are counted, not words.
    """

    def lengths(parts: tuple[str, str]) -> list[int]:
        return [count_tokens(part, clip_model.tokenizer) for part in parts]

    every = [split_template(template) for template in templates]
    chosen = [parts for parts in every if lengths(parts) == lengths(every[0])] if init == "mean" else every[:1]
    before, after = (torch.stack([embed_words(text, clip_model) for text in side]).mean(0) for side in zip(*chosen))
    return before.to(clip_model.dtype), after.to(clip_model.dtype)
