"""A mixture of any method with a prompt: an expert for each group of templates, with MoCoOp's router and its losses.

Each expert is an instance of the method with learned values of its own. Beyond MoCoOp's paper, whose experts are
prompts of the text tower: experts may put rows into the image tower. The router sees CLIP's own feature of an image,
and each chosen expert encodes the image anew.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from yacs.config import CfgNode

from mocoop.clip.shares import encode_some
from mocoop.clip.templates import split_template
from mocoop.clip.tower_parts import side_by_side
from mocoop.errors import ConfigError, quoted
from mocoop.methods.base import PromptMethod, batch_accuracy
from mocoop.methods.keys import Key, common_keys
from mocoop.methods.mocoop.config import GROUP_KEYS, ROUTER_KEYS, TEXT_LOSS_KEYS, group_problems
from mocoop.methods.mocoop.routed import RoutedMethod, routing_loss, text_supervision_loss
from mocoop.methods.parts import OnePrompt, module_list
from mocoop.registry import get_method, methods, register_method

KEYS = (
    Key("METHOD", "CoOp", "the method that each expert is; the keys of its node count, but for CTX_INIT",
        structural=True),
    *GROUP_KEYS,
    *ROUTER_KEYS,
    *TEXT_LOSS_KEYS,
    *common_keys(prec="amp"),
)  # fmt: skip


def expert_problems(cfg: CfgNode) -> list[str]:
    """What is wrong with METHOD, the keys of the method that it names, or the groups."""
    method, known = cfg.TRAINER.MIXTURE.METHOD, [name for name, entry in methods().items() if entry.expert]
    if method not in known:
        return [f"TRAINER.MIXTURE.METHOD is {quoted(method)}, expected one of {', '.join(known)}"]
    return get_method(method).problems(cfg) + group_problems(cfg, "MIXTURE")


@register_method("Mixture", node="MIXTURE", keys=KEYS, published="2026-11", title="mixture of any prompt method",
                 problems=expert_problems)  # fmt: skip
class Mixture(RoutedMethod):
    """Learns `experts`, E instances of METHOD, and `router`.

    Expert g starts from the words before the class name of the first template of group g; words behind the name are
    left out, and where none stand before it, it starts as METHOD does without words.
    """

    def setup(self) -> None:
        super().setup()
        self.experts = module_list(self._expert(name) for name in self.groups)
        self.one_feature = not self.experts[0].image_learns
        self.extra_vectors = 0 if self.one_feature else len(self.experts)
        self.steps_alike = self.one_feature  # else each expert encodes as many images as chose it
        self.add_router()

    def _expert(self, name: str) -> PromptMethod:
        """An instance of METHOD that starts from a group. Raises ConfigError, with the expert's name."""
        method, cfg = get_method(self.settings.METHOD), self.cfg.clone()
        cfg.defrost()
        method.settings(cfg).CTX_INIT = split_template(self.groups[name][0])[0]
        try:
            expert = method.build(cfg, self.classnames, self.clip_model)
        except ConfigError as error:
            raise ConfigError(f"expert {quoted(name)} of {self.entry.name}: {error}") from error
        expert.text_encoder, expert.image_encoder = self.text_encoder, self.image_encoder
        return expert

    def encode_classes(self) -> Tensor:
        """Of all experts in one pass if they are prompts with rows alike, else of one after the other."""
        prompts = [expert for expert in self.experts if isinstance(expert, OnePrompt) and _encodes_its_prompt(expert)]
        parts = side_by_side([prompt.text_parts() for prompt in prompts]) if prompts else None
        if parts is None or len(prompts) < len(self.experts):
            return torch.stack([expert.encode_classes() for expert in self.experts])
        contexts, layouts = [prompt.context() for prompt in prompts], [prompt.layout for prompt in prompts]
        return F.normalize(self.text_encoder(contexts, layouts, parts), dim=-1)

    def extra_image_features(self, image: Tensor, features: Tensor) -> Tensor:
        """Those of each expert (B, E, D) behind CLIP's own, zero for an image that did not choose it."""
        with torch.no_grad():
            _, chosen, _ = self.choose(features)
        found = []
        for e, expert in enumerate(self.experts):
            own, places = torch.zeros_like(features), _places(chosen, e)
            if len(places):
                own = own.index_copy(0, places, encode_some(expert.image_features, image, places).to(own.dtype))
            found.append(own)
        return torch.stack(found, dim=1)

    def seen_by_router(self, image_features: Tensor) -> Tensor:
        return image_features if image_features.dim() == 2 else image_features[:, 0].contiguous()

    def scores(self, image_features: Tensor, text: Tensor) -> Tensor:
        if self.one_feature:
            return super().scores(image_features, text)
        return torch.einsum("bed,ecd->bec", image_features[:, 1:], text)

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of the mixed logits + what METHOD's loss has beyond cross-entropy + MoCoOp's two losses.

        Returns "loss", its parts "loss_ce", "loss_own" if METHOD has more, "loss_text", "loss_gate", and "acc".
        """
        settings, features, text = self.settings, self.image_features(image), self.encode_classes()
        router_logits, experts, gates = self.choose(features)
        logits = self.mix(features, text, experts, gates)
        scale, prototypes = settings.TEXT_LOSS_SCALE or self.logit_scale, self.prototypes().to(text.dtype)
        parts = {
            "loss_ce": F.cross_entropy(logits, label),
            **self._own_loss(features, text, experts, label),
            "loss_text": text_supervision_loss(text, prototypes, scale),
            "loss_gate": routing_loss(router_logits, self.routing_target(features, label)),
        }
        total = parts["loss_ce"] + parts.get("loss_own", 0.0) + settings.TEXT_LOSS_WEIGHT * parts["loss_text"]
        total = total + settings.GATE_LOSS_WEIGHT * parts["loss_gate"]
        return {"loss": total, "acc": batch_accuracy(logits, label), **parts}

    def _own_loss(self, features: Tensor, text: Tensor, experts: Tensor, label: Tensor) -> dict[str, Tensor]:
        """ "loss_own", the mean of what the experts' losses have beyond cross-entropy; empty if they have nothing.

        It is over all experts, or over those that were chosen where these alone encode images.
        """
        found = []
        for e, expert in enumerate(self.experts):
            if not isinstance(expert, OnePrompt):
                continue
            own, of = features, label
            if not self.one_feature:
                places = _places(experts, e)
                own, of = features[places, 1 + e], label[places]
            if len(of):
                parts = expert.loss_of_features(own, text[e], of)
                found += [parts["loss"] - parts["loss_ce"]] if "loss_ce" in parts else []
        return {"loss_own": torch.stack(found).mean()} if found else {}

    def resting(self) -> dict[nn.Parameter, Tensor]:
        return {p: rests for expert in self.experts for p, rests in expert.resting().items()}

    def after_step(self) -> None:
        for expert in self.experts:
            expert.after_step()

    def rate_factors(self) -> dict[str, float]:
        of_experts = ((f"experts.{e}.", expert.rate_factors()) for e, expert in enumerate(self.experts))
        return super().rate_factors() | {e + name: factor for e, own in of_experts for name, factor in own.items()}

    @property
    def knowledge(self) -> list[str]:
        return super().knowledge + self.experts[0].knowledge

    def bound_to_classes(self) -> str | None:
        return next(filter(None, (expert.bound_to_classes() for expert in self.experts)), None)

    def structure(self) -> dict:
        expert = self.experts[0]
        return super().structure() | {expert.entry.node: expert.structure()}


def _encodes_its_prompt(expert: OnePrompt) -> bool:
    """Whether its class features are those of its one prompt, and nothing else."""
    own = type(expert)
    return own.encode_classes is OnePrompt.encode_classes and own.class_embeddings is OnePrompt.class_embeddings


def _places(chosen: Tensor, expert: int) -> Tensor:
    """Places of the images that chose an expert, in order; `chosen`: (B, K)."""
    return (chosen == expert).any(-1).nonzero().squeeze(1)
