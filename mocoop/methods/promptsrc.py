"""PromptSRC, self-regulating prompts (arXiv 2307.06948): IVLP held near CLIP, and its weights averaged over epochs."""

import math

from torch import Tensor
from torch.nn import functional as F

from mocoop.clip.features import hard_features
from mocoop.clip.templates import template_bank
from mocoop.errors import CheckpointError
from mocoop.methods.base import batch_accuracy
from mocoop.methods.ivlp import IVLP
from mocoop.methods.ivlp import KEYS as IVLP_KEYS
from mocoop.methods.keys import Key
from mocoop.registry import register_method

_RELEASED = {"N_CTX_TEXT": 4, "N_CTX_VISION": 4, "PROMPT_DEPTH_TEXT": 9, "PROMPT_DEPTH_VISION": 9}
KEYS = (
    *(key.with_default(_RELEASED.get(key.name, key.default)) for key in IVLP_KEYS),
    Key("TEXT_LOSS_WEIGHT", 25.0, "weight of the distance to CLIP's text features", at_least=0.0),
    Key("IMAGE_LOSS_WEIGHT", 10.0, "weight of the distance to CLIP's image features", at_least=0.0),
    Key("GPA_MEAN", 15.0, "epoch that the average of the weights is centred on"),
    Key("GPA_STD", 1.0, "deviation of the average's weights, in epochs", at_least=1e-3),
)


@register_method("PromptSRC", node="PROMPTSRC", keys=KEYS, published="2023-07", title="self-regulating prompts")
class PromptSRC(IVLP):
    """Learns what IVLP does; after the last epoch it is the Gaussian average of all epochs' weights."""

    averages_epochs = True

    def setup(self) -> None:
        super().setup()
        self.average: dict[str, Tensor] = {}  # the sum so far, on the CPU in fp32

    def anchors(self) -> Tensor:
        """CLIP's text features (C, D): the mean over 60 templates of features as they are, then normalised."""
        return self.frozen("anchors", self._mean_features)

    def _mean_features(self) -> Tensor:
        features = hard_features(self.text_encoder, template_bank("PromptSRC"), self.classnames, normalised=False)
        return F.normalize(features.mean(0), dim=-1)

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Cross-entropy and three distances to CLIP, as released: means over elements, for logits too."""
        settings, text, own = self.settings, self.class_features(), self.image_features(image)
        frozen_text, frozen = self.anchors().to(text.dtype), self.frozen_image_features(image)
        logits, frozen_logits = (self.logit_scale * a @ b.t() for a, b in ((own, text), (frozen, frozen_text)))
        parts = {
            "loss_ce": F.cross_entropy(logits, label),
            "loss_text": settings.TEXT_LOSS_WEIGHT * F.l1_loss(text, frozen_text),
            "loss_image": settings.IMAGE_LOSS_WEIGHT * F.l1_loss(own, frozen),
            "loss_logits": F.kl_div(
                F.log_softmax(logits, dim=1), F.log_softmax(frozen_logits, dim=1), reduction="sum", log_target=True
            )
            / logits.numel(),
        }
        return {"loss": sum(parts.values()), "acc": batch_accuracy(logits, label), **parts}

    def share(self, epoch: int, epochs: int) -> float:
        """Of an epoch, of 1 to `epochs`, in the average."""
        return gaussian_share(epoch, epochs, self.settings.GPA_MEAN, self.settings.GPA_STD)

    def after_epoch(self, epoch: int, epochs: int) -> None:
        """Add the weights as they are now to the average; after the last epoch take it."""
        share = self.share(epoch, epochs)
        state = {name: value.float() for name, value in self.learned_state().items()}
        self.average = {name: self.average.get(name, 0.0) + share * value for name, value in state.items()}
        if epoch == epochs:
            self.load_learned_state(self.average)

    def extra_state(self) -> dict:
        return {"average": self.average} if self.average else {}

    def load_extra_state(self, state: dict) -> None:
        average, own = state.get("average", {}), self.learned_state()
        if not isinstance(average, dict) or average and _shapes(average) != _shapes(own):
            name = self.entry.name
            raise CheckpointError(f"the average of the weights does not fit {name}: its names or shapes differ")
        self.average = dict(average)


def _shapes(state: dict) -> dict:
    return {name: getattr(value, "shape", None) for name, value in state.items()}


def gaussian_share(epoch: int, epochs: int, mean: float, std: float) -> float:
    """The share of an epoch, of 1 to `epochs`, in the Gaussian average; all of them sum to 1."""
    logs = [-0.5 * ((e - mean) / std) ** 2 for e in range(1, epochs + 1)]
    top = max(logs)
    return math.exp(logs[epoch - 1] - top) / sum(math.exp(value - top) for value in logs)
