"""DeKg, divergence-enhanced knowledge guidance (ICLR 2025): KgCoOp or TCP, less bound to hand-written prompts."""

from torch import Tensor
from torch.nn import functional as F

from mocoop.methods.keys import Key
from mocoop.methods.kgcoop import KEYS as KGCOOP_KEYS
from mocoop.methods.kgcoop import KgCoOp
from mocoop.methods.on_features import at_least_fp32
from mocoop.methods.tcp import KEYS as TCP_KEYS
from mocoop.methods.tcp import TCP
from mocoop.registry import register_method


def own_keys(unit: bool) -> tuple[Key, ...]:
    """The keys beside those of KgCoOp or TCP."""
    return (
        Key("HSIC_WEIGHT", 6.0, "weight of the dependence on the hand-written prompts (released: 6)", at_least=0.0),
        Key("HSIC_UNIT", unit, "measure it of normalised features; else of those that the text tower gives"),
    )


def dependence(learned: Tensor, anchors: Tensor) -> Tensor:
    """The Hilbert-Schmidt criterion of features (C, D), each divided by its Frobenius norm, without 1 / (C - 1)^2.

    It is tr(H K H L) of the kernels K = t t', L = w w', with H the centring matrix.
    """
    t, w = (at_least_fp32(x) / at_least_fp32(x).norm() for x in (learned, anchors))
    return ((t - t.mean(0)).t() @ w).square().sum()


class Divergent(KgCoOp):
    """KgCoOp, or what is made of it: its loss, and the dependence of its class features on those."""

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        text = self.class_embeddings()
        unit = F.normalize(text, dim=-1)
        parts = self.loss_of_features(self.image_features(image), unit, label)
        hsic = dependence(unit if self.settings.HSIC_UNIT else text, self.anchors())
        return parts | {"loss": parts["loss"] + self.settings.HSIC_WEIGHT * hsic, "loss_hsic": hsic}


@register_method("DeKg", node="DEKG", keys=(*KGCOOP_KEYS, *own_keys(unit=True)), published="2025-01",
                 title="KgCoOp, less dependent on hand-written prompts")  # fmt: skip
class DeKg(Divergent):
    """Learns `ctx` (n, width)."""


@register_method("DeKgTCP", node="DEKG_TCP", keys=(*TCP_KEYS, *own_keys(unit=False)), published="2025-01",
                 title="TCP, less dependent on hand-written prompts")  # fmt: skip
class DeKgTCP(Divergent, TCP):
    """Learns what TCP does."""
