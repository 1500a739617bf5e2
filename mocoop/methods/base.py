"""What every method has in common: a frozen CLIP, something learned, features, predictions and losses.

A method knows no engine. It can be fed with anyone's batches: `forward(image)` gives logits, `loss(image, label)` a
dict whose "loss" is to be minimised.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.image_encoder import ImageEncoder
from mocoop.clip.openai import CLIP
from mocoop.clip.text_encoder import TextEncoder
from mocoop.errors import CheckpointError, one_line


class PromptMethod(nn.Module):
    """Base of all methods. Subclasses implement `encode_classes`, and `predict` where scores are more than a product.

    Args:
        classnames: C class names in label order.
        clip_model: a CLIP; its parameters are frozen here, and shared, not copied.
        text_encoder: "fast" or "plain"; plain is CLIP's own code, for images too.
        text_chunk: see `TextEncoder`.
    """

    def __init__(self, classnames: Sequence[str], clip_model: CLIP, text_encoder: str = "fast", text_chunk: int = 0):
        super().__init__()
        self.classnames = list(classnames)
        self.clip_model = clip_model.eval().requires_grad_(False)
        self.text_encoder = TextEncoder(clip_model, text_encoder, text_chunk)
        self.image_encoder = ImageEncoder(clip_model, text_encoder)
        self._class_features: tuple[tuple, Tensor] | None = None

    def train(self, mode: bool = True) -> "PromptMethod":
        """Training mode for what learns; the frozen CLIP stays in evaluation mode (its batch norms must not move)."""
        super().train(mode)
        self.clip_model.eval()
        return self

    @property
    def dtype(self) -> torch.dtype:
        return self.clip_model.dtype

    @property
    def logit_scale(self) -> Tensor:
        return self.clip_model.logit_scale.exp()

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, C) of images (B, 3, H, W)."""
        return self.predict(image)["logits"]

    def predict(self, image: Tensor) -> dict[str, Tensor]:
        """Logits (B, C) under "logits"; methods that route add what they chose."""
        return self.predict_features(self.image_features(image))

    def predict_features(self, image_features: Tensor) -> dict[str, Tensor]:
        """`predict` from normalised image features (B, D)."""
        return {"logits": self.logit_scale * image_features @ self.class_features().t()}

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """The "loss" to be minimised, its parts if it has any, and "acc", the accuracy of the batch in percent."""
        logits = self(image)
        return {"loss": F.cross_entropy(logits, label), "acc": batch_accuracy(logits, label)}

    def image_features(self, image: Tensor) -> Tensor:
        """Normalised image features (B, D). No graph is built unless something in the image tower learns."""
        learns = any(p.requires_grad for p in self.clip_model.visual.parameters())
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            return F.normalize(self.image_encoder(image.to(self.dtype)), dim=-1)

    def encode_classes(self) -> Tensor:
        """Normalised text features of the classes: (C, D), or (E, C, D) for E experts."""
        raise NotImplementedError

    def class_features(self) -> Tensor:
        """`encode_classes()`, once per state of the learned parameters where no gradient is wanted."""
        if torch.is_grad_enabled():
            return self.encode_classes()
        state = self._state_key()
        if self._class_features is None or self._class_features[0] != state:
            self._class_features = (state, self.encode_classes())
        return self._class_features[1]

    def learned_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that training changes, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def learned_state(self) -> dict[str, Tensor]:
        """Copies of the learned parameters on the CPU: all that a checkpoint needs."""
        return {name: p.detach().cpu().clone() for name, p in self.learned_parameters().items()}

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Set the learned parameters. Raises CheckpointError where names or shapes differ from this method's."""
        own = self.learned_parameters()
        problems = [f"{name} is missing" for name in own if name not in state]
        problems += [f"{one_line(name, 80)} is not a parameter of this method" for name in state if name not in own]
        problems += [
            f"{name} has shape {tuple(state[name].shape)}, expected {tuple(p.shape)}"
            for name, p in own.items()
            if name in state and state[name].shape != p.shape
        ]
        if problems:
            raise CheckpointError(f"the weights do not fit {type(self).__name__}: {'; '.join(problems[:3])}")
        with torch.no_grad():
            for name, p in own.items():
                p.copy_(state[name])

    def parameter_groups(self, lr: float) -> list[dict]:
        """Parameter groups for an optimiser whose base learning rate is `lr`."""
        return [{"params": list(self.learned_parameters().values()), "lr": lr}]

    def structure(self) -> dict:
        """Config keys, resolved, that give the learned parameters their meaning; they travel with a checkpoint."""
        return {}

    def _state_key(self) -> tuple:
        precision = (torch.is_autocast_enabled("cuda"), torch.is_autocast_enabled("cpu"), self.text_encoder.kind)
        return precision + tuple((p._version, p.device, p.dtype) for p in self.parameters())


def batch_accuracy(logits: Tensor, label: Tensor) -> Tensor:
    """Top-1 accuracy of a batch in percent, a detached scalar."""
    return 100.0 * (logits.detach().argmax(-1) == label).float().mean()
