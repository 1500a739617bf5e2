"""CoPrompt, consistency-guided prompt learning (arXiv 2306.01195): MaPLe with adapters, held near what CLIP says of
another view of an image and of another sentence for a class."""

import logging

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mocoop.clip.features import sentence_features
from mocoop.clip.prompts import readable
from mocoop.clip.templates import ensemble_templates, fill
from mocoop.errors import ConfigError, quoted
from mocoop.files import read_json
from mocoop.methods.base import PromptMethod, batch_accuracy
from mocoop.methods.keys import Key
from mocoop.methods.kgcoop import anchor_distance
from mocoop.methods.maple import KEYS as MAPLE_KEYS
from mocoop.methods.maple import MaPLe
from mocoop.methods.on_features import at_least_fp32
from mocoop.registry import register_method

SENTENCES = Key(
    "SENTENCES", "", "a JSON file, {class name: [sentences]}; empty: CLIP's selected templates and the dataset's"
)
KEYS = (
    *MAPLE_KEYS,
    Key("W", 1.0, "weight of the distances to CLIP's features (released: 0.1 to 8 by dataset)", at_least=0.0),
    SENTENCES,
)
IMAGE_SHARE, TEXT_SHARE = 0.1, 0.2  # of the adapters' outputs in the features

logger = logging.getLogger(__name__)


@register_method("CoPrompt", node="COPROMPT", keys=KEYS, published="2023-06", title="consistency-guided prompts",
                 export=None)  # fmt: skip
class CoPrompt(MaPLe):
    """Learns what MaPLe does, `adapter_image` and `adapter_text`: weights (D / 4, D) and (D, D / 4) each."""

    views = 2

    def setup(self) -> None:
        super().setup()
        self.adapter_image, self.adapter_text = (adapter(self.clip_model.embed_dim) for _ in range(2))

    def transform_image(self, features: Tensor) -> Tensor:
        return adapted(features, self.adapter_image, IMAGE_SHARE)

    def class_embeddings(self) -> Tensor:
        return adapted(super().class_embeddings(), self.adapter_text, TEXT_SHARE)

    def sentences(self) -> Tensor:
        """CLIP's features (S, C, D) of S sentences for each class."""
        return self.frozen("sentences", lambda: sentence_features(self.text_encoder, cycled(sentences_for(self))))

    def loss(self, image: Tensor, label: Tensor) -> dict[str, Tensor]:
        """Of images (B, 2, 3, H, W), the first view to learn from, the second for CLIP; (B, 3, H, W) are both."""
        first, second = image.unbind(1) if image.dim() == 5 else (image, image)
        features, text, sentences = self.image_features(first), self.class_features(), self.sentences()
        drawn = torch.randint(len(sentences), (1,), device=sentences.device)  # one for all classes
        logits = self.logit_scale * features @ text.t()
        parts = {
            "loss_ce": F.cross_entropy(logits, label),
            "loss_text": self.settings.W * anchor_distance(text, sentences.index_select(0, drawn)[0]),
            "loss_image": self.settings.W * anchor_distance(features, self.frozen_image_features(second)),
        }
        return {"loss": sum(parts.values()), "acc": batch_accuracy(logits, label), **parts}

    @property
    def knowledge(self) -> list[str]:
        taught = "sentences for each class" if self.settings.SENTENCES else "template of the dataset"
        return [taught, *(["settings chosen for the dataset"] if self.settings.W != 1 else [])]

    def own_names(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The release saves all of CLIP, twice; an adapter's layers lie in its `fc`."""
        layers = {
            f"{kind}.fc.{i}.weight": f"{kind}.{i}.weight" for kind in ("adapter_image", "adapter_text") for i in (0, 2)
        }
        if not layers.keys() & state.keys():
            return state
        return super().own_names(state) | {own: state[name] for name, own in layers.items() if name in state}


def adapter(size: int) -> nn.Sequential:
    """(..., size) to (..., size), by a layer of a quarter; both are cut off at zero."""
    layers = [nn.Linear(size, size // 4, bias=False), nn.ReLU(), nn.Linear(size // 4, size, bias=False), nn.ReLU()]
    return nn.Sequential(*layers)


def adapted(features: Tensor, own: nn.Sequential, share: float) -> Tensor:
    """Features (..., D), not normalised, with a share of what an adapter makes of them; in fp32."""
    features = at_least_fp32(features)
    return share * own(features) + (1 - share) * features


def sentences_for(method: PromptMethod) -> list[list[str]]:
    """Of each class, from the file that the method's SENTENCES names; without one, the templates filled, which is said.

    Raises what `read_sentences` does.
    """
    if path := method.settings.SENTENCES:
        return read_sentences(path, method.classnames)
    templates, name = ensemble_templates(method.cfg.DATASET.NAME), method.entry.name
    logger.warning(
        "TRAINER.%s.SENTENCES is empty: %s is taught with %d templates, not with sentences for a class",
        method.entry.node, name, len(templates),
    )  # fmt: skip
    return [[fill(template, one) for template in templates] for one in method.classnames]


def cycled(sentences: list[list[str]]) -> list[list[str]]:
    """Rows of one sentence for each class; a class that has fewer of them than others starts again."""
    return [[each[i % len(each)] for each in sentences] for i in range(max(map(len, sentences)))]


def read_sentences(path: str, classnames: list[str]) -> list[list[str]]:
    """Of each class.

    Raises ConfigError for a class without sentences, DataError for a file that cannot be read.
    """
    found, expected = read_json(path, "file of sentences"), "a list of sentences"
    names = [readable(name) for name in classnames]
    for name in names:
        each = found.get(name) if isinstance(found, dict) else None
        if not (isinstance(each, list) and each and all(isinstance(one, str) and one.strip() for one in each)):
            raise ConfigError(f"{path} has {quoted(each)} for the class {quoted(name)}, expected {expected}")
    return [found[name] for name in names]
