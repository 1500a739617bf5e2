"""What methods with one prompt share: scores are the product of an image's feature and the classes', nothing else."""

from torch import Tensor
from torch.nn import functional as F

from mocoop.methods.base import PromptMethod, batch_accuracy


class OnePrompt(PromptMethod):
    """Subclasses make `layout`, of all classes, and `ctx` unless the prompt is fixed, and implement `loss_of_features`
    if there is more to it than cross-entropy.

    With features and loss apart, a method such as DePT can stand beside them.
    """

    def class_embeddings(self) -> Tensor:
        """Text features of the classes (C, D), not normalised."""
        contexts = [self.ctx.flatten(0, -2) if hasattr(self, "ctx") else None]  # (n, W), or (C * n, W)
        return self.text_encoder(contexts, [self.layout], self.text_parts())[0]

    def encode_classes(self) -> Tensor:
        return F.normalize(self.class_embeddings(), dim=-1)

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        return self.loss_of_features(self.image_features(image), self.class_features(), label)

    def loss_of_features(self, image_features: Tensor, text_features: Tensor, label: Tensor) -> dict[str, Tensor]:
        """`loss` of normalised features of images (B, D) and classes (C, D); the cross-entropy is "loss_ce" or all."""
        logits = self.logit_scale * image_features @ text_features.t()
        return {"loss": F.cross_entropy(logits, label), "acc": batch_accuracy(logits, label)}
